"""The graph of a run as plain values, which a page lays out, unfolds and colours by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.graph_colours import MAP, graph_scale, layer_numbers
from accweight_core.analysis.probe_metrics import probe_metric_names
from accweight_core.colours.scale import colour_table
from accweight_core.errors import AccweightError
from accweight_core.graphs.layer_graph import LayerGraph
from accweight_core.graphs.modules import ModuleTree
from accweight_core.metrics.table import Floats
from accweight_core.text import plain

MOST_ITEMS = 6000
"""Nodes and modules that a page has; of larger graphs nothing is drawn there."""

Content = dict[str, Any]


def graph_content(
    analysis: Analysis, graph: LayerGraph, by: str, order: Sequence[int], places: Sequence[int]
) -> Content | None:
    """Return the graph of a run for a page; None if it is too large for one.

    Args:
        analysis: The analysis.
        graph: Its graph.
        by: The number that is shown first.
        order: Positions of the layers in the order in which the page has their curves.
        places: Indices of the steps that the page has.

    Raises:
        UnknownNameError: If there is no such number.
    """
    tree = ModuleTree(graph)
    if len(tree.items) > MOST_ITEMS:
        return None
    shown, results = analysis.shown, analysis.probes
    row_of = {shown.rows[at].name: row for row, at in enumerate(order)}
    scales, numbers = {}, {}
    for name in (*shown.metrics, *probe_metric_names(results)):
        try:
            words, values = layer_numbers(shown, results, name)
        except (AccweightError, OSError):
            continue  # damaged; the others are shown
        scales[name] = _scale(values)
        if name not in shown.metrics:
            numbers[name] = {"words": plain(words), "values": _rows(values, order, places)}
    return {
        **tree.to_json(),
        "opening": sorted(tree.opening()),
        "whole": sorted(tree.whole()),
        "origin": plain(graph.origin),
        "is_chain": graph.is_chain,
        "rows": [row_of.get(i.name, -1) if i.kind == "layer" else -1 for i in tree.items],
        "by": by if by in scales else next(iter(scales), ""),
        "scales": scales,
        "numbers": numbers,
        "maps": {name: _hexes(name) for name in (MAP, "difference", "difference_light")},
    }


def _scale(values: Floats) -> Content:
    scale = graph_scale(values, MAP)
    return {"low": float(scale.floor), "high": float(scale.high), "signed": scale.signed}


def _rows(values: Floats, order: Sequence[int], places: Sequence[int]) -> list[list[float | None]]:
    return [
        [
            float(f"{value:.4g}") if np.isfinite(value) else None
            for value in values[at][list(places)]
        ]
        for at in order
    ]


def _hexes(name: str) -> str:
    """Return the colours of a map, six hexadecimal digits each."""
    return colour_table(name).tobytes().hex()
