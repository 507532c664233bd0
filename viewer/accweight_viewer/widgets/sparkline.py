"""A small curve of a value over the steps, with a mark at the current step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import place_of

INSET = 4.0
DOT_RADIUS = 3.5


class Sparkline(QtWidgets.QWidget):  # type: ignore[misc]
    """A curve without axes.

    Attributes:
        step_chosen: Emitted with the clicked step.
    """

    step_chosen = QtCore.Signal(int)

    def __init__(self, theme: Theme, colour: int, parent: Any = None) -> None:
        """Create an empty curve.

        Args:
            theme: The theme.
            colour: Index of the curve colour in the theme.
            parent: The parent widget.
        """
        super().__init__(parent)
        self._theme = theme
        self._colour = colour
        self._steps: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._values: npt.NDArray[np.float64] = np.empty(0)
        self._position = 0
        self.setMinimumHeight(28)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Expanding)

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The values drawn."""
        return self._values

    @property
    def position(self) -> int:
        """Index of the marked value."""
        return self._position

    def show_series(
        self, steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64], position: int
    ) -> None:
        """Draw values over steps, NaN where missing, and mark one."""
        self._steps, self._values, self._position = steps, values, position
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.update()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Report the step nearest to a click."""
        if not len(self._steps):
            return
        x = np.array([place[0] for place in self._places()])
        self.step_chosen.emit(int(self._steps[np.abs(x - place_of(event).x()).argmin()]))

    def _places(self) -> list[tuple[float, float]]:
        """Return (x, y) of every value; y is NaN where it is missing."""
        steps, values = self._steps.astype(float), self._values
        wide, high = self.width() - 2 * INSET, self.height() - 2 * INSET
        finite = values[np.isfinite(values)]
        low, top = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        span, length = top - low, max(steps[-1] - steps[0], 1) if len(steps) else 1
        across = (steps - steps[0]) / length if len(steps) else steps
        down = (top - values) / span if span > 0 else np.where(np.isfinite(values), 0.5, np.nan)
        x, y = INSET + across * wide, INSET + down * high
        return list(zip(x.tolist(), y.tolist(), strict=True))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the curve, the time, and the current value."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(self._theme.panel))
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        places = self._places()
        colour = QtGui.QColor(self._theme.curves[self._colour])
        if places:
            self._paint_curve(painter, places, colour)
        if 0 <= self._position < len(places) and np.isfinite(self._values).any():
            x, y = places[self._position]
            painter.setPen(QtGui.QPen(QtGui.QColor(self._theme.accent), 1))
            painter.drawLine(QtCore.QPointF(x, 0), QtCore.QPointF(x, self.height()))
            if np.isfinite(y):
                painter.setPen(QtGui.QPen(QtGui.QColor(self._theme.panel), 1.5))
                painter.setBrush(QtGui.QColor(self._theme.accent))
                painter.drawEllipse(QtCore.QPointF(x, y), DOT_RADIUS, DOT_RADIUS)
        painter.end()

    def _paint_curve(self, painter: Any, places: list[tuple[float, float]], colour: Any) -> None:
        """Draw lines between neighbouring values, and dots if there are few."""
        pen = QtGui.QPen(colour, 1.6)
        pen.setCapStyle(QtCore.Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        for (x, y), (next_x, next_y) in pairwise(places):
            if np.isfinite(y) and np.isfinite(next_y):
                painter.drawLine(QtCore.QPointF(x, y), QtCore.QPointF(next_x, next_y))
        if len(places) * 12 > self.width():
            return
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        for x, y in places:
            if np.isfinite(y):
                painter.drawEllipse(QtCore.QPointF(x, y), 1.8, 1.8)
