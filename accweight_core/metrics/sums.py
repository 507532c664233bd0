"""Partial sums over the elements of a sub-block, and how those of neighbours are merged.

Kernels, compiled loops and Triton compute these columns; `totals` merges them; every metric in
`table` is a formula over them. To add a sum, add an entry here and a line in each of
`kernels.measure_step`, `jit.step_loops` and `live.triton_step`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Merge(StrEnum):
    """How the sums of two neighbouring ranges are merged."""

    ADDED = "added"
    LARGEST = "largest"
    PLACE = "place of the largest"
    SPREAD = "squared distances from the mean"


class Sum(NamedTuple):
    """One column of partial sums.

    Attributes:
    name: Its name.
    text: The summand.
    merge: How the columns of neighbouring ranges are merged.
    """

    name: str
    text: str
    merge: Merge = Merge.ADDED


ALL = (
    Sum("path_sum", "A_t"),
    Sum("path_m2", "squared distance of A_t from its mean", Merge.SPREAD),
    Sum("path_max", "largest A_t", Merge.LARGEST),
    Sum("path_argmax", "first position of the largest A_t", Merge.PLACE),
    Sum("step_sum", "D_t"),
    Sum("step_square", "square of D_t"),
    Sum("step_max", "largest D_t", Merge.LARGEST),
    Sum("net_sum", "abs(W_t - W_0)"),
    Sum("net_square", "square of W_t - W_0"),
    Sum("square", "square of W_t"),
    Sum("reference_square", "square of W_0"),
    Sum("flips", "1 where the signs of W_t and W_0 differ"),
    Sum("nonfinite", "1 where W_t is NaN or infinite"),
)
"""All sums, in column order; `path_m2` is relative to the mean of the sub-block itself, so that
merging spreads does not lose digits by cancellation."""

SUMS = tuple(entry.name for entry in ALL)
"""Columns of the result of `measure_step`, one row per sub-block, all float64."""

FIRST_SUMS = SUMS[:13]
"""The sums of an analysis that does not list its sums: those of the first format version."""


def merged_by(merge: Merge) -> list[int]:
    """Return the columns with one way of merging."""
    return [column for column, entry in enumerate(ALL) if entry.merge is merge]
