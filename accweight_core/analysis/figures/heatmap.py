"""A heatmap: layers in network order down, checkpoints across, a metric as colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from accweight_core.analysis.figures.curves import WIDTH, label_steps
from accweight_core.analysis.figures.page import (
    BODY,
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    number,
    page,
    text_width,
)
from accweight_core.analysis.shown import Shown, unit_text
from accweight_core.colours.scale import ColourScale, colour_table
from accweight_core.metrics.table import TABLE, Floats

HIGHEST = 9.0
"""Inches of the map, from which on rows get thinner instead."""

ROW, THINNEST = 0.21, 0.012
"""Inches of a row: where there is room, and at least."""

NAMED = 0.145
"""Inches that a name needs."""

LABELS = 0.42
KEY = 0.28
"""Inches of the colour bar above the map."""

UNEVEN = 30.0
"""Ratio of the largest value to the median from which colours are logarithmic."""


def heatmap_figure(shown: Shown, metric: str, notes: Sequence[str] = ()) -> Drawing:
    """Draw a metric of every layer at every step."""
    series = shown.series(metric)
    layers, steps = max(len(series), 1), len(shown.steps)
    row = min(ROW, max(HIGHEST / layers, THINNEST))
    stride = max(1, math.ceil(NAMED / row))
    scale = _scale(series)
    figure, bottom = page(
        WIDTH,
        LABELS + row * layers + KEY,
        f"{metric} of every layer at every step",
        f"{shown.run}: {TABLE[metric].line}",
        [
            _reading(stride, has_gaps=bool(np.isnan(series).any())),
            shown.not_counted,
            *notes,
        ],
    )
    named = range(0, len(series), stride)
    names = {at: shown.names[shown.rows[at].name] for at in named}
    left = MARGIN + max(map(text_width, names.values()), default=0.0) + 0.12
    axes = figure.panel(left, bottom + LABELS, WIDTH - MARGIN - left, row * layers)
    colours = np.concatenate([scale.colours, [_rgb(THEME.gap)]]).astype(np.uint8)
    cells = colours[scale.entries(series)] if len(series) else np.empty((1, steps, 3), np.uint8)
    axes.imshow(cells, aspect="auto", interpolation="none", extent=(0, steps, layers, 0))
    axes.set_yticks([at + 0.5 for at in names], names.values(), parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=BODY, labelcolor=THEME.ink)
    label_steps(axes, shown.steps, (np.arange(steps) + 0.5) / steps)
    _key(figure, scale, metric, left, bottom + LABELS + row * layers + 0.1)
    return figure


def _reading(stride: int, *, has_gaps: bool) -> str:
    """Return how to read the map."""
    names = f"; every {stride}th layer is named" if stride > 1 else ""
    gaps = "; grey: undefined" if has_gaps else ""
    return f"layers in network order, a column per checkpoint{names}{gaps}"


def _scale(series: Floats) -> ColourScale:
    """Return the scale from 0 to the largest value, logarithmic if most values are far below."""
    known = series[np.isfinite(series) & (series > 0)]
    largest = float(known.max(initial=0.0)) or 1.0
    uneven = bool(known.size) and largest > UNEVEN * float(np.median(known))
    low = max(float(known.min()), largest * 1e-4) if uneven else 0.0
    return ColourScale(colour_table("viridis"), uneven, low, largest)


def _key(figure: Drawing, scale: ColourScale, metric: str, left: float, bottom: float) -> None:
    """Draw the colour bar, with its unit at its left and the values of both ends."""
    text = unit_text(metric) + (", logarithmic" if scale.logarithmic else "")
    low, high = number(scale.floor), number(scale.high)
    wide = 1.6
    at = WIDTH - MARGIN - text_width(high, SMALL) - 0.06 - wide
    bar = figure.panel(at, bottom, wide, 0.1)
    bar.imshow(scale.colours[None], aspect="auto", interpolation="none")
    figure.write(at - 0.06, bottom + 0.01, low, SMALL, color=THEME.dim, ha="right")
    figure.write(at + wide + 0.06, bottom + 0.01, high, SMALL, color=THEME.dim)
    figure.write(left, bottom + 0.01, text, SMALL, color=THEME.dim)


def _rgb(colour: str) -> list[int]:
    return list(bytes.fromhex(colour.removeprefix("#")))
