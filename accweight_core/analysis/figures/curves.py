"""One curve per layer over the steps, named at its end, coloured by its place in the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    more,
    page,
    text_width,
)
from accweight_core.analysis.shown import Shown, unit_text
from accweight_core.analysis.step_axis import shares, step_ticks
from accweight_core.colours.scale import colour_table
from accweight_core.metrics.table import TABLE, Floats

MOST_NAMED = 14
WIDTH, HEIGHT = 7.6, 3.5
LABELS = 0.4
"""Inches of the numbers of the steps."""

UNIT = 0.26
"""Inches of the line above the curves that says the unit."""

LINE = 0.155
"""Inches between the names of two curves."""

LEADER = 0.28
"""Inches from the end of a curve to its name."""

DARK_ENOUGH = 0.8
"""Part of the colour map that is legible on white."""


def curves_figure(shown: Shown, metric: str, top: int | None, notes: Sequence[str] = ()) -> Drawing:
    """Draw a metric of every layer over the steps, with names at the ends of the curves.

    Args:
        shown: The analysis.
        metric: The metric.
        top: Name the largest so many; by default all, or those that have room at their end.
        notes: What is to be known of the metric.
    """
    series = shown.series(metric)
    order = shown.largest_first(metric, len(shown.steps) - 1)
    known = [at for at in order if np.isfinite(series[at, -1])]
    height = max(HEIGHT, LINE * (top or 0))
    named = known[:top] if top else _with_room(known, series[:, -1], height)
    names = [shown.names[shown.rows[at].name] for at in named]
    unnamed = len(known) - len(named)
    figure, bottom = page(
        WIDTH,
        LABELS + height + UNIT,
        f"{metric} of every layer over the steps",
        f"{shown.run}: {TABLE[metric].line}",
        [f"{more(unnamed)} without a name" if unnamed else "", shown.not_counted, *notes],
    )
    top_edge = bottom + LABELS + height + 0.1
    figure.write(MARGIN, top_edge, unit_text(metric), SMALL, color=THEME.dim)
    axes = _axes(figure, series[known], names, bottom + LABELS, height)
    x, colours = shares(shown.steps), _colours(len(shown.rows))
    marker: dict[str, Any] = {} if len(x) > 1 else {"marker": "o", "markersize": 4}
    for at in set(known) - set(named):
        axes.plot(x, series[at], color=colours[at], linewidth=0.6, alpha=0.4)
    for at in reversed(named):
        axes.plot(x, series[at], color=colours[at], linewidth=1.6, clip_on=False, **marker)
    _name_ends(axes, names, [series[at] for at in named], [colours[at] for at in named], height)
    label_steps(axes, shown.steps, x)
    _key(figure, colours, top_edge)
    return figure


def _with_room(known: Sequence[int], ends: Floats, height: float) -> list[int]:
    """Return all curves if there are few; of many, those whose names would not have to move."""
    if len(known) <= MOST_NAMED:
        return list(known)
    gap = float(ends[known].max()) * LINE / height
    named = [known[0]]
    for at in known[1:]:
        if ends[named[-1]] - ends[at] >= gap:
            named.append(at)
    return named


def _key(figure: Drawing, colours: npt.NDArray[np.float64], bottom: float) -> None:
    """Draw which colour means which place in the network."""
    wide, last = 0.9, "last layer"
    at = WIDTH - MARGIN - text_width(last, SMALL) - 0.06 - wide
    bar = figure.panel(at, bottom, wide, 0.08)
    bar.imshow(colours[None], aspect="auto", interpolation="none")
    figure.write(at - 0.06, bottom, "first layer", SMALL, color=THEME.dim, ha="right")
    figure.write(at + wide + 0.06, bottom, last, SMALL, color=THEME.dim)


def _colours(layers: int) -> npt.NDArray[np.float64]:
    """Return (layers, 3): a colour for every place in the network, dark to light."""
    table = colour_table("viridis") / 255
    last = DARK_ENOUGH * (len(table) - 1)
    found: npt.NDArray[np.float64] = table[np.linspace(0, last, max(layers, 1)).astype(int)]
    return found


def _axes(
    figure: Drawing, series: Floats, names: Sequence[str], bottom: float, height: float
) -> Axes:
    """Return axes with lines at round values from 0, and room for the names at the right."""
    largest = float(series[np.isfinite(series)].max(initial=0.0)) * 1.03 or 1.0
    ticks = [tick for tick in MaxNLocator(5).tick_values(0, largest) if 0 <= tick <= largest]
    labels = [f"{tick:.6g}" for tick in ticks]
    left = MARGIN + max(text_width(label, SMALL) for label in labels) + 0.1
    right = WIDTH - MARGIN - LEADER - max(map(text_width, names), default=0.0)
    axes = figure.panel(left, bottom, right - left, height)
    axes.set(xlim=(0, 1), ylim=(0, largest))
    axes.set_yticks(ticks, labels)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=THEME.dim)
    axes.grid(axis="y", color=THEME.line, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _name_ends(
    axes: Axes,
    names: Sequence[str],
    series: Sequence[Floats],
    colours: Sequence[npt.NDArray[np.float64]],
    height: float,
) -> None:
    """Write the name of every curve at its end, and lead to it where it had to move."""
    top = axes.get_ylim()[1]
    inches = axes.get_position().width * WIDTH
    ends = [float(curve[np.isfinite(curve)][-1]) / top * height for curve in series]
    for name, colour, end, place in zip(
        names, colours, ends, spread(ends, LINE, height), strict=True
    ):
        axes.annotate(
            name,
            (1 + LEADER / inches, place / height),
            xycoords="axes fraction",
            va="center_baseline",
            color=colour,
            fontsize=8.5,
            parse_math=False,
            annotation_clip=False,
        )
        x = np.array([0.05, 0.14, LEADER - 0.05]) / inches + 1
        y = np.array([end, end, place]) / height
        axes.plot(x, y, color=colour, linewidth=0.7, transform=axes.transAxes, clip_on=False)


def label_steps(axes: Axes, steps: npt.NDArray[np.int64], x: Floats) -> None:
    """Write as many steps below axes of a page of `WIDTH` as fit, at regular distances if possible.

    Args:
        axes: The axes.
        steps: All steps.
        x: Place of each, from 0 to 1.
    """
    inches = axes.get_position().width * WIDTH
    widths = [text_width(str(step), SMALL) for step in steps]
    chosen = step_ticks(steps, x * inches, widths, 0.15)
    low, high = axes.get_xlim()
    at = [low + (high - low) * x[place] for place in chosen]
    axes.set_xticks(at, [str(steps[place]) for place in chosen])
    axes.tick_params(axis="x", length=0, labelsize=SMALL, labelcolor=THEME.dim)
    axes.set_xlabel("step", fontsize=SMALL, color=THEME.dim, labelpad=2)


def spread(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Return places near the wanted ones, at least a gap apart, between 0 and the top if they fit.

    Places that are too close are moved apart evenly, and keep their order.

    >>> spread([1.0, 1.0, 3.0], 1.0, 5.0)
    [0.5, 1.5, 3.0]
    """
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    groups: list[tuple[float, int]] = []  # centre and size of runs that touch
    for at in order:
        groups.append((wanted[at], 1))
        while len(groups) > 1:
            (below, few), (above, many) = groups[-2:]
            if above - below >= gap * (few + many) / 2:
                break
            centre = (below * few + above * many) / (few + many)
            groups[-2:] = [(centre, few + many)]
    places = [
        max(0.0, min(centre - gap * (size - 1) / 2, top - gap * (size - 1))) + gap * number
        for centre, size in groups
        for number in range(size)
    ]
    found = [0.0] * len(wanted)
    for at, place in zip(order, places, strict=True):
        found[at] = place
    return found
