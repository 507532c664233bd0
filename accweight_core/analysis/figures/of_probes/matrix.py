"""A matrix per step, rows and columns named: units against classes, series against steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
from accweight_core.analysis.shown_names import group_borders, marked_places, shown_names
from accweight_core.colours.scale import colour_table
from accweight_core.text import plain

MOST_ROWS, MOST_STEPS = 40, 3
HIGH, LEAST_WIDE, WIDE = 0.17, 1.6, 3.0
"""Inches of a row, and of a matrix of few and of many columns."""

LONGEST = 1.6
"""Inches of the names of rows, at most."""

CAPTION, BELOW, GAP = 0.24, 0.34, 0.25

MOST_UPWARDS, TURNED = 48, 0.13
"""Columns that have their names upwards if they are too long to stand across; inches of each."""

Floats = npt.NDArray[np.float64]


def matrix_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw the matrix at a few steps, on one scale."""
    field = result.fields[name]
    rows, columns = (shown_names(result, axis) for axis in field.axes[1:])
    count, places = min(len(rows), MOST_ROWS), _places(result)
    values = result.array(name)[places, :count].astype(np.float64)
    low, high = matrix_scale(result, name)
    heads = _Heads.of([plain(text) for text in columns])
    wide = heads.wide
    named = [cut(plain(row), LONGEST, SMALL, keep="end") for row in rows[:count]]
    room = max(text_width(text, SMALL) for text in named) + 0.1
    tall = max(count * HIGH, 0.5)
    across = 2 * MARGIN + room + len(places) * (wide + GAP) - GAP
    figure, bottom = page(
        max(across, 4.6), tall + CAPTION + heads.below, heading(result), subtitle(result),
        [
            f"{field.words}; {field.axes[1]} down, {field.axes[2]} across",
            f"from {number(low)} (dark) to {number(high)} (bright); grey: no number",
            more(len(rows) - count, "row"),
            f"1 {field.axes[2]} of {heads.every} is named" if heads.leaves_out else "",
        ],
    )  # fmt: skip
    for at, place in enumerate(places):
        left = MARGIN + room + at * (wide + GAP)
        figure.write(left, bottom + heads.below + tall + 0.08, f"step {result.steps[place]}", SMALL)
        axes = figure.panel(left, bottom + heads.below, wide, tall)
        axes.imshow(_colours(values[at], low, high), aspect="auto", interpolation="none")
        if at == 0:
            axes.set_yticks(range(count), named, parse_math=False)
        heads.write(axes)
        for border in group_borders(result, field.axes[1]):
            axes.axhline(border - 0.5, color="#ffffff", linewidth=1.2)
        for border in group_borders(result, field.axes[2]):
            axes.axvline(border - 0.5, color="#ffffff", linewidth=1.2)
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


@dataclass(frozen=True)
class _Heads:
    """The names of columns: across if there is room for each, else upwards, else some of them.

    Attributes:
        names: The names as they are written.
        wide: Inches of the matrix.
        below: Inches of the names.
        upwards: Whether those that have no room across are turned.
        every: Which columns are named: all, every second, and so on.
    """

    names: Sequence[str]
    wide: float
    below: float = BELOW
    upwards: bool = False
    every: int = 1

    @property
    def leaves_out(self) -> bool:
        """Whether there are names that cannot be told from those that are written."""
        return self.every > 1 and not all(name.isdecimal() for name in self.names)

    @classmethod
    def of(cls, columns: Sequence[str]) -> _Heads:
        """Return how columns of these names are headed."""
        names = [cut(text, 0.9, SMALL) for text in columns]
        longest = max(text_width(text, SMALL) for text in names)
        wide = min(max(LEAST_WIDE, 0.3 * len(names)), WIDE)
        if len(names) * (longest + 0.08) <= wide:
            return cls(names, wide)
        if len(names) <= MOST_UPWARDS:
            wide = max(wide, TURNED * len(names))
            return cls(names, wide, longest + 0.15, upwards=True)
        every = math.ceil(len(names) / max(wide // (longest + 0.08), 1))
        return cls(names, wide, every=every)

    def write(self, axes: Axes) -> None:
        """Write them below a matrix."""
        at = range(0, len(self.names), self.every)
        shown = [self.names[place] for place in at]
        axes.set_xticks(at, shown, parse_math=False)
        for tick in axes.get_xticklabels() if self.upwards else ():
            if text_width(tick.get_text(), SMALL) + 0.02 > self.wide / len(self.names):
                tick.set_rotation(90)
