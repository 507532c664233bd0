"""Ranking layers by a metric, and comparing two rankings.

Rank agreement comes in four figures, because each hides something: Spearman's and Kendall's
correlation weigh all ranks alike, rank-biased overlap weighs the top (Webber, Moffat and
Zobel, 2010), and the overlap of the first k is what people mean by "the same layers".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accweight_core.errors import MismatchError, UnknownNameError
from accweight_core.summary import Measured, Per
from accweight_core.totals import METRICS

if TYPE_CHECKING:
    from accweight_core.analysis import Analysis

RBO_PERSISTENCE = 0.9
"""Weight that rank-biased overlap keeps from one rank to the next."""


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
    ordered = sorted(rows, key=lambda row: _descending(float(row.metrics[by][step_index])))
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


def _descending(value: float) -> tuple[bool, float]:
    return math.isnan(value), -value if not math.isnan(value) else 0.0


@dataclass(frozen=True)
class LayerPlace:
    """Where one layer stands in both rankings, among the layers of both."""

    layer: str
    rank_a: int
    rank_b: int
    value_a: float
    value_b: float

    @property
    def moved(self) -> int:
        """Places gained from a to b; negative if lost."""
        return self.rank_a - self.rank_b


@dataclass(frozen=True)
class Comparison:
    """How far two rankings agree.

    Attributes:
        by: The metric.
        spearman: Spearman's rank correlation; NaN for fewer than two shared layers.
        kendall: Kendall's tau-b.
        rbo: Rank-biased overlap of the complete rankings, 1 for identical ones.
        top_overlap: Share of the first k layers that both have, by k.
        layers: Layers of both, in the order of a.
        only_a: Layers that b has not.
        only_b: Layers that a has not.
    """

    by: str
    spearman: float
    kendall: float
    rbo: float
    top_overlap: Mapping[int, float]
    layers: tuple[LayerPlace, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def compare(
    a: Analysis,
    b: Analysis,
    by: str = "mean",
    *,
    step_a: int | None = None,
    step_b: int | None = None,
    per: Per = "layer",
) -> Comparison:
    """Compare the rankings of two analyses by one metric.

    Args:
        a: One analysis.
        b: The other.
        by: The metric.
        step_a: Step of `a`; the last one by default.
        step_b: Step of `b`; the last one by default.
        per: Whether layers or single parameters are ranked.

    Raises:
        MismatchError: If they share no layer.
        UnknownNameError: If there is no such metric or step.
    """
    from scipy import stats

    values_a = _values(a.measured(per), checked_metric(by), a.step_index(step_a))
    values_b = _values(b.measured(per), by, b.step_index(step_b))
    shared = [name for name in values_a if name in values_b]
    if not shared:
        raise MismatchError(
            f"the two analyses share no {per} name: "
            f"{_some(values_a)} against {_some(values_b)}; nothing can be compared"
        )
    order_a, order_b = _order(values_a, shared), _order(values_b, shared)
    rank_a = {name: rank for rank, name in enumerate(order_a, start=1)}
    rank_b = {name: rank for rank, name in enumerate(order_b, start=1)}
    known = [n for n in shared if not math.isnan(values_a[n]) and not math.isnan(values_b[n])]
    pairs = [values_a[name] for name in known], [values_b[name] for name in known]
    enough = all(len(set(side)) > 1 for side in pairs)
    return Comparison(
        by=by,
        spearman=float(stats.spearmanr(*pairs).statistic) if enough else math.nan,
        kendall=float(stats.kendalltau(*pairs).statistic) if enough else math.nan,
        rbo=rank_biased_overlap(order_a, order_b),
        top_overlap={
            k: len({*order_a[:k]} & {*order_b[:k]}) / k for k in (1, 3, 5, 10) if k <= len(shared)
        },
        layers=tuple(
            LayerPlace(name, rank_a[name], rank_b[name], values_a[name], values_b[name])
            for name in order_a
        ),
        only_a=tuple(name for name in values_a if name not in values_b),
        only_b=tuple(name for name in values_b if name not in values_a),
    )


def _values(rows: Sequence[Measured], by: str, step_index: int) -> dict[str, float]:
    return {row.name: float(row.metrics[by][step_index]) for row in rows}


def _order(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: _descending(values[name]))


def _some(values: Mapping[str, float]) -> str:
    names = ", ".join(list(values)[:3])
    return names + (", ..." if len(values) > 3 else "")


def rank_biased_overlap(
    a: Sequence[str], b: Sequence[str], persistence: float = RBO_PERSISTENCE
) -> float:
    """Return the extrapolated rank-biased overlap of two orders of the same items.

    ``RBO = p^n X_n / n + (1 - p) / p * sum over d of p^d X_d / d``, with X_d the number of
    items that the first d places share (Webber, Moffat and Zobel, 2010, equation 30).

    Args:
        a: Items, best first.
        b: The same items in another order.
        persistence: p, between 0 and 1: how far down the ranks matter.

    >>> rank_biased_overlap(["a", "b", "c"], ["a", "b", "c"])
    1.0
    """
    seen_a: set[str] = set()
    seen_b: set[str] = set()
    total, overlap, weight = 0.0, 0, 1.0
    for depth, (left, right) in enumerate(zip(a, b, strict=True), start=1):
        seen_a.add(left)
        seen_b.add(right)
        overlap = len(seen_a & seen_b)
        weight *= persistence
        total += weight * overlap / depth
    result = weight * overlap / len(a) + (1 - persistence) / persistence * total
    return round(result, 12)
