"""Values as colours: confusion at the first and the last step, and cosines between steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

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
    page,
    text_width,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.shown_names import group_borders
from accweight_core.colours.scale import colour_table
from accweight_core.text import plain

SIDE, CAPTION, GAP = 3.1, 0.24, 0.3
LONGEST = 1.1
"""Inches of the names beside a map, at most."""

WRITTEN = 14
"""Rows up to which the values are written into the cells."""

NAMED = 24
"""Rows up to which each has its name."""

BELOW = 0.35
"""Inches of the names below a map that stand across."""

Floats = npt.NDArray[np.float64]


def map_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw a matrix per step at the first and the last step, as shares of the rows."""
    names = [plain(label) for label in result.labels(result.fields[name].axes[1])]
    steps = list(dict.fromkeys(result.steps[[0, -1]].tolist()))
    borders = group_borders(result, result.fields[name].axes[1])
    room = _names_room(names)
    one = room + SIDE + GAP
    below = _names_below(names)
    body = SIDE + CAPTION + below
    figure, bottom = page(
        2 * MARGIN + one * len(steps), body, heading(result), subtitle(result),
        [
            result.fields[name].words,
            "colours: dark for none of a row, light for all; by the root of the share",
            "frames: groups of classes" if borders else "",
        ],
    )  # fmt: skip
    for number, step in enumerate(steps):
        left = MARGIN + number * one
        values = result.array(name, step).astype(np.float64)
        rows = values.sum(axis=1, keepdims=True)
        share = np.divide(values, rows, out=np.zeros_like(values), where=rows > 0)
        figure.write(left + room, bottom + below + SIDE + 0.08, f"step {step}", SMALL)
        axes = figure.panel(left + room, bottom + below, SIDE, SIDE)
        _cells(axes, np.sqrt(share), names, room, low=0.0)
        _frame(axes, [0, *borders, len(values)])
        if len(values) <= WRITTEN:
            _numbers(axes, values, np.sqrt(share))
    return figure


def steps_map_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw a matrix of all steps against all steps, from -1 to 1."""
    names = [str(step) for step in result.steps]
    room = _names_room(names)
    body = SIDE + BELOW
    figure, bottom = page(
        2 * MARGIN + room + SIDE + 1.2, body, heading(result), subtitle(result),
        [result.fields[name].words, "from -1 (dark) to 1 (light); grey: undefined"],
    )  # fmt: skip
    axes = figure.panel(MARGIN + room, bottom + BELOW, SIDE, SIDE)
    _cells(axes, result.array(name).astype(np.float64), names, room, low=-1.0)
    return figure


def _names_room(names: Sequence[str]) -> float:
    return min(max((text_width(name, SMALL) for name in names), default=0.0) + 0.1, LONGEST)


def _are_turned(names: Sequence[str]) -> bool:
    """Tell whether names below a map are turned: numbers and many names are left out instead."""
    few = len(names) <= NAMED and not all(name.isdecimal() for name in names)
    return few and not _fit(names)


def _fit(names: Sequence[str]) -> bool:
    """Tell whether each name stands in its column, with room between two."""
    return len(names) * (max(text_width(name, SMALL) for name in names) + 0.08) <= SIDE


def _names_below(names: Sequence[str]) -> float:
    """Return the inches of the names below a map."""
    return _names_room(names) + 0.1 if _are_turned(names) else BELOW


def _cells(axes: Axes, values: Floats, names: Sequence[str], room: float, low: float) -> None:
    """Draw a matrix with names at both sides; values go from `low` to 1."""
    table = colour_table("viridis")
    share = (np.nan_to_num(values) - low) / (1 - low)
    cells = table[np.clip(share * (len(table) - 1), 0, len(table) - 1).round().astype(int)]
    grey = [int(THEME.gap[at : at + 2], 16) for at in (1, 3, 5)]
    axes.imshow(
        np.where(np.isfinite(values)[..., None], cells, grey).astype(np.uint8),
        aspect="auto",
        interpolation="none",
    )
    stride = -(-len(names) // NAMED)
    ticks = list(range(0, len(names), stride))
    shown = [cut(names[at], room - 0.02, SMALL) for at in ticks]
    axes.set_yticks(ticks, shown, parse_math=False)
    if _are_turned(names):
        axes.set_xticks(ticks, shown, parse_math=False, rotation=90)
    else:
        across = ticks if _fit(shown) else ticks[:: max(len(ticks) // 4, 1)]
        axes.set_xticks(across, [cut(names[at], 0.7, SMALL) for at in across], parse_math=False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=THEME.dim)


def _frame(axes: Axes, ends: Sequence[int]) -> None:
    """Draw a frame around each block on the diagonal, if there are several."""
    for first, last in pairwise(ends) if len(ends) > 2 else ():
        low, high = first - 0.5, last - 0.5
        around = [low, high, high, low, low], [low, low, high, high, low]
        for colour, width in ((THEME.ink, 3.0), ("#ffffff", 1.4)):  # seen on dark and on light
            axes.plot(*around, color=colour, linewidth=width, clip_on=False)


def _numbers(axes: Axes, values: Floats, share: Floats) -> None:
    """Write the values into the cells that are not 0."""
    for row, column in np.argwhere(values > 0):
        ink = THEME.ink if share[row, column] > 0.6 else "#ffffff"
        axes.text(
            column, row, f"{values[row, column]:.0f}", ha="center", va="center", color=ink,
            fontsize=6.5,
        )  # fmt: skip
