"""Painting of the cells of the layer table, with bars behind numbers.

They are painted directly: a style sheet takes several times as long per cell, and cannot draw bars.
"""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.short_names import fitting
from accweight_viewer.panes.layer_model import Column, LayerModel
from accweight_viewer.theme import Theme

PADDING = 10
"""Space between the edge of a cell and its text."""

CLOSE = 5
"""The same in narrow columns of numbers."""

WIDEST_NUMBER = "0.00000"
"""No number of the table has more letters."""

BAR_MARGIN = (5, 3)
"""Horizontal and vertical margin of bars."""

BAR_RADIUS = 2.0

BROKEN_ROOM = 17
"""Width of the striped square before the name of a layer that is not finite."""

ALIGNED_LEFT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
ALIGNED_RIGHT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignRight


class LayerDelegate(QtWidgets.QStyledItemDelegate):  # type: ignore[misc]
    """Paints cells."""

    def __init__(self, model: LayerModel, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self._model = model
        self._fitted: dict[str, str] = {}
        self.set_theme(theme)

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._fitted_for: tuple[Any, int] = None, 0
        self._bar = QtGui.QColor(theme.bar)
        self._chosen = QtGui.QColor(theme.raised)
        self._accent = QtGui.QColor(theme.accent)
        self._tones = {
            "ink": QtGui.QColor(theme.ink),
            "dim": QtGui.QColor(theme.dim),
            "mark": QtGui.QColor(theme.mark),
            "broken": QtGui.QColor(theme.broken),
        }

    def paint(self, painter: Any, option: Any, index: Any) -> None:
        """Draw a cell."""
        column, rect = index.column(), option.rect
        cell = self._model.cell(index.row(), column)
        if option.state & QtWidgets.QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, self._chosen)
            if column == Column.PLACE:
                painter.fillRect(rect.x(), rect.y(), 3, rect.height(), self._accent)
        if cell.share > 0:
            self._paint_bar(painter, rect, cell.share)
        painter.setPen(self._tones[cell.tone])
        beside = padding_in(column, rect.width(), option.fontMetrics)
        inner = rect.adjusted(beside, 0, -beside, 0)
        if cell.tone == "broken":
            inner.setLeft(inner.left() + self._paint_broken(painter, inner))
        if column == Column.LAYER:
            room = rect.width() - 2 * beside - (BROKEN_ROOM if self._model.may_break else 0)
            text = self._fitting(room, option.fontMetrics)[cell.text]
        else:
            right = QtCore.Qt.TextElideMode.ElideRight
            text = option.fontMetrics.elidedText(cell.text, right, inner.width())
        painter.drawText(inner, ALIGNED_RIGHT if is_number(column) else ALIGNED_LEFT, text)

    def _fitting(self, room: int, metrics: Any) -> dict[str, str]:
        """Return of each name as much as fits; kept, because they are asked for in every frame."""
        names = self._model.short_names
        held, width = self._fitted_for
        if held is not names or width != room:
            self._fitted_for = names, room
            self._fitted = fitting(names, room, metrics.horizontalAdvance)
        return self._fitted

    def _paint_broken(self, painter: Any, inner: Any) -> int:
        """Draw a striped square; return the room that it takes."""
        side = BROKEN_ROOM - 6
        box = QtCore.QRect(inner.left(), inner.center().y() - side // 2 + 1, side, side)
        painter.fillRect(box, self._tones["broken"])
        painter.fillRect(box, QtGui.QBrush(self._chosen, QtCore.Qt.BrushStyle.BDiagPattern))
        return BROKEN_ROOM

    def _paint_bar(self, painter: Any, rect: Any, share: float) -> None:
        across, down = BAR_MARGIN
        room = QtCore.QRectF(rect).adjusted(across, down, -across, -down)
        room.setWidth(max(room.width() * share, 1.0))
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(self._bar)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing, True)
        painter.drawRoundedRect(room, BAR_RADIUS, BAR_RADIUS)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing, False)


def padding_in(column: int, width: int, metrics: Any) -> int:
    """Return the space beside the text of a cell, which is smaller in narrow columns of numbers."""
    roomy = metrics.horizontalAdvance(WIDEST_NUMBER) + 2 * PADDING
    return CLOSE if column >= Column.FIRST and width < roomy else PADDING


def is_number(column: int) -> bool:
    """Tell whether a column has numbers, which are aligned at the right."""
    return column == Column.PLACE or column >= Column.FIRST
