"""Ranking: layers, or parameters, in the order of one metric at one step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from accweight_core.analysis.summary import Measured, Per
from accweight_core.errors import UnknownNameError
from accweight_core.metrics.totals import METRICS


def checked_metric(by: str) -> str:
    """Return `by` if it is a metric.

    Raises:
        UnknownNameError: If not; the message lists the metrics.
    """
    if by not in METRICS:
        raise UnknownNameError(f"no metric is called {by!r}; metrics are {', '.join(METRICS)}")
    return by


def ranking(
    rows: Sequence[Measured], by: str, step_index: int, per: Per = "layer"
) -> list[dict[str, Any]]:
    """Return rows ordered by a metric at a step, largest first.

    Equal values keep network order; rows without a value (NaN) come last.

    Raises:
        UnknownNameError: If `by` is not a metric.
    """
    checked_metric(by)
    ordered = sorted(rows, key=lambda row: descending(float(row.metrics[by][step_index])))
    return [
        {
            "rank": rank,
            per: row.name,
            "kind": str(row.kind),
            "elements": row.elements,
            **{name: float(row.metrics[name][step_index]) for name in METRICS},
        }
        for rank, row in enumerate(ordered, start=1)
    ]


def descending(value: float) -> tuple[bool, float]:
    """Return a key that sorts the largest value first and what has none (NaN) last."""
    return math.isnan(value), -value if not math.isnan(value) else 0.0
