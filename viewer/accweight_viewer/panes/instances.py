"""The samples that are chosen among points, as pictures if they are stored; else the classes."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.samples.pictures import Pictures
from accweight_core.text import plain
from accweight_viewer.model.scatter import Scatter
from accweight_viewer.model.sheet import GAP, grid_for
from accweight_viewer.panes.scatter_view import draw_mark
from accweight_viewer.panes.sheet_pane import image_of
from accweight_viewer.theme import Theme

INSET = 10
MOST = 120
"""Pictures that are looked at; of more, the first."""


class Instances(QtWidgets.QWidget):  # type: ignore[misc]
    """What is known of the chosen samples."""

    def __init__(self, scatter: Scatter, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self._scatter = scatter
        self._theme = theme
        self.setMinimumWidth(110)
        self.setAccessibleName("Samples that are chosen")

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.update()

    def renew(self) -> None:
        """Show the samples that are chosen now."""
        self.update()

    @property
    def points(self) -> list[int]:
        """The points whose samples are shown: those chosen, else the one under the mouse."""
        chosen: list[int] = self._scatter.chosen_points[:MOST].tolist()
        pointed = self._scatter.pointed_at
        return [pointed] if pointed is not None and not chosen else chosen

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw a heading, then pictures or classes."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(self._theme.page))
        painter.setPen(QtGui.QColor(self._theme.line))
        painter.drawLine(0, 0, 0, self.height())
        points = self.points
        samples = self._scatter.pictures_of(points) if points else None
        line = painter.fontMetrics().height()
        wrap = QtCore.Qt.TextFlag.TextWordWrap
        room = self.rect().adjusted(INSET, INSET - 4, -INSET, -INSET)
        painter.setPen(QtGui.QColor(self._theme.dim))
        text = self._heading(points)
        used = painter.boundingRect(room, wrap, text)
        painter.drawText(room, wrap, text)
        top = used.bottom() + 8
        if points and samples is not None:
            self._draw_samples(painter, points, samples, top)
        elif not points:
            self._draw_key(painter, top, line)
        elif self._scatter.axes and len(self._scatter.chosen_points):
            self._draw_list(painter, points, top, line)
        painter.end()

    def _heading(self, points: list[int]) -> str:
        if obstacle := self._scatter.obstacle:
            return plain(obstacle)
        if len(self._scatter.chosen_points):
            return self._scatter.chosen_text()
        if points:
            return self._scatter.text_of(points[0])
        what = "points" if self._scatter.axes else "samples"
        return f"draw a line around {what}" if self._scatter.count else ""

    def _draw_samples(self, painter: Any, points: list[int], shown: Pictures, top: int) -> None:
        wide, high = self.width() - 2 * INSET, self.height() - top - INSET
        grid = grid_for(len(points), shown.shape[1], shown.shape[2], wide, high)
        for number in range(grid.shown):
            x, y = grid.place(number)
            box = QtCore.QRect(INSET + x, top + y, grid.width, grid.height)
            painter.drawImage(box, image_of(shown[number]))
            classes = self._scatter.classes
            if len(classes):
                names = self._theme.classes
                colour = QtGui.QColor(names[int(classes[points[number]]) % len(names)])
                painter.fillRect(box.left(), box.bottom() + 1, grid.width, min(3, GAP), colour)

    def _draw_list(self, painter: Any, points: list[int], top: int, line: int) -> None:
        """Write the names of what is chosen, as far as there is room."""
        painter.setPen(QtGui.QColor(self._theme.ink))
        end, wide = QtCore.Qt.TextElideMode.ElideMiddle, self.width() - 2 * INSET
        for number in range(min(len(points), max((self.height() - top - 4) // line, 0))):
            name = plain(self._scatter.name_of(points[number]))
            text = painter.fontMetrics().elidedText(name, end, wide)
            baseline = top + number * line + painter.fontMetrics().ascent()
            painter.drawText(QtCore.QPointF(INSET, baseline), text)

    def _draw_key(self, painter: Any, top: int, line: int) -> None:
        names, colours = self._scatter.class_names, self._theme.classes
        fitting = max((self.height() - top - 4) // (line + 3), 1)
        columns = 2 if len(names) > fitting or (self.width() > 150 and len(names) > 5) else 1
        rows = -(-len(names) // columns)
        wide = (self.width() - 2 * INSET) // columns
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        for number, name in enumerate(names):
            x = INSET + number // rows * wide
            y = top + number % rows * (line + 3)
            if y + line > self.height() - 4:
                continue
            colour = QtGui.QColor(colours[number % len(colours)])
            draw_mark(painter, number // len(colours), x + 6, y + line / 2, 4.5, colour)
            painter.setPen(QtGui.QColor(self._theme.ink))
            end = QtCore.Qt.TextElideMode.ElideRight
            text = painter.fontMetrics().elidedText(plain(name), end, wide - 20)
            painter.drawText(QtCore.QPointF(x + 16, y + painter.fontMetrics().ascent()), text)
