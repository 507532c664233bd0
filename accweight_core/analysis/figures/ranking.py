"""The ranking as bars: one per layer, largest first, each with its name and value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    more,
    number,
    page,
    text_width,
)
from accweight_core.analysis.shown import Shown, unit_text
from accweight_core.metrics.table import TABLE

MOST_ROWS = 40
ROW = 0.23
"""Inches per layer."""

WIDTH = 7.2
AXIS = 0.34
"""Inches of the label below the bars."""


def ranking_figure(
    shown: Shown, by: str, step_index: int, top: int | None, notes: Sequence[str] = ()
) -> Drawing:
    """Draw the layers by a metric at a step.

    Args:
        shown: The analysis.
        by: The metric.
        step_index: Index of the step.
        top: Layers to draw; by default as many as are legible on a page.
        notes: What is to be known of the metric.
    """
    order = shown.largest_first(by, step_index)
    chosen = order[: top or MOST_ROWS]
    values = shown.series(by)[chosen, step_index]
    names = [shown.names[shown.rows[at].name] for at in chosen]
    figure, bottom = page(
        WIDTH,
        AXIS + ROW * max(len(chosen), 1),
        f"Layers by {by} at step {shown.steps[step_index]}",
        f"{shown.run}: {TABLE[by].line}",
        [more(len(order) - len(chosen)), shown.not_counted, TABLE[by].sentence, *notes],
    )
    left = MARGIN + max((text_width(name) for name in names), default=0.0) + 0.12
    right = WIDTH - MARGIN - max((text_width(_shown(v)) for v in values), default=0.0) - 0.08
    height = ROW * max(len(chosen), 1)
    axes = figure.panel(left, bottom + AXIS, right - left, height)
    lengths = np.nan_to_num(values, nan=0.0, posinf=0.0)
    largest = float(lengths.max(initial=0.0)) or 1.0
    colours = [THEME.accent if place == 0 else THEME.frame for place in range(len(chosen))]
    axes.barh(range(len(chosen)), lengths, height=0.62, color=colours, linewidth=0)
    axes.set(xlim=(0, largest), ylim=(max(len(chosen), 1) - 0.5, -0.5))
    for place, (name, value, length) in enumerate(zip(names, values, lengths, strict=True)):
        low = bottom + AXIS + height - ROW * (place + 0.5) - 0.04
        figure.write(left - 0.1, low, name, ha="right")
        end = left + (right - left) * length / largest + 0.06
        figure.write(end, low, _shown(value), color=THEME.ink if place == 0 else THEME.dim)
    figure.write(left, bottom + 0.08, unit_text(by), SMALL, color=THEME.dim)
    return figure


def _shown(value: float) -> str:
    return number(value) if np.isfinite(value) else "undefined"
