"""Where everything of the timeline is at one size: curves, their names, the scale.

It also finds the curve near a point. `timeline_image` draws it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui

from accweight_core.metrics.totals import Floats
from accweight_viewer.model.chart import Chart, spread
from accweight_viewer.panes.formatting import step_text
from accweight_viewer.theme import Theme

MANY = 12
"""Layers up to which all curves are coloured."""

TOP = 3
"""Number of coloured curves if there are more layers."""

FEW = 4
"""Layers up to which all curves of a second run are drawn."""

LABEL_SHARE, LABEL_MOST = 0.2, 150
"""Space for names: share of the width, and most pixels."""

SELECTED = 2
"""Rank of the curves of the selected layer."""


class Stroke(NamedTuple):
    """How one curve is drawn; higher ranks are on top.

    Beads tell a curve from one of the same colour, when all colours are taken.
    """

    rank: int
    run: int
    row: int
    name: str
    colour: Any
    width: float
    has_beads: bool = False


class Near(NamedTuple):
    """The curve near a point."""

    distance: float
    run: int
    row: int
    name: str


@dataclass(frozen=True)
class Surface:
    """Size, font and theme of the image.

    Attributes:
        theme: The theme.
        font: Font of all numbers and names.
        width: Width in logical pixels.
        height: Height in logical pixels.
        ratio: Device pixels per logical pixel.
    """

    theme: Theme
    font: Any
    width: int
    height: int
    ratio: float


def strokes(chart: Chart, selected: str | None, theme: Theme) -> list[Stroke]:
    """Return the curves to draw, in drawing order."""
    many = len(chart.names) > MANY
    top = chart.ranked()[:TOP] if many else []
    palette = theme.curves
    places = {name: place for place, name in enumerate(chart.names)}
    places |= {name: place for place, name in enumerate(top)}
    found = []
    for curves in chart.curves:
        for row, name in enumerate(curves.names):
            if curves.run and name != selected and len(chart.names) > FEW:
                continue
            colour = QtGui.QColor(palette[places[name] % len(palette)])
            rank, width, has_beads = 1, 1.3, places[name] >= len(palette)
            if name == selected:
                has_beads = False
                rank, colour, width = SELECTED, QtGui.QColor(theme.accent), 2.4
            elif many and name not in top:
                rank, colour, width, has_beads = 0, QtGui.QColor(theme.dim), 1.0, False
                colour.setAlphaF(0.3)
            found.append(Stroke(rank, curves.run, row, name, colour, width, has_beads))
    return sorted(found, key=lambda stroke: stroke.rank)


class TimelinePlaces:
    """Places of the curves and of everything around them.

    Attributes:
        area: Rectangle of the curves: from 0 to the top of the scale, from the first to the last
            step.
        strokes: The curves drawn.
    """

    def __init__(self, chart: Chart, selected: str | None, surface: Surface) -> None:
        self.chart = chart
        self._surface = surface
        self._metrics = QtGui.QFontMetrics(surface.font)
        self.strokes = strokes(chart, selected, surface.theme)
        self._ticks = chart.scale.ticks(max(int(surface.height / 36), 2))
        self.area = self._area()
        self._x = [self.area.left() + c.x * self.area.width() for c in chart.curves]
        self._y = [self._placed(chart.scale.heights(c.drawn)) for c in chart.curves]

    def _area(self) -> Any:
        measure = self._metrics.horizontalAdvance
        surface, line = self._surface, self._metrics.height()
        left = max(measure(f"{tick:g}") for tick in self._ticks) + 18
        names = max(
            (measure(self.chart.short_names[stroke.name]) for stroke in self._named()), default=0
        )
        self._label_room = int(min(names, LABEL_MOST, LABEL_SHARE * surface.width))
        last = measure(step_text(int(self.chart.steps[-1]))) / 2
        right = max(self._label_room + 10 if names else 0, last) + 12
        top, bottom = line + 12, line + 15
        width, height = surface.width - left - right, surface.height - top - bottom
        return QtCore.QRectF(left, top, max(width, 10), max(height, 10))

    def _placed(self, heights: Floats) -> Floats:
        """Return pixels of heights from 0 to 1."""
        pixels: Floats = self.area.bottom() - heights * self.area.height()
        return pixels

    def x_at(self, position: float) -> float:
        """Return the horizontal pixel of a position."""
        return float(self.area.left() + self.chart.x_at(position) * self.area.width())

    def position_near(self, x: float) -> int:
        """Return the checkpoint nearest to a pixel."""
        return self.chart.nearest_position((x - self.area.left()) / self.area.width())

    def points_at(self, position: float) -> list[tuple[Stroke, float]]:
        """Return the points of the selected curves at a position."""
        at, found = self.x_at(position), []
        for stroke in self.strokes:
            x = self._x[stroke.run]
            if stroke.rank == SELECTED and x[0] <= at <= x[-1]:
                y = float(np.interp(at, x, self._y[stroke.run][stroke.row]))
                if math.isfinite(y):
                    found.append((stroke, y))
        return found

    def nearest(self, x: float, y: float, reach: float = math.inf) -> Near | None:
        """Return the curve nearest to a point, or None if none is within reach."""
        found = [
            near
            for run in range(len(self.chart.curves))
            if (near := self._nearest_of(run, x, y)) is not None and near.distance <= reach
        ]
        return min(found, default=None)

    def _nearest_of(self, run: int, x: float, y: float) -> Near | None:
        drawn = [stroke for stroke in self.strokes if stroke.run == run]
        if not drawn:
            return None
        rows = [stroke.row for stroke in drawn]
        at = int(np.searchsorted(self._x[run], x))
        span = slice(max(at - 2, 0), at + 2)
        distances = _distances(self._x[run][span], self._y[run][rows, span], x, y)
        best = int(distances.argmin())
        if not math.isfinite(distances[best]):
            return None
        return Near(float(distances[best]), run, rows[best], drawn[best].name)

    def _named(self) -> list[Stroke]:
        """Return the curves with names at their right end, most important first."""
        first = set(self.chart.curves[0].names)
        named = [s for s in self.strokes if s.rank and (s.run == 0 or s.name not in first)]
        place = {name: at for at, name in enumerate(self.chart.ranked())}
        return sorted(named, key=lambda s: (-s.rank, place.get(s.name, len(place))))

    def name_places(self) -> list[tuple[Stroke, float, float]]:
        """Return the curves with a name, and the heights of their ends and of their names.

        As many as there is room for, the most important ones, none above another's end.
        """
        ends = []
        for stroke in self._named():
            heights = self._y[stroke.run][stroke.row]
            known = np.flatnonzero(np.isfinite(heights))
            if len(known):
                ends.append((stroke, float(heights[known[-1]])))
        apart, area = self._metrics.height() - 1.0, self.area
        most = int(area.height() / apart) + 1
        chosen = sorted(ends[:most], key=lambda end: end[1])
        places = spread([y for _, y in chosen], apart, area.top(), area.bottom())
        return [(stroke, y, place) for (stroke, y), place in zip(chosen, places, strict=True)]


def _distances(x: Floats, y: Floats, at_x: float, at_y: float) -> Floats:
    """Return (curves,) the distance of a point from each curve.

    Args:
        x: (points,) coordinates of the vertices.
        y: (curves, points) coordinates of the vertices, NaN for gaps.
        at_x: Coordinate of the point.
        at_y: Coordinate of the point.
    """
    corners = np.hypot(x - at_x, y - at_y)
    dx, dy = np.diff(x), np.diff(y, axis=1)
    along = ((at_x - x[:-1]) * dx + (at_y - y[:, :-1]) * dy) / (dx * dx + dy * dy)
    along = np.clip(along, 0, 1)
    lines = np.hypot(x[:-1] + along * dx - at_x, y[:, :-1] + along * dy - at_y)
    every = np.concatenate([corners, lines], axis=1)
    nearest: Floats = np.where(np.isnan(every), np.inf, every).min(axis=1)
    return nearest
