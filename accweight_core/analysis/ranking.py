"""Ranking of layers or parameters by one metric at one step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from accweight_core.analysis.summary import Measured, Per
from accweight_core.metrics.table import METRICS, checked_metric
from accweight_core.schema import Parameter, Role


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


def left_out(parameters: Sequence[Parameter], roles: Sequence[Role]) -> Counter[str]:
    """Return the number of measured parameters of every other role."""
    return Counter(str(p.role) for p in parameters if p.role not in roles)


def left_out_text(amounts: Counter[str]) -> str:
    """Return the parameters that are not counted, in a sentence without a full stop.

    >>> left_out_text(Counter(bias=2, norm=1))
    '2 biases and 1 norm are not counted'
    """
    if not amounts:
        return ""
    told = [
        f"{amount} {role if amount == 1 else role + ('es' if role.endswith('s') else 's')}"
        for role, amount in amounts.items()
    ]
    listed = f"{', '.join(told[:-1])} and {told[-1]}" if told[1:] else told[0]
    return f"{listed} {'is' if sum(amounts.values()) == 1 else 'are'} not counted"
