"""Partial sums: what is added up over the elements of a sub-block, and how neighbours merge.

Kernels, compiled loops and Triton fill these columns; `totals` merges them; every metric of
`table` is a formula over them. A new sum is one entry here and one line in each of those that
measure: `kernels.measure_step`, `jit.step_loops` and `live.triton_step`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Merge(StrEnum):
    """How the sums of neighbouring stretches become those of both."""

    ADDED = "added"
    LARGEST = "largest"
    PLACE = "place of the largest"
    SPREAD = "squared distances from the mean"


class Sum(NamedTuple):
    """One column of partial sums.

    Attributes:
        name: Its name.
        text: What is summed over the elements.
        merge: How neighbours merge.
    """

    name: str
    text: str
    merge: Merge = Merge.ADDED


ALL = (
    Sum("path_sum", "A_t"),
    Sum("path_m2", "squared distance of A_t from its own mean", Merge.SPREAD),
    Sum("path_max", "largest A_t", Merge.LARGEST),
    Sum("path_argmax", "where the largest A_t is first met", Merge.PLACE),
    Sum("step_sum", "D_t"),
    Sum("step_square", "square of D_t"),
    Sum("step_max", "largest D_t", Merge.LARGEST),
    Sum("net_sum", "abs(W_t - W_0)"),
    Sum("net_square", "square of W_t - W_0"),
    Sum("square", "square of W_t"),
    Sum("reference_square", "square of W_0"),
    Sum("flips", "1 where the sign of W_t is not that of W_0"),
    Sum("nonfinite", "1 where W_t is NaN or infinite"),
)
"""Every sum, in the order of columns; `path_m2` is taken from the sub-block's own mean, so that
spreads merge without cancellation."""

SUMS = tuple(entry.name for entry in ALL)
"""Columns that `measure_step` returns per sub-block, all float64."""

FIRST_SUMS = SUMS[:13]
"""What an analysis holds that does not say which sums it holds: the first ones there were."""


def merged_by(merge: Merge) -> list[int]:
    """Return the columns that merge in one way."""
    return [column for column, entry in enumerate(ALL) if entry.merge is merge]
