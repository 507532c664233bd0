"""Is it more than chance? Permutation tests of ranks and of groups of runs, corrected for many.

Nothing is assumed of the distribution: labels are permuted. All permutations are tried where they
are few, else a fixed number is drawn with a fixed seed, so that the same runs give the same p.
`scipy.stats` has the same tests, against which these are tested; see `rank_correlation` for why it
is not a dependency.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import numpy as np
import numpy.typing as npt

from accweight_core.alignment.rank_correlation import shared_ranks
from accweight_core.metrics.table import Floats

MOST_EXACT = 40_320
"""Permutations up to which all are tried: those of 8 layers."""

DRAWN = 9_999
"""Permutations drawn where there are more."""

CLOSE = 1e-9
"""Relative difference up to which two statistics count as equal, as their sums are rounded."""


def spearman_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Return how often a random order of b correlates with a as strongly, in either direction.

    Args:
        a: One value per item, no NaN.
        b: One value per item.

    Returns:
        Two-sided p; exact up to 8 items. NaN if either side has fewer than two different values.
    """
    n = len(a)
    if len(set(a)) < 2 or len(set(b)) < 2:
        return math.nan
    left, right = (shared_ranks(side) - (n + 1) / 2 for side in (a, b))
    found = abs(float(left @ right))
    if math.factorial(n) <= MOST_EXACT:
        orders = np.array(list(permutations(range(n))))
        return float(np.mean(np.abs(right[orders] @ left) >= found * (1 - CLOSE)))
    chance = np.random.default_rng(0)
    drawn = chance.permuted(np.tile(right, (DRAWN, 1)), axis=1)
    as_strong = np.count_nonzero(np.abs(drawn @ left) >= found * (1 - CLOSE))
    return float((1 + as_strong) / (1 + DRAWN))


def spearman_band(rho: float, n: int) -> tuple[float, float]:
    """Return the 95% confidence interval of a rank correlation (Bonett and Wright, 2000).

    ``tanh(atanh(rho) +- 1.96 sqrt((1 + rho^2 / 2) / (n - 3)))``; NaN where it has no meaning: for
    fewer than 4 items, and where all ranks agree.
    """
    if n < 4 or not abs(rho) < 1 - CLOSE:
        return math.nan, math.nan
    half = 1.96 * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)


def assignments(sizes: Sequence[int]) -> tuple[npt.NDArray[np.int64], bool]:
    """Return ways to put runs into groups of these sizes: (ways, runs) of group numbers.

    Returns:
        The ways, and whether they are all there are; if so, each is there once.
    """
    runs = sum(sizes)
    amount = math.factorial(runs)
    for size in sizes:
        amount //= math.factorial(size)
    given = np.repeat(np.arange(len(sizes)), sizes)
    if amount <= MOST_EXACT:
        return np.array(list(_all_ways(tuple(sizes), tuple(range(runs)), runs))), True
    chance = np.random.default_rng(0)
    drawn = chance.permuted(np.tile(given, (DRAWN, 1)), axis=1)
    return np.concatenate([given[None], drawn]), False


def _all_ways(sizes: tuple[int, ...], free: tuple[int, ...], runs: int) -> Iterator[list[int]]:
    """Yield all group numbers of `runs` runs, of which those in `free` have none yet."""
    if not sizes:
        yield [0] * runs
        return
    for chosen in combinations(free, sizes[-1]):
        rest = tuple(run for run in free if run not in chosen)
        for way in _all_ways(sizes[:-1], rest, runs):
            for run in chosen:
                way[run] = len(sizes) - 1
            yield way


def group_p(values: Floats, sizes: Sequence[int], ways: npt.NDArray[np.int64]) -> Floats:
    """Return how often groups put together at random differ as much, for every layer.

    The statistic is the sum of squares between groups, ``sum of n_g (mean_g - mean)^2``; of two
    groups it orders as the absolute difference of their means does.

    Args:
        values: (runs, layers), the runs of the first group first.
        sizes: Runs in each group.
        ways: What `assignments` returns.

    Returns:
        (layers,) p.
    """
    centred = values - values.mean(axis=0)
    between = np.zeros((len(ways), values.shape[1]))
    for group, size in enumerate(sizes):
        between += ((ways == group).astype(float) @ centred) ** 2 / size
    given = np.repeat(np.arange(len(sizes)), sizes)
    found = sum(
        ((given == group).astype(float) @ centred) ** 2 / size for group, size in enumerate(sizes)
    )
    p: Floats = np.mean(between >= np.asarray(found) * (1 - CLOSE), axis=0)
    return p


def smallest_p(sizes: Sequence[int], ways: int) -> float:
    """Return the smallest p that groups of these sizes can have.

    Groups of equal sizes can change places, which changes no statistic.
    """
    alike = math.prod(math.factorial(list(sizes).count(size)) for size in set(sizes))
    return min(alike / ways, 1.0)


def corrected(p: Floats) -> Floats:
    """Return p adjusted for many layers by Benjamini and Hochberg (1995), in the given order.

    Of the layers below 0.05, one in twenty is expected to be there by chance.
    """
    known = np.flatnonzero(~np.isnan(p))
    adjusted = np.full(len(p), np.nan)
    order = known[np.argsort(p[known])]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted
