"""What follows analyses that grow: it looks at them on a thread of its own, from time to time."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore

from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session
from accweight_viewer.widgets.background import Background

REFRESH_MS = 700
"""Time between two looks."""


class Growth:
    """Shows later states of a session's runs when there are any.

    Attributes:
        timer: What makes it look.
        looking: The thread that looks.
    """

    def __init__(self, session: Session, parent: QtCore.QObject) -> None:
        """Create it, at rest.

        Args:
            session: The session.
            parent: Owner of the timer.
        """
        self._session = session
        self.timer = QtCore.QTimer(parent)
        self.timer.timeout.connect(lambda: self.looking.loader.request(session.runs))
        self.looking: Background[ShownRun, ShownRun | None] = Background(
            ShownRun.refreshed, self._looked
        )

    def start(self) -> None:
        """Look from time to time."""
        self.timer.start(REFRESH_MS)

    def _looked(self) -> None:
        """Show what has grown, if anything has."""
        found = dict(self.looking.values())
        self._session.take([found.get(run) for run in self._session.runs])

    def close(self) -> None:
        """Stop looking."""
        self.timer.stop()
        self.looking.close()
