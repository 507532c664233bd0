"""The graph on the screen: zoom with the wheel, drag, click."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.graphs.layout import Drawing
from accweight_core.graphs.modules import Item
from accweight_core.text import plain
from accweight_viewer.model.graph_scene import GraphScene
from accweight_viewer.panes.formatting import number_text, tip_text
from accweight_viewer.panes.graph_painting import GraphPainter, Marks, paint_legend
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import CLICK_PIXELS, NOTCH, place_of

MARGIN = 14
ZOOMS = 0.02, 4.0
LARGEST = 1.25
"""Largest zoom that a graph is fitted with."""

STEP = 1.2
"""Zoom of a notch of the wheel."""

LISTED = 6
"""Layers that the tip of a folded module lists."""


class GraphView(QtWidgets.QWidget):  # type: ignore[misc]
    """The drawing.

    Attributes:
        scene: What is shown.
        theme: The colours.
        drawing: Where everything is; None until it is laid out.
        failure: Why nothing is drawn; empty if nothing failed.
        zoom: Pixels per unit.
        offset: Place of the drawing's upper left corner.
        clicked: Emitted with the number of the item that was clicked, and whether it is an open
            module.
        visited: Emitted with the name of a layer on which was clicked twice.
    """

    clicked = QtCore.Signal(int, bool)
    visited = QtCore.Signal(str)

    def __init__(self, scene: GraphScene, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self.scene, self.theme = scene, theme
        self.drawing: Drawing | None = None
        self.failure = ""
        self.zoom, self.offset = 1.0, QtCore.QPointF()
        self._is_own = False  # whether the user has zoomed or dragged
        self._pressed: Any = None
        self._dragged = False
        self._over = -1
        self.setMouseTracking(True)
        self.setMinimumSize(120, 80)
        self.setAccessibleName("Graph of the network")

    def show_drawing(self, drawing: Drawing | None, failure: str = "") -> None:
        """Show a drawing, where the user has not moved it in the middle."""
        self.drawing, self.failure = drawing, failure
        if not self._is_own:
            self.fit()
        self.update()

    def fit(self) -> None:
        """Show everything."""
        self._is_own = False
        if self.drawing is None:
            return
        wide, high = self.width() - 2 * MARGIN, self.height() - 2 * MARGIN - 34
        across, tall = max(self.drawing.width, 1), max(self.drawing.height, 1)
        self.zoom = max(min(wide / across, high / tall, LARGEST), ZOOMS[0])
        self.offset = QtCore.QPointF(
            (self.width() - across * self.zoom) / 2, MARGIN + (high - tall * self.zoom) / 2
        )
        self.update()

    def point_of(self, number: int) -> Any:
        """Return where the middle of a card, or the head of an open module, is on the widget."""
        assert self.drawing is not None
        for place in (*self.drawing.cards, *self.drawing.boxes):
            if place.item == number:
                down = place.height / 2 if place in self.drawing.cards else 8.0
                across = place.width / 2 if place in self.drawing.cards else 12.0
                spot = QtCore.QPointF(place.x + across, place.y + down)
                return (spot * self.zoom + self.offset).toPoint()
        raise LookupError(f"item {number} is not shown")

    def _found(self, place: Any) -> tuple[int, bool] | None:
        if self.drawing is None:
            return None
        at = (place - self.offset) / self.zoom
        return self.scene.at(self.drawing, at.x(), at.y())

    def _marks(self) -> Marks:
        session, scene = self.scene.session, self.scene
        selected, pointed = scene.shown_by(session.layer), scene.shown_by(session.pointed_at)
        over = self._over if pointed is None else pointed.number
        return Marks(-1 if selected is None else selected.number, over, self._apart())

    def _apart(self) -> frozenset[int]:
        graph = self.scene.tree.graph
        joined = {at for edge in graph.edges for at in edge}
        return frozenset(
            item.number
            for item in self.scene.tree.items
            if item.kind == "layer" and item.node not in joined
        )

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the graph."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(self.theme.page))
        if self.drawing is None:
            painter.setPen(QtGui.QColor(self.theme.dim))
            wrap = QtCore.Qt.TextFlag.TextWordWrap | QtCore.Qt.AlignmentFlag.AlignCenter
            painter.drawText(self.rect().adjusted(10, 10, -10, -10), wrap, plain(self.failure))
        else:
            painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
            painter.save()
            painter.translate(self.offset)
            painter.scale(self.zoom, self.zoom)
            seen = QtCore.QRectF(
                -self.offset.x() / self.zoom, -self.offset.y() / self.zoom,
                self.width() / self.zoom, self.height() / self.zoom,
            )  # fmt: skip
            marks = self._marks()
            GraphPainter(painter, self.scene, self.theme, self.zoom).paint(
                self.drawing, marks, seen
            )
            painter.restore()
            paint_legend(painter, self.scene, self.theme, QtCore.QRectF(self.rect()))
        painter.end()

    def wheelEvent(self, event: Any) -> None:  # noqa: N802
        """Zoom at the mouse."""
        before = self.zoom
        self.zoom *= STEP ** (event.angleDelta().y() / NOTCH)
        self.zoom = min(max(self.zoom, ZOOMS[0]), ZOOMS[1])
        place = place_of(event)
        self.offset = place - (place - self.offset) * (self.zoom / before)
        self._is_own = True
        self.update()
        event.accept()

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        """Begin to drag, or a click."""
        self._pressed, self._dragged = place_of(event), False

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802
        """Drag the drawing, or mark and name what is under the mouse."""
        place = place_of(event)
        if self._pressed is not None:
            moved = place - self._pressed
            if self._dragged or abs(moved.x()) + abs(moved.y()) > CLICK_PIXELS:
                self._dragged = self._is_own = True
                self.offset += moved
                self._pressed = place
                self.update()
            return
        found = self._found(place)
        over = -1 if found is None else found[0]
        if over != self._over:
            self._over = over
            self.update()
            item = self.scene.tree.items[over] if over >= 0 else None
            is_layer = item is not None and item.kind == "layer"
            self.scene.session.point_at(item.name if item is not None and is_layer else None)
            text = "" if item is None else tip_text(self._tip(item))
            QtWidgets.QToolTip.showText(self.mapToGlobal(place.toPoint()), text, self)

    def mouseReleaseEvent(self, event: Any) -> None:  # noqa: N802
        """End a click."""
        if self._pressed is not None and not self._dragged:
            found = self._found(place_of(event))
            if found is not None:
                self.clicked.emit(*found)
        self._pressed = None

    def mouseDoubleClickEvent(self, event: Any) -> None:  # noqa: N802
        """Go to a layer; beside everything, show all."""
        found = self._found(place_of(event))
        item = None if found is None else self.scene.tree.items[found[0]]
        if item is None:
            self.fit()
        elif item.kind == "layer":
            self.visited.emit(item.name)

    def leaveEvent(self, event: Any) -> None:  # noqa: N802
        """Mark nothing."""
        super().leaveEvent(event)
        self._over = -1
        self.scene.session.point_at(None)
        self.update()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Fit the drawing again, unless the user has moved it."""
        super().resizeEvent(event)
        if not self._is_own:
            self.fit()

    def _tip(self, item: Item) -> str:
        by, values = self.scene.chosen.title, self.scene.values(item)
        if item.kind == "layer":
            value = number_text(values[0][1]) if values else "not counted"
            return f"{plain(item.name)}\n{by}: {value}"
        if item.kind != "module":
            return f"{item.kind} {plain(item.name)}"
        lines = [f"{plain(name)}: {number_text(value)}" for name, value in values[:LISTED]]
        rest = len(values) - LISTED
        lines += [f"and {rest} more"] if rest > 0 else []
        return "\n".join([f"{plain(item.name)}: {len(values)} layers, {by}", *lines])
