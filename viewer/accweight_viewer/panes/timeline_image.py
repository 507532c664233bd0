"""The static part of the timeline: curves, measures, scales and names.

It is drawn into a pixmap whenever anything but the time changes; the cursor is drawn on top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from pyqtgraph.functions import arrayToQPath
from pyqtgraph.Qt import QtCore, QtGui

from accweight_core.analysis.step_axis import step_ticks
from accweight_core.metrics.totals import Floats
from accweight_core.short_names import elided
from accweight_viewer.model.curve_scale import CurveScale, smoothed
from accweight_viewer.panes.formatting import step_text
from accweight_viewer.panes.timeline_legend import (
    CURVE_DASHES,
    MEASURE_DASHES,
    LegendEntry,
    draw_legend,
    pen_of,
)
from accweight_viewer.panes.timeline_places import Stroke, TimelinePlaces
from accweight_viewer.theme import legible

FAINT = 0.3
"""Opacity of what was measured, behind the curve that is smoothed."""

TICK_GAP = 22
BEAD, BEADS_APART = 2.6, 36.0
"""Radius of the beads on curves, and pixels between two."""

_LEFT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
_RIGHT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignRight
_CENTRE = QtCore.Qt.AlignmentFlag.AlignCenter


class TimelineImage(TimelinePlaces):
    """The curves and everything around them, drawn at one size."""

    def pixmap(self) -> Any:
        """Return the pixmap."""
        surface = self._surface
        pixmap = QtGui.QPixmap(
            max(round(surface.width * surface.ratio), 1),
            max(round(surface.height * surface.ratio), 1),
        )
        pixmap.setDevicePixelRatio(surface.ratio)
        pixmap.fill(QtGui.QColor(surface.theme.panel))
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
        grid = QtGui.QColor(self._surface.theme.line)
        grid.setAlphaF(0.55)
        for tick in self._ticks:
            y = round(float(self._placed(self.chart.scale.heights(np.array(tick))))) + 0.5
            painter.setPen(QtGui.QPen(grid, 1))
            if tick or self.chart.scale.is_logarithmic:
                painter.drawLine(QtCore.QPointF(area.left(), y), QtCore.QPointF(area.right(), y))
            painter.setPen(QtGui.QColor(self._surface.theme.dim))
            box = QtCore.QRectF(0, y - line / 2, area.left() - 10, line)
            painter.drawText(box, _RIGHT, f"{tick:g}")

    def _draw_steps(self, painter: Any) -> None:
        area, line = self.area, self._metrics.height()
        y = round(area.bottom()) + 0.5
        painter.setPen(QtGui.QPen(QtGui.QColor(self._surface.theme.line), 1))
        painter.drawLine(QtCore.QPointF(area.left(), y), QtCore.QPointF(area.right(), y))
        x = area.left() + self.chart.x * area.width()
        texts = [step_text(int(step)) for step in self.chart.steps]
        widths = [self._metrics.horizontalAdvance(text) for text in texts]
        named = set(step_ticks(self.chart.steps, x, widths, TICK_GAP))
        crowd = len(x) > 1 and area.width() / (len(x) - 1) < 3
        for at, place in enumerate(x):
            mark = QtGui.QColor(self._surface.theme.dim)
            mark.setAlphaF(1.0 if at in named else 0.25 if crowd else 0.6)
            painter.setPen(QtGui.QPen(mark, 1))
            column = round(place) + 0.5
            painter.drawLine(QtCore.QPointF(column, y), QtCore.QPointF(column, y + 4))
            if at in named:
                painter.setPen(QtGui.QColor(self._surface.theme.dim))
                box = QtCore.QRectF(place - widths[at], y + 9, 2 * widths[at], line)
                painter.drawText(box, _CENTRE, texts[at])

    def _draw_broken(self, painter: Any) -> None:
        """Draw stripes along the axis from where weights are not finite."""
        area, colour = self.area, QtGui.QColor(self._surface.theme.broken)
        for first in self.chart.broken:
            at = int(np.searchsorted(self.chart.steps, first.step))
            left, y = self.x_at(at), round(area.bottom()) - 5
            box = QtCore.QRectF(left - 1, y, max(area.right() - left, 3.0), 5)
            painter.fillRect(box, colour)
            pattern = QtCore.Qt.BrushStyle.BDiagPattern
            painter.fillRect(box, QtGui.QBrush(QtGui.QColor(self._surface.theme.panel), pattern))
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
        if stroke.has_beads:
            _draw_beads(painter, x, y, stroke.colour)

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
            painter.setPen(QtGui.QPen(QtGui.QColor(self._surface.theme.line), 1))
            corner = QtCore.QPointF(right, self.area.bottom())
            painter.drawLine(QtCore.QPointF(right, self.area.top()), corner)

    def _measure_colours(self) -> dict[str, Any]:
        """Return a colour for the measures of each name, those of all runs."""
        names = dict.fromkeys(measure.name for measure in self.chart.measures)
        colours = {
            name: QtGui.QColor(colour)
            for name, colour in zip(names, reversed(self._surface.theme.curves), strict=False)
        }
        for colour in colours.values():
            colour.setAlphaF(0.8)
        return colours

    # --- names ----------------------------------------------------------------------------

    def _draw_names(self, painter: Any) -> None:
        line, left = self._metrics.height(), self.area.right() + 12
        for stroke, wanted, y in self.name_places():
            colour = QtGui.QColor(stroke.colour)
            painter.setPen(QtGui.QColor(legible(colour.name(), self._surface.theme)))
            name = self.chart.short_names[stroke.name]
            text = elided(name, self._label_room + 2, self._metrics.horizontalAdvance)
            box = QtCore.QRectF(left, y - line / 2, self._label_room + 4, line)
            painter.drawText(box, _LEFT, text)
            if stroke.has_beads:
                _draw_bead(painter, left - 5, y, stroke.colour)
            if abs(y - wanted) > 2:  # what leads from the end of the curve to its name
                colour.setAlphaF(0.6)
                painter.setPen(QtGui.QPen(colour, 1))
                ends = QtCore.QPointF(self.area.right() + 2, wanted), QtCore.QPointF(left - 2, y)
                painter.drawLine(*ends)

    def _draw_legend(self, painter: Any) -> None:
        dim = QtGui.QColor(self._surface.theme.dim)
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
            painter,
            box,
            self.chart.metric,
            self.chart.words,
            entries,
            self._surface.theme,
            ", ".join(how),
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


def _draw_beads(painter: Any, x: Floats, y: Floats, colour: Any) -> None:
    """Draw beads on a curve, at values that are not too near to each other."""
    last = -math.inf
    for at in np.flatnonzero(np.isfinite(y)):
        if x[at] - last >= BEADS_APART:
            last = x[at]
            _draw_bead(painter, x[at], y[at], colour)


def _draw_bead(painter: Any, x: float, y: float, colour: Any) -> None:
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawEllipse(QtCore.QPointF(x, y), BEAD, BEAD)
