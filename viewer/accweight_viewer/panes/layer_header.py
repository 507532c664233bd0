"""The titles of the layer table's columns: a click sorts, a right click chooses columns."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.analysis.probe_metrics import is_probe_metric
from accweight_viewer.model.session import Session
from accweight_viewer.panes.column_menu import ColumnMenu
from accweight_viewer.panes.layer_model import Column, LayerModel
from accweight_viewer.panes.layer_paint import (
    ALIGNED_LEFT,
    ALIGNED_RIGHT,
    CLOSE,
    PADDING,
    is_number,
    padding_in,
)
from accweight_viewer.theme import Theme

ARROW_ROOM = 14
"""Width of an arrow beside a title."""

_MIDDLE = QtCore.Qt.TextElideMode.ElideMiddle


class LayerHeader(QtWidgets.QHeaderView):  # type: ignore[misc]
    """Column titles, in two lines if there are several runs."""

    def __init__(
        self, session: Session, model: LayerModel, theme: Theme, parent: Any = None
    ) -> None:
        super().__init__(QtCore.Qt.Orientation.Horizontal, parent)
        self._session = session
        self._model = model
        self._theme = theme
        self.setSectionsClickable(True)
        self.setHighlightSections(False)
        self.setMinimumSectionSize(32)
        self.setMouseTracking(True)
        self.setAccessibleName("Columns")

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.viewport().update()

    def sizeHint(self) -> Any:  # noqa: N802
        """Return a height with padding around the titles: of two lines if there are runs."""
        lines = 2 if any(metric.run_name for metric in self._model.metrics) else 1
        return QtCore.QSize(super().sizeHint().width(), lines * self.fontMetrics().height() + 14)

    # --- places ---------------------------------------------------------------------------

    def title_width(self, column: int) -> int:
        """Return the width at which the title of a metric is readable."""
        measure = self.fontMetrics().horizontalAdvance
        text = max(measure(line) for line in self._lines(column))
        return int(text) + 2 * PADDING + ARROW_ROOM

    def _lines(self, column: int) -> tuple[str, ...]:
        """Return the title of a column; of several runs, the name of the run below."""
        if column not in self._model.values:
            return (self._model.title(column),)
        metric = self._model.metrics[column - Column.FIRST]
        return (metric.metric, metric.run_name) if metric.run_name else (metric.metric,)

    @property
    def left_out(self) -> list[str]:
        """Titles of the columns that do not fit."""
        return [self._model.title(c) for c in self._model.values if self.isSectionHidden(c)]

    # --- choosing -------------------------------------------------------------------------

    def column_menu(self, column: int = -1) -> ColumnMenu:
        """Return the menu of columns, opened on one of them; -1 for none."""
        known = column in self._model.values
        metric = self._model.metrics[column - Column.FIRST].metric if known else None
        return ColumnMenu(self._session, metric, self)

    def contextMenuEvent(self, event: Any) -> None:  # noqa: N802
        """Open the menu of columns."""
        self.column_menu(self.logicalIndexAt(event.pos())).popup(event.globalPos())

    # --- painting -------------------------------------------------------------------------

    def paintSection(self, painter: Any, rect: Any, logical: int) -> None:  # noqa: N802
        """Draw a title."""
        theme, order = self._theme, self._model.order
        painter.save()
        painter.fillRect(rect, QtGui.QColor(theme.panel))
        painter.fillRect(rect.x(), rect.bottom(), rect.width(), 1, QtGui.QColor(theme.line))
        beside = padding_in(logical, rect.width(), self.fontMetrics())
        after = beside if is_number(logical) else min(beside, CLOSE)
        inner = rect.adjusted(beside, 0, -after, 0)
        is_sorted = order.column == logical and logical != Column.PLACE
        lines = self._lines(logical)
        high = self.fontMetrics().height()
        top = rect.center().y() - high * len(lines) // 2
        for at, line in enumerate(lines):
            box = QtCore.QRect(inner.left(), top + at * high, inner.width(), high)
            painter.setPen(QtGui.QColor(theme.ink if is_sorted and not at else theme.dim))
            self._paint_line(painter, box, line, logical, arrow=is_sorted and not at)
        painter.restore()

    def _paint_line(self, painter: Any, box: Any, line: str, logical: int, *, arrow: bool) -> None:
        """Draw a line of a title, and the arrow of the order beside it."""
        right = is_number(logical)
        room = box.width() - (ARROW_ROOM if arrow else 0)
        end = QtCore.Qt.TextElideMode.ElideLeft if is_probe_metric(line) else _MIDDLE
        text = self.fontMetrics().elidedText(line, end, room)
        painter.drawText(box, ALIGNED_RIGHT if right else ALIGNED_LEFT, text)
        if arrow:
            away = self.fontMetrics().horizontalAdvance(text) + 9
            x = box.right() - away if right else box.left() + away
            self._paint_arrow(painter, x, box.center().y(), self._model.order.descending)

    def _paint_arrow(self, painter: Any, x: float, y: float, down: bool) -> None:
        way = 1 if down else -1
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(QtGui.QColor(self._theme.ink))
        corners = ((x - 3.5, y - 2 * way), (x + 3.5, y - 2 * way), (x, y + 3 * way))
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in corners]))
