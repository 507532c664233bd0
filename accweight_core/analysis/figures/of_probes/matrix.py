"""A matrix per step, rows and columns named: units against classes, series against steps."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from accweight_core.analysis.figures.of_probes.curves import heading, subtitle
from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    cut,
    more,
    number,
    page,
    text_width,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.probe_scales import matrix_scale
from accweight_core.analysis.shown_names import marked_places, shown_names
from accweight_core.colours.scale import colour_table
from accweight_core.text import plain

MOST_ROWS, MOST_STEPS = 40, 3
HIGH, LEAST_WIDE, WIDE = 0.17, 1.6, 3.0
"""Inches of a row, and of a matrix of few and of many columns."""

LONGEST = 1.6
"""Inches of the names of rows, at most."""

CAPTION, BELOW, GAP = 0.24, 0.34, 0.25

Floats = npt.NDArray[np.float64]


def matrix_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw the matrix at a few steps, on one scale."""
    field = result.fields[name]
    rows, columns = (shown_names(result, axis) for axis in field.axes[1:])
    count, places = min(len(rows), MOST_ROWS), _places(result)
    values = result.array(name)[places, :count].astype(np.float64)
    low, high = matrix_scale(result, name)
    wide = min(max(LEAST_WIDE, 0.3 * len(columns)), WIDE)
    named = [cut(plain(row), LONGEST, SMALL, keep="end") for row in rows[:count]]
    room = max(text_width(text, SMALL) for text in named) + 0.1
    tall = max(count * HIGH, 0.5)
    across = 2 * MARGIN + room + len(places) * (wide + GAP) - GAP
    figure, bottom = page(
        max(across, 4.6), tall + CAPTION + BELOW, heading(result), subtitle(result),
        [
            f"{field.words}; {field.axes[1]} down, {field.axes[2]} across",
            f"from {number(low)} (dark) to {number(high)} (bright); grey: no number",
            more(len(rows) - count, "row"),
        ],
    )  # fmt: skip
    for at, place in enumerate(places):
        left = MARGIN + room + at * (wide + GAP)
        figure.write(left, bottom + BELOW + tall + 0.08, f"step {result.steps[place]}", SMALL)
        axes = figure.panel(left, bottom + BELOW, wide, tall)
        axes.imshow(_colours(values[at], low, high), aspect="auto", interpolation="none")
        if at == 0:
            axes.set_yticks(range(count), named, parse_math=False)
        _name_columns(axes, [plain(text) for text in columns], wide)
        for column in marked_places(result, field.axes[2]):
            _mark(axes, column)
        axes.tick_params(length=0, labelsize=SMALL, labelcolor=THEME.dim)
    return figure


def _places(result: ProbeResult) -> npt.NDArray[np.int64]:
    """Return the places of the steps that are drawn; of a failure it, the one before, the last."""
    last = len(result.steps) - 1
    failed = result.array("failed")[:1] if "failed" in result.arrays else np.array([np.nan])
    if not np.isfinite(failed).all():
        return np.unique(np.linspace(0, last, MOST_STEPS).round().astype(int))
    at = int(np.searchsorted(result.steps, failed[0]))
    return np.unique([max(at - 1, 0), at, last])


def _colours(values: Floats, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Return (rows, columns, 3): viridis from the lowest to the highest value."""
    table = colour_table("viridis")
    share = (np.nan_to_num(values) - low) / (high - low)
    cells = table[np.clip(share * (len(table) - 1), 0, len(table) - 1).round().astype(int)]
    grey = [int(THEME.gap[at : at + 2], 16) for at in (1, 3, 5)]
    return np.where(np.isfinite(values)[..., None], cells, grey).astype(np.uint8)


def _mark(axes: Axes, column: int) -> None:
    """Draw a bar above a column that stands out."""
    ends = [column - 0.5, column + 0.5]
    axes.plot(ends, [1.02, 1.02], color=THEME.accent, linewidth=2.5, clip_on=False,
              transform=axes.get_xaxis_transform())  # fmt: skip


def _name_columns(axes: Axes, names: list[str], wide: float) -> None:
    """Name every column if there is room, else as many, evenly spaced, as have some."""
    shown = [cut(text, 0.9, SMALL) for text in names]
    longest = max(text_width(text, SMALL) for text in shown) + 0.08
    every = max(1, math.ceil(len(names) / max(wide // longest, 1)))
    at = list(range(0, len(names), every))
    axes.set_xticks(at, [shown[place] for place in at], parse_math=False)
