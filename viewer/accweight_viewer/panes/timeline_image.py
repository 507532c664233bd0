"""The static part of the timeline: curves, measures, scales and names.

It is drawn into a pixmap whenever anything but the time changes; the cursor is drawn on top. It
also finds the curve near a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from pyqtgraph.functions import arrayToQPath
from pyqtgraph.Qt import QtCore, QtGui

from accweight_core.analysis.step_axis import step_ticks
from accweight_core.metrics.totals import Floats
from accweight_core.short_names import elided
from accweight_viewer.model.chart import Chart, spread
from accweight_viewer.model.curve_scale import CurveScale, smoothed
from accweight_viewer.panes.formatting import step_text
from accweight_viewer.panes.timeline_legend import (
    CURVE_DASHES,
    MEASURE_DASHES,
    LegendEntry,
    draw_legend,
    pen_of,
)
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

FAINT = 0.3
"""Opacity of what was measured, behind the curve that is smoothed."""

TICK_GAP = 22
_LEFT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
_RIGHT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignRight
_CENTRE = QtCore.Qt.AlignmentFlag.AlignCenter


class Stroke(NamedTuple):
    """How one curve is drawn; higher ranks are on top."""

    rank: int
    run: int
    row: int
    name: str
    colour: Any
    width: float


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
            rank, width = 1, 1.3
            if name == selected:
                rank, colour, width = SELECTED, QtGui.QColor(theme.accent), 2.4
            elif many and name not in top:
                rank, colour, width = 0, QtGui.QColor(theme.dim), 1.0
                colour.setAlphaF(0.3)
            found.append(Stroke(rank, curves.run, row, name, colour, width))
    return sorted(found, key=lambda stroke: stroke.rank)


class TimelineImage:
    """The curves and everything around them, at one size.

    Attributes:
        area: Rectangle of the curves: from 0 to the top of the scale, from the first to the last
            step.
        strokes: The curves drawn.
    """

    def __init__(self, chart: Chart, selected: str | None, surface: Surface) -> None:
        self.chart = chart
        self._surface, self._theme = surface, surface.theme
        self._metrics = QtGui.QFontMetrics(surface.font)
        self.strokes = strokes(chart, selected, surface.theme)
        self._ticks = chart.scale.ticks(max(int(surface.height / 36), 2))
        self.area = self._area()
        self._x = [self.area.left() + c.x * self.area.width() for c in chart.curves]
        self._y = [self._placed(chart.scale.heights(c.drawn)) for c in chart.curves]

    # --- places ---------------------------------------------------------------------------

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

    # --- drawing --------------------------------------------------------------------------

    def pixmap(self) -> Any:
        """Return the pixmap."""
        surface = self._surface
        pixmap = QtGui.QPixmap(
            max(round(surface.width * surface.ratio), 1),
            max(round(surface.height * surface.ratio), 1),
        )
        pixmap.setDevicePixelRatio(surface.ratio)
        pixmap.fill(QtGui.QColor(self._theme.panel))
        painter = QtGui.QPainter(pixmap)
        painter.setFont(surface.font)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        self._draw_scale(painter)
        self._draw_steps(painter)
        self._draw_measures(painter)
        for stroke in self.strokes:
            self._draw_stroke(painter, stroke)
        self._draw_broken(painter)
        self._draw_names(painter)
        self._draw_legend(painter)
        painter.end()
        return pixmap

    def _draw_scale(self, painter: Any) -> None:
        area, line = self.area, self._metrics.height()
        grid = QtGui.QColor(self._theme.line)
        grid.setAlphaF(0.55)
        for tick in self._ticks:
            y = round(float(self._placed(self.chart.scale.heights(np.array(tick))))) + 0.5
            painter.setPen(QtGui.QPen(grid, 1))
            if tick or self.chart.scale.is_logarithmic:
                painter.drawLine(QtCore.QPointF(area.left(), y), QtCore.QPointF(area.right(), y))
            painter.setPen(QtGui.QColor(self._theme.dim))
            box = QtCore.QRectF(0, y - line / 2, area.left() - 10, line)
            painter.drawText(box, _RIGHT, f"{tick:g}")

    def _draw_steps(self, painter: Any) -> None:
        area, line = self.area, self._metrics.height()
        y = round(area.bottom()) + 0.5
        painter.setPen(QtGui.QPen(QtGui.QColor(self._theme.line), 1))
        painter.drawLine(QtCore.QPointF(area.left(), y), QtCore.QPointF(area.right(), y))
        x = area.left() + self.chart.x * area.width()
        texts = [step_text(int(step)) for step in self.chart.steps]
        widths = [self._metrics.horizontalAdvance(text) for text in texts]
        named = set(step_ticks(self.chart.steps, x, widths, TICK_GAP))
        crowd = len(x) > 1 and area.width() / (len(x) - 1) < 3
        for at, place in enumerate(x):
            mark = QtGui.QColor(self._theme.dim)
            mark.setAlphaF(1.0 if at in named else 0.25 if crowd else 0.6)
            painter.setPen(QtGui.QPen(mark, 1))
            column = round(place) + 0.5
            painter.drawLine(QtCore.QPointF(column, y), QtCore.QPointF(column, y + 4))
            if at in named:
                painter.setPen(QtGui.QColor(self._theme.dim))
                box = QtCore.QRectF(place - widths[at], y + 9, 2 * widths[at], line)
                painter.drawText(box, _CENTRE, texts[at])

    def _draw_broken(self, painter: Any) -> None:
        """Draw stripes along the axis from where weights are not finite."""
        area, colour = self.area, QtGui.QColor(self._theme.broken)
        for first in self.chart.broken:
            at = int(np.searchsorted(self.chart.steps, first.step))
            left, y = self.x_at(at), round(area.bottom()) - 5
            box = QtCore.QRectF(left - 1, y, max(area.right() - left, 3.0), 5)
            painter.fillRect(box, colour)
            pattern = QtCore.Qt.BrushStyle.BDiagPattern
            painter.fillRect(box, QtGui.QBrush(QtGui.QColor(self._theme.panel), pattern))
            painter.fillRect(QtCore.QRectF(left - 1, area.top(), 1, area.height()), colour)

    def _draw_stroke(self, painter: Any, stroke: Stroke) -> None:
        x, y = self._x[stroke.run], self._y[stroke.run][stroke.row]
        if self.chart.smoothing and stroke.rank:
            faint = QtGui.QColor(stroke.colour)
            faint.setAlphaF(FAINT)
            values = self.chart.curves[stroke.run].values[stroke.row]
            raw = self._placed(self.chart.scale.heights(values))
            _draw_line(painter, x, raw, pen_of(faint, 1.0))
        pen = pen_of(stroke.colour, stroke.width, _of_run(CURVE_DASHES, stroke.run))
        _draw_line(painter, x, y, pen)

    def _draw_measures(self, painter: Any) -> None:
        colours = self._measure_colours()
        for measure in self.chart.measures:
            x, colour = self._x[measure.run], colours[measure.name]
            scale = CurveScale(measure.low, measure.high / 0.98)
            if self.chart.smoothing:
                faint = QtGui.QColor(colour)
                faint.setAlphaF(FAINT)
                y = self._placed(scale.heights(measure.values))
                _draw_line(painter, x, y, pen_of(faint, 1.0))
            y = self._placed(scale.heights(smoothed(measure.values, self.chart.smoothing)))
            _draw_line(painter, x, y, pen_of(colour, 1.2, _of_run(MEASURE_DASHES, measure.run)))
        if self.chart.measures:
            right = round(self.area.right()) + 0.5
            painter.setPen(QtGui.QPen(QtGui.QColor(self._theme.line), 1))
            corner = QtCore.QPointF(right, self.area.bottom())
            painter.drawLine(QtCore.QPointF(right, self.area.top()), corner)

    def _measure_colours(self) -> dict[str, Any]:
        """Return a colour for the measures of each name, those of all runs."""
        names = dict.fromkeys(measure.name for measure in self.chart.measures)
        colours = {
            name: QtGui.QColor(colour)
            for name, colour in zip(names, reversed(self._theme.curves), strict=False)
        }
        for colour in colours.values():
            colour.setAlphaF(0.8)
        return colours

    # --- names ----------------------------------------------------------------------------

    def _named(self) -> list[Stroke]:
        """Return the curves with names at their right end, most important first."""
        first = set(self.chart.curves[0].names)
        named = [s for s in self.strokes if s.rank and (s.run == 0 or s.name not in first)]
        place = {name: at for at, name in enumerate(self.chart.ranked())}
        return sorted(named, key=lambda s: (-s.rank, place.get(s.name, len(place))))

    def _draw_names(self, painter: Any) -> None:
        line, left = self._metrics.height(), self.area.right() + 12
        for stroke, wanted, y in self.name_places():
            colour = QtGui.QColor(stroke.colour)
            colour.setAlphaF(1.0)
            painter.setPen(colour)
            name = self.chart.short_names[stroke.name]
            text = elided(name, self._label_room + 2, self._metrics.horizontalAdvance)
            box = QtCore.QRectF(left, y - line / 2, self._label_room + 4, line)
            painter.drawText(box, _LEFT, text)
            if abs(y - wanted) > 2:  # what leads from the end of the curve to its name
                colour.setAlphaF(0.6)
                painter.setPen(QtGui.QPen(colour, 1))
                ends = QtCore.QPointF(self.area.right() + 2, wanted), QtCore.QPointF(left - 2, y)
                painter.drawLine(*ends)

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

    def _draw_legend(self, painter: Any) -> None:
        dim = QtGui.QColor(self._theme.dim)
        spans = {m.name: f"{m.low:.3g}\N{EN DASH}{m.high:.3g}" for m in self.chart.measures}
        runs = self.chart.run_names if len(self.chart.run_names) > 1 else []
        entries = [
            LegendEntry(name, "", pen_of(dim, 1.4, dash))
            for name, dash in zip(runs, cycle(CURVE_DASHES), strict=False)
        ]
        entries += [
            LegendEntry(name, spans[name], pen_of(colour, 1.4, MEASURE_DASHES[0]))
            for name, colour in self._measure_colours().items()
        ]
        box = QtCore.QRectF(self.area.left(), 2, self.area.width(), self._metrics.height())
        how = [f"smoothed {self.chart.smoothing:g}"] if self.chart.smoothing else []
        how += ["logarithmic"] if self.chart.scale.is_logarithmic else []
        draw_legend(
            painter, box, self.chart.metric, self.chart.words, entries, self._theme, ", ".join(how)
        )


def _of_run(dashes: Sequence[Any], run: int) -> Any:
    """Return the dash of a run; the dashes are used in turn."""
    return dashes[run % len(dashes)]


def _draw_line(painter: Any, x: Floats, y: Floats, pen: Any) -> None:
    """Draw a line with gaps for missing values, and dots between two gaps."""
    known = np.isfinite(y)
    if not known.any():
        return
    painter.setPen(pen)
    painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
    painter.drawPath(arrayToQPath(x, y, connect="finite"))
    around = np.concatenate([[False], known, [False]])
    alone = np.flatnonzero(known & ~around[:-2] & ~around[2:])
    painter.setBrush(pen.color())
    for at in alone:
        painter.drawEllipse(QtCore.QPointF(x[at], y[at]), 1.5, 1.5)


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
