"""How the graph is painted: cards with their colours, boxes of open modules, lines, the legend.

Names are written where they can be read. From afar a card is all colour, so that 500 layers are a
picture of where the network moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyqtgraph.Qt import QtCore, QtGui

from accweight_core.graphs.layout import Command, Drawing, Place
from accweight_core.graphs.modules import Item
from accweight_core.text import plain
from accweight_viewer.model.graph_scene import GraphScene
from accweight_viewer.panes.formatting import number_text
from accweight_viewer.theme import Theme

LETTERS, LEAST_LETTERS = 11, 6
"""Pixels of letters at full size, and the least that are drawn."""

BAND, INSET = 9, 4
"""Height of the colours of a card, and what is around them, at full size."""

LEGEND = 110, 7
"""Width and height of the colours of the legend."""

CENTRE = QtCore.Qt.AlignmentFlag.AlignCenter
LEFT = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True)
class Marks:
    """What is special.

    Attributes:
        selected: Item of the selected layer; -1 for none.
        pointed_at: Item under the mouse, or that of the layer under the mouse in a table.
        apart: Items without edges, which the graph does not tell the place of.
    """

    selected: int = -1
    pointed_at: int = -1
    apart: frozenset[int] = frozenset()


class GraphPainter:
    """Paints one drawing."""

    def __init__(self, painter: Any, scene: GraphScene, theme: Theme, zoom: float) -> None:
        self._painter, self._scene, self._theme, self._zoom = painter, scene, theme, zoom
        self._items = scene.tree.items
        self._scale = scene.scale
        self.is_far = LETTERS * zoom < LEAST_LETTERS

    def paint(self, drawing: Drawing, marks: Marks, seen: Any) -> None:
        """Paint a drawing; what is outside of a rectangle is left out."""
        boxes = [place for place in drawing.boxes if seen.intersects(rectangle(place))]
        for place in boxes:
            self._box(place, place.item == marks.pointed_at)
        self._lines(drawing, marks)
        for place in boxes:
            self._head(place)
        for place in drawing.cards:
            if seen.intersects(rectangle(place)):
                self._card(place, marks)

    def _box(self, place: Place, is_pointed_at: bool) -> None:
        shade = QtGui.QColor(self._theme.ink)
        shade.setAlphaF(0.035)
        edge = self._theme.dim if is_pointed_at else self._theme.line
        self._painter.setBrush(shade)
        self._painter.setPen(pen(edge, 1))
        self._painter.drawRoundedRect(rectangle(place), 8, 8)

    def _head(self, place: Place) -> None:
        """Write the name of an open module into its upper left corner."""
        zoom = self._zoom
        pixels = max(LETTERS * zoom, 8.0)
        if place.height * zoom < 40 or 24 * zoom < 7:
            return
        self._font(pixels / zoom)
        metrics = self._painter.fontMetrics()
        room = place.width - 16
        if room * zoom < 24:
            return
        side = QtCore.Qt.TextElideMode.ElideMiddle
        text = metrics.elidedText(plain(self._items[place.item].title), side, int(room))
        width = metrics.horizontalAdvance(text)
        chip = QtCore.QRectF(place.x + 5, place.y + 3, width + 6, min(pixels / zoom + 5, 19))
        self._painter.setPen(QtCore.Qt.PenStyle.NoPen)
        self._painter.setBrush(QtGui.QColor(self._theme.page))
        self._painter.setOpacity(0.8)
        self._painter.drawRoundedRect(chip, 3, 3)
        self._painter.setOpacity(1)
        self._painter.setPen(QtGui.QColor(self._theme.dim))
        self._painter.drawText(chip.translated(3, 0), LEFT, text)

    def _lines(self, drawing: Drawing, marks: Marks) -> None:
        painter = self._painter
        painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
        lit = {marks.selected, marks.pointed_at} - {-1}
        ends = list(zip(drawing.lines, drawing.ends, strict=True))
        for is_lit in (False, True):
            painter.setPen(pen(*((self._theme.ink, 1.6) if is_lit else (self._theme.frame, 1.1))))
            for line, joined in ends:
                if bool(lit & joined) == is_lit:
                    painter.drawPath(path_of(line))

    def _card(self, place: Place, marks: Marks) -> None:
        item = self._items[place.item]
        rect = rectangle(place)
        if item.kind == "join":
            self._join(rect, item)
        elif item.kind in ("input", "output"):
            self._port(rect, item)
        else:
            self._layer(rect, item, marks)
        if place.item in (marks.selected, marks.pointed_at):
            is_selected = place.item == marks.selected
            colour = self._theme.accent if is_selected else self._theme.ink
            self._painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
            self._painter.setPen(pen(colour, 2.2 if is_selected else 1.2))
            self._painter.drawRoundedRect(rect.adjusted(-1.5, -1.5, 1.5, 1.5), 7, 7)

    def _join(self, rect: Any, item: Item) -> None:
        self._painter.setBrush(QtGui.QColor(self._theme.panel))
        self._painter.setPen(pen(self._theme.frame, 1))
        self._painter.drawRoundedRect(rect.adjusted(1, 1, -1, -1), 10, 10)
        self._text(rect, item.label, self._theme.dim)

    def _port(self, rect: Any, item: Item) -> None:
        self._painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
        self._painter.setPen(pen(self._theme.frame, 1, dashed=True))
        shown = rect.adjusted(1, 4, -1, -4)
        self._painter.drawRoundedRect(shown, shown.height() / 2, shown.height() / 2)
        self._text(shown, item.label, self._theme.dim)

    def _layer(self, rect: Any, item: Item, marks: Marks) -> None:
        theme, painter = self._theme, self._painter
        edge = pen(theme.frame, 1, dashed=item.number in marks.apart)
        if item.kind == "module":  # a stack of cards
            painter.setBrush(QtGui.QColor(theme.panel))
            painter.setPen(edge)
            painter.drawRoundedRect(rect.translated(3, -3), 6, 6)
        painter.setBrush(QtGui.QColor(theme.raised))
        painter.setPen(edge)
        painter.drawRoundedRect(rect, 6, 6)
        if self.is_far:
            self._stripes(rect.adjusted(1, 1, -1, -1), item)
            return
        band = QtCore.QRectF(
            rect.left() + INSET + 1, rect.bottom() - INSET - BAND,
            rect.width() - 2 * INSET - 2, BAND,
        )  # fmt: skip
        self._stripes(band, item)
        self._text(rect.adjusted(INSET, 1, -INSET, -BAND - INSET), item.title, theme.ink)

    def _stripes(self, rect: Any, item: Item) -> None:
        colours = self._scene.stripes(item, self._scale)
        if not colours:
            colours = [None]
        width = rect.width() / len(colours)
        clip = QtGui.QPainterPath()
        clip.addRoundedRect(rect, 2.5, 2.5)
        self._painter.save()
        self._painter.setClipPath(clip, QtCore.Qt.ClipOperation.IntersectClip)
        self._painter.setPen(QtCore.Qt.PenStyle.NoPen)
        for at, colour in enumerate(colours):
            shade = QtGui.QColor(self._theme.gap) if colour is None else QtGui.QColor(*colour)
            left = rect.left() + at * width
            gap = 0.6 if len(colours) > 1 and width * self._zoom > 4 else -0.3
            self._painter.fillRect(
                QtCore.QRectF(left, rect.top(), width - gap, rect.height()), shade
            )
        self._painter.restore()

    def _text(self, rect: Any, text: str, colour: str) -> None:
        if self.is_far:
            return
        self._font(LETTERS)
        self._painter.setPen(QtGui.QColor(colour))
        side = QtCore.Qt.TextElideMode.ElideMiddle
        shown = self._painter.fontMetrics().elidedText(plain(text), side, int(rect.width()))
        self._painter.drawText(rect, CENTRE, shown)

    def _font(self, size: float) -> None:
        font = self._painter.font()
        font.setPixelSize(max(round(size), 1))
        self._painter.setFont(font)


def paint_legend(painter: Any, scene: GraphScene, theme: Theme, room: Any) -> None:
    """Paint the colours with their numbers into the lower left corner."""
    wide, high = LEGEND
    scale, ticks = scene.scale, scene.scale.ticks()
    font = painter.font()
    font.setPixelSize(10)
    painter.setFont(font)
    left, top = room.left() + 10, room.bottom() - 30
    back = QtGui.QColor(theme.page)
    back.setAlphaF(0.85)
    painter.fillRect(QtCore.QRectF(left - 8, top - 18, wide + 40, 46), back)
    gradient = QtGui.QLinearGradient(left, 0, left + wide, 0)
    for share in range(17):
        colour = scale.colours[round(share * 254 / 16)]
        gradient.setColorAt(share / 16, QtGui.QColor(*map(int, colour)))
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(gradient)
    painter.drawRect(QtCore.QRectF(left, top, wide, high))
    painter.setPen(QtGui.QColor(theme.dim))
    step = scene.session.step
    painter.drawText(QtCore.QPointF(left, top - 5), f"{scene.chosen.title} at step {step}")
    for position in (ticks[0][0], ticks[-1][0]):
        text = number_text(scale.value_at(position))
        width = painter.fontMetrics().horizontalAdvance(text)
        x = left + position * wide - (width if position > 0.5 else 0)
        painter.drawText(QtCore.QPointF(x, top + high + 12), text)


def path_of(line: tuple[Command, ...]) -> Any:
    """Return a line as a QPainterPath."""
    path = QtGui.QPainterPath()
    for name, at in line:
        if name == "M":
            path.moveTo(*at)
        elif name == "L":
            path.lineTo(*at)
        elif name == "Q":
            path.quadTo(*at)
        else:
            path.cubicTo(*at)
    return path


def rectangle(place: Place) -> Any:
    """Return the place of an item as a QRectF."""
    return QtCore.QRectF(place.x, place.y, place.width, place.height)


def pen(colour: str, width: float, *, dashed: bool = False) -> Any:
    """Return a QPen whose width does not depend on the zoom."""
    found = QtGui.QPen(QtGui.QColor(colour))
    found.setWidthF(width)
    found.setCosmetic(True)
    if dashed:
        found.setStyle(QtCore.Qt.PenStyle.DashLine)
    return found
