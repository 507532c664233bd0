"""A pane with the graph of the network: layers coloured by a number, folded by module."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_core.errors import AccweightError
from accweight_core.graphs.layout import Drawing, laid_out
from accweight_core.graphs.modules import ModuleTree
from accweight_core.text import plain
from accweight_viewer.model.graph_scene import GraphScene, Number
from accweight_viewer.model.session import Session
from accweight_viewer.panes.found_head import FoundHead
from accweight_viewer.panes.graph_view import GraphView
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.background import Background
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.icons import icon
from accweight_viewer.widgets.pane import Pane

Asked = tuple[ModuleTree, frozenset[int], tuple[int, int]]
"""A tree, what is unfolded of it, and the room."""

ROUNDED = 40
"""Pixels by which the room must change for another layout."""


class GraphPane(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """The graph, and the line above it.

    Attributes:
        scene: What is shown.
        view: The drawing.
        head: The line above.
        is_enlarged: Whether it has the room of the scene.
        enlarged: Emitted when that changes.
    """

    enlarged = QtCore.Signal(bool)

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self.scene = GraphScene(session)
        self.is_enlarged = False
        self._wanted: bool | None = None
        self._shown: Asked | None = None
        theme = theme_called(session.settings.theme)
        self.head = FoundHead("Colour of the layers", "all layers", "Unfold all modules")
        self.view = GraphView(self.scene, theme)
        self.larger = QtWidgets.QToolButton()
        self.larger.setToolTip("Show the graph in place of the scene")
        self.larger.setAccessibleName("Show the graph in place of the scene")
        self.larger.setCheckable(True)
        self.larger.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        self.head.layout().addWidget(self.larger)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.head)
        layout.addWidget(self.view, 1)
        self._layouts: Background[Asked, Drawing | str] = Background(_laid_out, self._arrived)
        self.head.when_chosen(self._choose)
        self.head.switch.clicked.connect(self._unfold_all)
        self.larger.clicked.connect(self._enlarge)
        self.view.clicked.connect(self._clicked)
        self.view.visited.connect(session.jump_to)
        listen(self, session.time_changed, self.view.update)
        listen(self, session.selection_changed, self.view.update)
        listen(self, session.pointing_changed, self.view.update)
        listen(self, session.settings_changed, lambda names: self.renew())
        listen(self, session.data_changed, self.renew)
        self.set_theme(theme)

    @property
    def is_useful(self) -> bool:
        """Whether it is shown: if a graph is known, unless the user wants otherwise."""
        return self.scene.is_known if self._wanted is None else self._wanted

    @property
    def settled(self) -> bool:
        """Whether what is shown is laid out."""
        return self._layouts.idle and self._shown == self._asked()

    def toggle(self) -> None:
        """Show it, or hide it."""
        self._wanted = not self.is_useful
        self.leave()

    def leave(self) -> bool:
        """Give the scene its room back; return whether it had it."""
        if not self.is_enlarged:
            return False
        self._enlarge(False)
        return True

    def tick(self, now: float) -> bool:
        """Ask for a layout if another one is needed; return whether one is awaited."""
        self._ask()
        return not self.settled

    def _asked(self) -> Asked:
        high, wide = self.view.height() - 62, self.view.width() - 28
        self.scene.fit(wide, high)
        room = tuple(max(side // ROUNDED, 3) * ROUNDED for side in (wide, high))
        return self.scene.tree, self.scene.unfolded, (room[0], room[1])

    def _ask(self) -> None:
        if self.isVisible() and (asked := self._asked()) != self._shown:
            self._layouts.loader.request([asked])

    def _arrived(self) -> None:
        for asked, found in self._layouts.values():
            if asked != self._asked():
                continue
            self._shown = asked
            if isinstance(found, str):
                self.view.show_drawing(None, found)
            else:
                self.view.show_drawing(found)

    def _choose(self, number: Number) -> None:
        self.scene.choose(number)
        self.renew()

    def _unfold_all(self, on: bool) -> None:
        self.scene.unfold_all(bool(on))
        self.view.fit()
        self.renew()

    def _enlarge(self, on: bool) -> None:
        self.is_enlarged = bool(on)
        self.larger.setChecked(self.is_enlarged)
        self.enlarged.emit(self.is_enlarged)

    def _clicked(self, number: int, is_open: bool) -> None:
        """Select a layer; unfold or fold a module."""
        item = self.scene.tree.items[number]
        if item.kind == "module" or is_open:
            self.scene.toggle(number)
            self.renew()
        elif item.kind == "layer":
            self.scene.session.select_layer(item.name)

    def renew(self) -> None:
        """Show the state of the session."""
        self.head.list_choices(self.scene.choices, self.scene.chosen)
        self.head.show_note(self.scene.note)
        self.head.switch.setVisible(any(i.kind == "module" for i in self.scene.tree.items[1:]))
        if self._shown is not None and self._shown[0] is not self.scene.tree:
            self.view.show_drawing(None)  # it is of another network
        self._ask()
        self.view.update()

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.head.set_theme(theme)
        self.larger.setIcon(icon("enlarge", theme.dim))
        self.view.theme = theme
        self.renew()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Lay the graph out."""
        super().showEvent(event)
        self._ask()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Lay it out for the new room."""
        super().resizeEvent(event)
        self._ask()

    def closeEvent(self, event: Any) -> None:  # noqa: N802
        """Stop laying out."""
        self._layouts.close()
        super().closeEvent(event)


def _laid_out(asked: Asked) -> Drawing | str:
    tree, unfolded, room = asked
    try:
        return laid_out(tree, unfolded, room)
    except AccweightError as error:
        return plain(str(error))
