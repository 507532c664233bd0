"""What a report says of several runs beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from accweight_core.alignment.comparison import Comparison, compare
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.shown import short_names
from accweight_core.errors import MismatchError
from accweight_core.metrics.table import DEFAULT

COMPARED = (DEFAULT, "efficiency", "rotation")
"""Metrics that are comparable between runs: none depends on the scale of the weights."""

Content = dict[str, Any]


def comparison_content(analyses: Sequence[Analysis], names: Sequence[str]) -> Content | None:
    """Return the values of the layers that runs share, and how far their rankings agree.

    Layers are matched with those of the first run.

    Args:
        analyses: The analyses.
        names: Their names in the report.

    Returns:
        None if there is one analysis alone.
    """
    if len(analyses) < 2:
        return None
    metrics = [name for name in COMPARED if all(name in one.metrics for one in analyses)]
    first, notes = analyses[0], _differences(analyses, names)
    values = {row.name: {m: [float(row.metrics[m][-1])] for m in metrics} for row in _rows(first)}
    for number, (other, name) in enumerate(zip(analyses[1:], names[1:], strict=True), start=1):
        for metric in metrics:
            try:
                found = compare(first, other, metric).layers
            except MismatchError as error:
                notes.append(f"{name} is not compared: {error}")
                break
            for place in found:
                if place.layer in values:
                    values[place.layer][metric].append(place.value_b)
        for row in values.values():
            for held in row.values():
                held.extend([math.nan] * (number + 1 - len(held)))
    short = short_names(list(values))
    return {
        "metrics": metrics,
        "rows": [
            {"layer": layer, "short": own, **row}
            for (layer, row), own in zip(values.items(), short, strict=True)
        ],
        "pairs": _pairs(analyses, names, metrics),
        "notes": notes,
    }


def _rows(analysis: Analysis) -> list[Any]:
    return list(analysis.shown.rows)


def _pairs(analyses: Sequence[Analysis], names: Sequence[str], metrics: list[str]) -> list[Content]:
    """Return how far the rankings of every two runs agree, by the first metric."""
    found = []
    for a, b in combinations(range(len(analyses)), 2):
        if not metrics:
            break
        try:
            result = compare(analyses[a], analyses[b], metrics[0])
        except MismatchError:
            continue
        found.append(
            {
                "a": names[a],
                "b": names[b],
                "layers": len(result.layers),
                "spearman": result.spearman,
                "kendall": result.kendall,
                "text": _meaning(result),
            }
        )
    return found


def _meaning(result: Comparison) -> str:
    """Return what a rank correlation over so many layers says."""
    count = len(result.layers)
    if count < 5:
        return f"orders of {count} layers agree often by chance: look at the values"
    return "the same order does not mean the same movement: look at the values"


def _differences(analyses: Sequence[Analysis], names: Sequence[str]) -> list[str]:
    """Return in what the runs differ that their values depend on."""
    first, notes = analyses[0], []
    for other, name in zip(analyses[1:], names[1:], strict=True):
        if not (len(first.steps) == len(other.steps) and (first.steps == other.steps).all()):
            notes.append(
                f"{name} has other steps than {names[0]} "
                f"({other.steps[0]} to {other.steps[-1]}, {len(other.steps)} checkpoints; "
                f"{first.steps[0]} to {first.steps[-1]}, {len(first.steps)} checkpoints): "
                "efficiency falls with the number of checkpoints, and all values grow with time"
            )
    return notes
