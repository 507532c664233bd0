"""Painting of the layer table: cells with bars, and headers with a metric menu.

Both are painted directly: a style sheet takes several times as long per cell, and cannot draw a bar
behind a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.short_names import elided
from accweight_core.text import plain
from accweight_viewer.panes.layer_model import Column, LayerModel
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import place_of

PADDING = 10
"""Space between the edge of a cell and its text."""

BAR_MARGIN = (5, 3)
"""Horizontal and vertical margin of bars."""

BAR_RADIUS = 2.0

BROKEN_ROOM = 17
"""Width of the striped square before the name of a layer that is not finite."""

ARROW_ROOM = 14
"""Width of the arrow in a header that opens the metric menu."""

_MENU_STYLE = """
    QMenu { padding: 5px; }
    QMenu::item { padding: 5px 16px 5px 28px; border-radius: 4px; }
    QMenu::indicator { left: 9px; }
    """

_ALIGNED_LEFT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
_ALIGNED_RIGHT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignRight


class LayerDelegate(QtWidgets.QStyledItemDelegate):  # type: ignore[misc]
    """Paints cells."""

    def __init__(self, model: LayerModel, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self._model = model
        self._fitted: dict[tuple[str, int], str] = {}
        self.set_theme(theme)

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._fitted.clear()
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
        inner = rect.adjusted(PADDING, 0, -PADDING, 0)
        if cell.tone == "broken":
            inner.setLeft(inner.left() + self._paint_broken(painter, inner))
        if column == Column.LAYER:
            text = self._fitting(cell.text, inner.width(), option.fontMetrics)
        else:
            right = QtCore.Qt.TextElideMode.ElideRight
            text = option.fontMetrics.elidedText(cell.text, right, inner.width())
        painter.drawText(inner, _ALIGNED_RIGHT if _is_number(column) else _ALIGNED_LEFT, text)

    def _fitting(self, name: str, room: int, metrics: Any) -> str:
        """Return as much of a name as fits; kept, because it is asked for in every frame."""
        key = name, room
        if key not in self._fitted:
            self._fitted[key] = elided(name, room, metrics.horizontalAdvance)
        return self._fitted[key]

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


class LayerHeader(QtWidgets.QHeaderView):  # type: ignore[misc]
    """Column titles; those of metrics open a menu of all metrics."""

    def __init__(
        self,
        model: LayerModel,
        theme: Theme,
        choose: Callable[[int, str], None],
        parent: Any = None,
    ) -> None:
        """Create the header.

        Args:
            model: The table's model.
            theme: The theme.
            choose: Called with a column and the name of the chosen metric.
            parent: The table.
        """
        super().__init__(QtCore.Qt.Orientation.Horizontal, parent)
        self._model = model
        self._choose = choose
        self._theme = theme
        self.setSectionsClickable(True)
        self.setHighlightSections(False)
        self.setMinimumSectionSize(32)
        self.setMouseTracking(True)

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.viewport().update()

    def sizeHint(self) -> Any:  # noqa: N802
        """Return a height with padding around the titles."""
        return QtCore.QSize(super().sizeHint().width(), self.fontMetrics().height() + 14)

    def title_width(self, column: int) -> int:
        """Return the width at which the title of a metric is readable."""
        text = self.fontMetrics().horizontalAdvance(self._model.title(column))
        return int(text) + 2 * PADDING + 2 * ARROW_ROOM

    def arrow_area(self, column: int) -> Any:
        """Return the rectangle in which a click opens the metric menu."""
        right = self.sectionViewportPosition(column) + self.sectionSize(column)
        width = ARROW_ROOM + PADDING
        return QtCore.QRect(right - width, 0, width, self.height())

    def metric_menu(self, column: int) -> Any:
        """Return the metric menu of a column."""
        menu = QtWidgets.QMenu(self)
        menu.setStyleSheet(_MENU_STYLE)
        menu.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        now = self._model.metrics[column - Column.FIRST].metric
        for name, words in self._model.metric_words.items():
            action = menu.addAction(f"{name}\t{plain(words)}")
            action.setData(name)
            action.setCheckable(True)
            action.setChecked(name == now)
            action.triggered.connect(lambda *_, name=name: self._choose(column, name))
        return menu

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        """Open the metric menu, or let Qt sort and resize."""
        column = self._column_of_arrow(place_of(event).toPoint())
        if column is None or event.button() != QtCore.Qt.MouseButton.LeftButton:
            super().mousePressEvent(event)
        else:
            self._open_menu(column)

    def contextMenuEvent(self, event: Any) -> None:  # noqa: N802
        """Open the metric menu."""
        column = self.logicalIndexAt(event.pos())
        if column in self._model.values:
            self._open_menu(column)

    def _open_menu(self, column: int) -> None:
        corner = self.arrow_area(column).bottomLeft()
        self.metric_menu(column).popup(self.viewport().mapToGlobal(corner))

    def _column_of_arrow(self, place: Any) -> int | None:
        inside = [
            column for column in self._model.values if self.arrow_area(column).contains(place)
        ]
        return int(inside[0]) if inside else None

    def paintSection(self, painter: Any, rect: Any, logical: int) -> None:  # noqa: N802
        """Draw a title."""
        theme, sorted_by = self._theme, self._model.order
        painter.save()
        painter.fillRect(rect, QtGui.QColor(theme.panel))
        painter.fillRect(rect.x(), rect.bottom(), rect.width(), 1, QtGui.QColor(theme.line))
        inner = rect.adjusted(PADDING, 0, -PADDING, 0)
        colour = QtGui.QColor(theme.ink if sorted_by.column == logical else theme.dim)
        painter.setPen(colour)
        if logical in self._model.values:
            self._paint_chevron(painter, inner, colour)
            inner.setRight(inner.right() - ARROW_ROOM)
        text = self.fontMetrics().elidedText(
            self._model.title(logical), QtCore.Qt.TextElideMode.ElideMiddle, inner.width()
        )
        painter.drawText(inner, _ALIGNED_RIGHT if _is_number(logical) else _ALIGNED_LEFT, text)
        if sorted_by.column == logical and logical != Column.PLACE:
            width = self.fontMetrics().horizontalAdvance(text) + 9
            x = inner.right() - width if _is_number(logical) else inner.left() + width
            self._paint_arrow(painter, x, rect.center().y(), sorted_by.descending)
        painter.restore()

    def _paint_chevron(self, painter: Any, inner: Any, colour: Any) -> None:
        x, y = inner.right() - 3.0, inner.center().y() + 1.0
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QPen(colour, 1.4))
        corners = ((x - 3.5, y - 1.5), (x, y + 2), (x + 3.5, y - 1.5))
        painter.drawPolyline(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in corners]))

    def _paint_arrow(self, painter: Any, x: float, y: float, down: bool) -> None:
        way = 1 if down else -1
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(QtGui.QColor(self._theme.ink))
        corners = ((x - 3.5, y - 2 * way), (x + 3.5, y - 2 * way), (x, y + 3 * way))
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in corners]))


def _is_number(column: int) -> bool:
    return column == Column.PLACE or column >= Column.FIRST
