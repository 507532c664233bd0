"""Ranking of layers or parameters by one metric at one step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accweight_core.analysis.summary import Measured, Per
from accweight_core.arguments import is_one_of
from accweight_core.metrics.table import DEFAULT, INSTEAD, METRICS, TABLE, checked_metric
from accweight_core.schema import Parameter, Role

SHOWN = 4
"""Names listed in a sentence."""


@dataclass(frozen=True)
class Chosen:
    """The metric of a ranking.

    Attributes:
        by: Its name.
        notes: Why it is not the default one, and which rows it has no value for, in sentences.
    """

    by: str
    notes: tuple[str, ...] = ()


def chosen_metric(rows: Sequence[Measured], by: str | None, step_index: int = -1) -> Chosen:
    """Return the metric to rank by: the one that is asked for, else the default if it can be given.

    The default needs weights that were not all 0 at first (a LoRA matrix B is), and sums that some
    older analyses lack. What takes its place is always said.

    Args:
        rows: The rows to rank.
        by: The metric asked for; None for the default.
        step_index: Index of the step.

    Raises:
        UnknownNameError: If `by` is not a metric, or not one that the rows have.
    """
    offered = list(rows[0].metrics) if rows else list(METRICS)
    if by is not None:
        if not is_one_of(by, offered):
            checked_metric(by, offered)
        return Chosen(by, _without_value(rows, by, step_index))
    found = next((n for n in INSTEAD if n in offered and _has_value(rows, n, step_index)), None)
    if found is None:  # nothing has a value, as in an analysis that has just begun
        return Chosen(next(name for name in (*INSTEAD, *offered) if name in offered))
    if found == DEFAULT:
        return Chosen(found, _without_value(rows, found, step_index))
    why = (
        f"all weights were 0 at the first checkpoint, so {DEFAULT} is undefined"
        if DEFAULT in offered
        else f"this analysis lacks the sums for {DEFAULT} (analyse the run again to have them)"
    )
    return Chosen(found, (f"{why}: ranked by {found} instead, {TABLE[found].line}",))


def _has_value(rows: Sequence[Measured], name: str, step_index: int) -> bool:
    """Tell whether any row has a value; so have no rows."""
    return not rows or any(not math.isnan(row.metrics[name][step_index]) for row in rows)


def _without_value(rows: Sequence[Measured], by: str, step_index: int) -> tuple[str, ...]:
    """Return a sentence on rows that a metric has no value for, if others have one."""
    empty = [row.name for row in rows if math.isnan(row.metrics[by][step_index])]
    if not empty or len(empty) == len(rows):
        return ()
    more = f" and {len(empty) - SHOWN:,} more" if empty[SHOWN:] else ""
    zero = by in TABLE and "reference_square" in TABLE[by].sums
    why = ", whose weights were all 0 at the first checkpoint or are not measured" if zero else ""
    other = f"; --by {INSTEAD[2]} ranks all" if zero else ""
    listed = f"{', '.join(empty[:SHOWN])}{more}"
    return (f"{by} is undefined for {listed}{why}: last in the ranking{other}",)


def ranking(
    rows: Sequence[Measured], by: str, step_index: int, per: Per = "layer"
) -> list[dict[str, Any]]:
    """Return rows ordered by a metric at a step, largest first.

    Equal values keep network order; rows without a value (NaN) come last.

    Raises:
        UnknownNameError: If `by` is not a metric, or not one that the rows have.
    """
    offered = list(rows[0].metrics) if rows else list(METRICS)
    if not is_one_of(by, offered):
        checked_metric(by, offered)
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
