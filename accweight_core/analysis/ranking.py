"""Ranking of layers or parameters by one metric at one step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from accweight_core.analysis.summary import Measured, Per
from accweight_core.metrics.table import METRICS, checked_metric


def ranking(
    rows: Sequence[Measured], by: str, step_index: int, per: Per = "layer"
) -> list[dict[str, Any]]:
    """Return rows ordered by a metric at a step, largest first.

    Equal values keep network order; rows without a value (NaN) come last.

    Raises:
        UnknownNameError: If `by` is not a metric, or not one that the rows have.
    """
    checked_metric(by, list(rows[0].metrics) if rows else METRICS)
    ordered = sorted(rows, key=lambda row: descending(float(row.metrics[by][step_index])))
    return [
        {
            "rank": rank,
            per: row.name,
            "kind": str(row.kind),
            "elements": row.elements,
            **{name: float(series[step_index]) for name, series in row.metrics.items()},
        }
        for rank, row in enumerate(ordered, start=1)
    ]


def descending(value: float) -> tuple[bool, float]:
    """Return a sort key: largest value first, NaN last."""
    return math.isnan(value), -value if not math.isnan(value) else 0.0
