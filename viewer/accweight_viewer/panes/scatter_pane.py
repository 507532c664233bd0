"""A pane with samples as points that fly through time; a line around some shows which they are.

Other things, such as gates by how often they are open and closed, stand on axes with names.
"""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtWidgets

from accweight_viewer.model.scatter import Scatter
from accweight_viewer.model.session import Session
from accweight_viewer.panes.found_head import FoundHead
from accweight_viewer.panes.instances import Instances
from accweight_viewer.panes.scatter_view import ScatterView
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.pane import Pane

LONGEST = 0.1
"""Most seconds of flight in one tick, so that nothing jumps after a pause."""


class ScatterPane(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """Points, what is chosen of them, and the line above.

    Attributes:
        scatter: What is shown.
        view: The points.
        instances: The samples that are chosen.
        head: The line above.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self.scatter = Scatter(session)
        theme = theme_called(session.settings.theme)
        self.head = FoundHead("Points to show", "own size", "Each step fills the plane")
        self.view = ScatterView(self.scatter, theme)
        self.instances = Instances(self.scatter, theme)
        self._now: float | None = None
        row = QtWidgets.QHBoxLayout()
        row.setSpacing(0)
        row.addWidget(self.view, 3)
        row.addWidget(self.instances, 1)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.head)
        layout.addLayout(row, 1)
        self.head.when_chosen(self._choose)
        self.head.switch.clicked.connect(self._switch)
        self.view.chosen.connect(self._show_chosen)
        listen(self, session.time_changed, self._note)
        listen(self, session.data_changed, self.renew)
        self.set_theme(theme)

    @property
    def is_useful(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.scatter.choices)

    @property
    def settled(self) -> bool:
        """Whether the points are where they are at the time shown."""
        return self.scatter.arrived

    def tick(self, now: float) -> bool:
        """Let the points fly; return whether they still do."""
        seconds = 0.0 if self._now is None else min(now - self._now, LONGEST)
        self._now = now
        if self.scatter.advance(seconds):
            self.view.renew()
        if self.scatter.arrived:
            self._now = None
        return not self.scatter.arrived

    def _choose(self, array: Any) -> None:
        self.scatter.choose(array)
        self.renew()

    def _switch(self, on: bool) -> None:
        self.scatter.own_size = bool(on)
        self.view.renew()

    def _show_chosen(self) -> None:
        self.instances.renew()
        self.view.update()

    def _note(self) -> None:
        told = [f"{name} {value:.2f}" for name, value in self.scatter.quality.items()]
        chosen = self.scatter.chosen
        data = [chosen.result.data] if chosen is not None and chosen.result.data else []
        self.head.show_note(" \N{MIDDLE DOT} ".join([*told, self.scatter.note, *data]))

    def renew(self) -> None:
        """Show what is chosen in the head."""
        self.head.list_choices(self.scatter.choices, self.scatter.chosen)
        self.head.switch.setChecked(self.scatter.own_size)
        self.head.switch.setVisible(not self.scatter.axes)
        self._note()
        self.view.renew()
        self.instances.renew()

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.head.set_theme(theme)
        self.view.set_theme(theme)
        self.instances.set_theme(theme)
        self.renew()
