"""Rank correlation: Spearman's rho and Kendall's tau-b.

Both handle ties as `scipy.stats` does, and are tested against it; depending on scipy for two
figures would add 143 MB to every installation.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Spearman's rho: the correlation of the ranks, where equal values share a rank.

    Args:
        a: One value per item, no NaN.
        b: One value per item, in the same order of items.

    Returns:
        -1 to 1; NaN if either side has fewer than two different values.
    """
    if _is_flat(a) or _is_flat(b):
        return math.nan
    return float(np.corrcoef(shared_ranks(a), shared_ranks(b))[0, 1])


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Kendall's tau-b: pairs in the same order minus pairs in opposite order.

    ``tau_b = (C - D) / sqrt((P - T_a) (P - T_b))``, with P pairs in all, C of them in the same and
    D in opposite order, T_a and T_b tied on either side (Kendall, 1945).

    Args:
        a: One value per item, no NaN.
        b: One value per item, in the same order of items.

    Returns:
        -1 to 1; NaN if either side has fewer than two different values.
    """
    if _is_flat(a) or _is_flat(b):
        return math.nan
    pairs = list(zip(a, b, strict=True))
    opposite = 0
    passed: list[float] = []  # b of the items whose a is smaller, in order
    for _, tied in groupby(sorted(pairs), key=itemgetter(0)):
        values = [value for _, value in tied]
        opposite += sum(len(passed) - bisect_right(passed, value) for value in values)
        for value in values:
            insort(passed, value)
    total = len(pairs) * (len(pairs) - 1) // 2
    tied_a, tied_b, tied_both = _tied_pairs(a), _tied_pairs(b), _tied_pairs(pairs)
    agreement = total - tied_a - tied_b + tied_both - 2 * opposite
    tau = agreement / math.sqrt(total - tied_a) / math.sqrt(total - tied_b)
    return min(1.0, max(-1.0, tau))  # the root may round beyond 1


def _is_flat(values: Sequence[float]) -> bool:
    return len(set(values)) < 2


def shared_ranks(values: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return ranks from 1; equal values share the mean of their ranks."""
    _, which, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[which]
    return ranks


def _tied_pairs(values: Iterable[Hashable]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(values).values())
