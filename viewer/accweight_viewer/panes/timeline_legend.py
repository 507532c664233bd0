"""The line above the curves: their metric, and a legend of the other lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pyqtgraph.Qt import QtCore, QtGui

from accweight_viewer.theme import Theme

DASHED, DOTTED = (4.0, 3.0), (0.1, 2.6)
"""Lengths of dashes and gaps, in widths of the line."""

CURVE_DASHES = (None, DOTTED, (6.0, 2.5, 0.1, 2.5), (8.0, 3.0))
"""Lines of the curves of each run."""

MEASURE_DASHES = (DASHED, (1.2, 2.4), (7.0, 2.4, 1.2, 2.4), (10.0, 3.0))
"""Lines of the measures of each run."""

SAMPLE = 18
"""Length of the sample line of an entry."""

BETWEEN = 20
"""Space between two entries."""

_LEFT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
_RIGHT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignRight


class LegendEntry(NamedTuple):
    """One line: its name, the range of its scale, and its style."""

    name: str
    span: str
    pen: Any


def pen_of(colour: Any, width: float, dash: Sequence[float] | None = None) -> Any:
    """Return a QPen, solid, dashed or dotted."""
    pen = QtGui.QPen(colour, width)
    pen.setJoinStyle(QtCore.Qt.PenJoinStyle.RoundJoin)
    flat = QtCore.Qt.PenCapStyle.FlatCap
    pen.setCapStyle(flat if dash == DASHED else QtCore.Qt.PenCapStyle.RoundCap)
    if dash:
        pen.setDashPattern(list(dash))
    return pen


def draw_legend(
    painter: Any,
    box: Any,
    metric: str,
    words: str,
    entries: Sequence[LegendEntry],
    theme: Theme,
    how: str = "",
) -> None:
    """Draw the metric and what it is on the left, and as many entries as fit from the right.

    `how` says how its curves are drawn, if not as they are.
    """
    measure = painter.fontMetrics().horizontalAdvance
    entries, room = list(entries), box.width() - measure(metric) - 2 * BETWEEN
    if _width(entries, measure) > room:
        entries = [entry._replace(span="") for entry in entries]
    while _width(entries, measure) > room:
        entries.pop()
    x = box.right() - _width(entries, measure)
    _draw_title(painter, box, (metric, words, how), x - box.left() - 2 * BETWEEN, theme)
    for entry in entries:
        width = _width([entry], measure)
        place = QtCore.QRectF(x, box.top(), width, box.height())
        painter.setPen(entry.pen)
        y = place.center().y() + 1
        painter.drawLine(QtCore.QPointF(x, y), QtCore.QPointF(x + SAMPLE, y))
        painter.setPen(QtGui.QColor(theme.ink))
        painter.drawText(place.adjusted(SAMPLE + 8, 0, 0, 0), _LEFT, entry.name)
        painter.setPen(QtGui.QColor(theme.dim))
        painter.drawText(place, _RIGHT, entry.span)
        x += width + BETWEEN


def _width(entries: Sequence[LegendEntry], measure: Any) -> int:
    """Return the total width of entries."""
    wide: list[int] = [
        SAMPLE + 8 + measure(name) + (6 + measure(span) if span else 0) for name, span, _ in entries
    ]
    return sum(wide) + BETWEEN * max(len(wide) - 1, 0)


def _draw_title(
    painter: Any, box: Any, title: tuple[str, str, str], room: float, theme: Theme
) -> None:
    """Draw the name of a metric; what it is and how it is drawn as far as that fits."""
    metric, words, how = title
    measure = painter.fontMetrics().horizontalAdvance
    painter.setPen(QtGui.QColor(theme.ink))
    painter.drawText(box, _LEFT, metric)
    start = measure(metric) + 10
    if how and start + measure(words := f"{words} \N{MIDDLE DOT} {how}") > room:
        words = how
    if start + measure(words) <= room:
        painter.setPen(QtGui.QColor(theme.dim))
        painter.drawText(box.adjusted(start, 0, 0, 0), _LEFT, words)
