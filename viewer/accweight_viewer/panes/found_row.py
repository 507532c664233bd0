"""Below the scene: the graph, and what probes have found, as far as there is any.

To show another kind of result, write a pane with `is_useful` and add it to `PANES`.
"""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.model.session import Session
from accweight_viewer.panes.graph_pane import GraphPane
from accweight_viewer.panes.linked_pane import LinkedPane
from accweight_viewer.panes.scatter_pane import ScatterPane
from accweight_viewer.panes.sheet_pane import SheetPane
from accweight_viewer.widgets.boxes import splitter
from accweight_viewer.widgets.events import listen

PANES = (ScatterPane, LinkedPane, SheetPane, GraphPane)

LEAST_WINDOW = 640
"""Pixels of height of a window below which what was found is hidden: the scene needs the room."""

LEAST_WIDTH = 420
"""Pixels of width for two panes; where there is less, there is one."""

LEAST_HEIGHT = 150

SIZES = [560, 340]
"""Heights of the scene and of what was found, in proportion."""


class FoundRow(QtWidgets.QSplitter):  # type: ignore[misc]
    """The panes side by side.

    Attributes:
        panes: The panes.
        graph: The one with the graph.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(QtCore.Qt.Orientation.Horizontal, parent)
        self.panes = [kind(session) for kind in PANES]
        for pane in self.panes:
            self.addWidget(pane)
        self.graph = next(pane for pane in self.panes if isinstance(pane, GraphPane))
        self.graph.enlarged.connect(self.enlarge)
        self._around: Any = None
        self._height = LEAST_WINDOW
        listen(self, session.data_changed, self.renew)
        self.renew()

    def below(self, above: Any) -> Any:
        """Return a splitter with the scene above, and a border that can be moved."""
        whole = splitter(QtCore.Qt.Orientation.Vertical, above, self)
        whole.setSizes(SIZES)
        self.setMinimumSize(0, LEAST_HEIGHT)  # Qt has taken that of all panes side by side
        self._around = whole
        return whole

    def enlarge(self, on: bool) -> None:
        """Give the graph the room of the scene and of the other panes, or give it back."""
        if self._around is not None:
            self._around.widget(0).setVisible(not on)
        self.renew()

    def toggle_graph(self) -> None:
        """Show the graph, or hide it."""
        self.graph.toggle()
        self.renew()

    def fit(self, height: int) -> None:
        """Hide it in a window of little height."""
        self._height = height
        self.renew()

    def renew(self) -> None:
        """Show the panes that have something to show, as far as they fit."""
        useful = [pane for pane in self.panes if pane.is_useful]
        if self.graph.is_enlarged and self.graph in useful:
            useful = [self.graph]
        self.setVisible(bool(useful) and self._height >= LEAST_WINDOW)
        narrow = self.isVisible() and 0 < self.width() < LEAST_WIDTH
        for pane in self.panes:
            pane.setVisible(pane in (useful[:1] if narrow else useful))
