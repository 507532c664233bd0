"""Colours of the layers of a graph: numbers at a step on the colour scale of the viewer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from accweight_core.analysis.probe_metrics import Results, is_probe_metric, probe_metric
from accweight_core.analysis.shown import Shown
from accweight_core.colours.scale import ColourScale, colour_table
from accweight_core.metrics.table import TABLE, Floats

MAP = "magma"
"""The colour map of figures and pages, which the viewer has unless another is chosen."""

MOST_STRIPES = 24
"""Stripes of a folded module; of more layers, each is that of some neighbours."""

NARROW = 0.5
"""If the smallest number is beyond this share of the largest one, colours begin at the smallest."""


def graph_scale(
    values: Floats, colour_map: str, *, logarithmic: bool = False, light: bool = False
) -> ColourScale:
    """Return the scale of numbers of layers, the same at all steps.

    Colours end at the largest number of all layers and steps. They begin at 0, or at the smallest
    where all are alike; numbers of both signs have 0 in the middle.

    Args:
        values: (layers, steps), with NaN where none is known.
        colour_map: Name of the map.
        logarithmic: Whether colours follow the logarithm.
        light: Whether the page is light: maps of both signs are white in the middle then.
    """
    known = values[np.isfinite(values)]
    least, most = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if least < 0:
        table = colour_table("difference_light" if light else "difference")
        return ColourScale(table, logarithmic, 0.0, max(most, -least), signed=True)
    low = least if not logarithmic and least > NARROW * most else 0.0
    if logarithmic and known.size and (known > 0).any():
        low = float(known[known > 0].min())
    high = most if most > low else low + 1.0
    return ColourScale(colour_table(colour_map), logarithmic, low, high)


def stripes(values: Floats, scale: ColourScale) -> Iterator[tuple[int, int, int] | None]:
    """Yield the colours of some layers, in network order; None where no number is known.

    Of more layers than there are stripes, each shows the number of its neighbours that is farthest
    from 0.

    Args:
        values: (layers,) at a step.
        scale: The scale.
    """
    parts = np.array_split(values, min(len(values), MOST_STRIPES)) if len(values) else []
    for entry in scale.entries(np.array([_farthest(part) for part in parts])):
        red, green, blue = scale.colours[min(entry, 254)].tolist()
        yield None if entry == 255 else (red, green, blue)


def _farthest(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known[np.argmax(np.abs(known))]) if known.size else float("nan")


def layer_numbers(shown: Shown, results: Results, by: str) -> tuple[str, Floats]:
    """Return what a number of layers is, and (layers, steps) of it in network order.

    Args:
        shown: The analysis.
        results: What probes have found.
        by: A metric, or PROBE.NUMBER.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if is_probe_metric(by):
        metric = probe_metric(results, by, shown.steps)
        unknown = np.full(len(shown.steps), np.nan)
        found = [metric.by_layer.get(row.name, unknown) for row in shown.rows]
        return metric.words, np.stack(found) if found else np.empty((0, len(shown.steps)))
    return TABLE[by].line if by in TABLE else by, shown.series(by)
