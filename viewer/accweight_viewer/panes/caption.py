"""The line above a scene without other panes: whose weights are shown, and when."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_core.text import plain
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import step_text
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.pane import Pane


class Caption(QtWidgets.QLabel, Pane):  # type: ignore[misc]
    """Names of the runs, and the step shown."""

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.setContentsMargins(10, 6, 10, 6)
        self.setObjectName("caption")
        listen(self, session.time_changed, self._renew)
        listen(self, session.data_changed, self._renew)
        self._renew()

    def _renew(self) -> None:
        names = " and ".join(plain(run.name) for run in self._session.runs)
        self.setText(f"{names}   step {step_text(self._session.step)}")

    def set_theme(self, theme: Theme) -> None:
        """Do nothing: the style sheet of the window colours it."""
