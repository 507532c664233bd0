"""The difference between groups of runs, layer by layer: effect, permutation p, correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from accweight_core.alignment.cautions import CHANCE
from accweight_core.alignment.rank_tests import assignments, corrected, group_p, smallest_p
from accweight_core.metrics.table import Floats


@dataclass(frozen=True)
class Difference:
    """How groups differ in one layer.

    Attributes:
        ratio: Geometric mean of the first group over that of the second; NaN for more than two
            groups, and where a value is 0.
        effect: Of two groups Hedges' g: difference of the means over the spread within groups,
            corrected for few runs. Of more, eta squared: share of the variance between groups.
        p: Permutation p, not corrected.
        p_corrected: The same, corrected for the number of layers (Benjamini-Hochberg).
        p_pattern: Corrected p of what is left when each run is divided by its geometric mean over
            the layers, so of the pattern without the common factor; NaN where a value is 0.
    """

    ratio: float
    effect: float
    p: float
    p_corrected: float
    p_pattern: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def differences(
    values: Floats, sizes: Sequence[int], by: str
) -> tuple[tuple[Difference, ...], Difference, tuple[str, ...]]:
    """Return the difference of each layer, that of all in common, and what is to be known of them.

    Positive values are compared as logarithms, as factors are what settings change.

    Args:
        values: (runs, layers), the runs of the first group first.
        sizes: Runs in each group.
        by: The metric.
    """
    is_positive = bool((values > 0).all())
    scaled = np.log(values) if is_positive else values
    ways, are_all = assignments(sizes)
    common = scaled.mean(axis=1, keepdims=True)
    p = group_p(scaled, sizes, ways)
    adjusted = corrected(p)
    pattern = np.full(values.shape[1], math.nan)
    if is_positive and values.shape[1] > 1:
        pattern = corrected(group_p(scaled - common, sizes, ways))
    found = tuple(
        Difference(
            _ratio(scaled[:, at], sizes) if is_positive else math.nan,
            _effect(scaled[:, at], sizes),
            float(p[at]),
            float(adjusted[at]),
            float(pattern[at]),
        )
        for at in range(values.shape[1])
    )
    whole = float(group_p(common, sizes, ways)[0])
    shared = Difference(
        _ratio(common[:, 0], sizes) if is_positive else math.nan,
        _effect(common[:, 0], sizes),
        whole,
        whole,
    )
    return found, shared, tuple(_power(sizes, len(ways), values.shape[1], are_all=are_all))


def _power(sizes: Sequence[int], ways: int, layers: int, *, are_all: bool) -> list[str]:
    """Return how small p can be at all, if that is too large to find anything."""
    least = smallest_p(sizes, ways) if are_all else 1 / ways
    told = " and ".join(map(str, sizes))
    if min(sizes) < 2:
        return [f"a group of one run has no spread: with {told} runs, no difference can be shown"]
    if least > CHANCE:
        return [
            (
                f"with {told} runs p cannot be below {least:.2g}, so no difference can be shown: "
                "look at the effects, or add seeds (4 and 4 can give 0.029)"
            )
        ]
    return []


def _groups(values: Floats, sizes: Sequence[int]) -> list[Floats]:
    return np.split(values, np.cumsum(sizes)[:-1])


def _ratio(logs: Floats, sizes: Sequence[int]) -> float:
    if len(sizes) != 2:
        return math.nan
    a, b = _groups(logs, sizes)
    return math.exp(float(a.mean() - b.mean()))


def _effect(values: Floats, sizes: Sequence[int]) -> float:
    """Return Hedges' g of two groups, eta squared of more; NaN without any spread."""
    groups = _groups(values, sizes)
    within = float(sum(((group - group.mean()) ** 2).sum() for group in groups))
    if len(groups) > 2:
        total = float(((values - values.mean()) ** 2).sum())
        return 1 - within / total if total > 0 else math.nan
    freedom = len(values) - 2
    if not (freedom > 0 and within > 0):
        return math.nan
    correction = 1 - 3 / (4 * freedom - 1)
    difference = float(groups[0].mean() - groups[1].mean())
    return correction * difference / math.sqrt(within / freedom)
