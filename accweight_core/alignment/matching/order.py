"""Order-preserving alignment of two sequences, for layers that only their position identifies.

Needleman and Wunsch (1970) without a gap cost; a reward per match replaces it. A row is then one
running maximum, and 2,000 by 2,000 layers take a fraction of a second. The same sums from the
other end give the best score without a given pair: a pair whose removal costs nothing is
ambiguous, and is marked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]

EARLIER = 1e-3
"""Bonus for earlier matches, which decides between equal alignments."""

TIED = 1e-8
"""Margin up to which the bonus does not decide: it changes sums by 1e-7 or more, rounding by
less."""


@dataclass(frozen=True)
class Placed:
    """A pair that the best alignment matches.

    Attributes:
        a: Position on one side.
        b: Position on the other.
        margin: Score minus the best score without this pair.
    """

    a: int
    b: int
    margin: float


def in_order(scores: Scores) -> list[Placed]:
    """Return the pairs of the order-preserving alignment with the largest sum.

    If several alignments have it, pairs that differ between them are left out, so that the result
    does not depend on which side comes first.

    Args:
        scores: (a, b); pairs with a score of 0 or less are never matched.
    """
    rows, columns = scores.shape
    if not (rows and columns):
        return []
    early = EARLIER * np.add.outer(np.arange(rows), np.arange(columns)) / (rows + columns)
    rewards = np.where(scores > 0, scores - early, -np.inf)
    before, after = _sums(rewards), _sums(rewards[::-1, ::-1])[::-1, ::-1]
    through = before[:-1, :-1] + rewards + after[1:, 1:]
    unmatched = (before[:-1] + after[1:]).max(axis=1)
    best = before[-1, -1]
    found = []
    i, j = rows, columns
    while i and j:
        here = before[i, j]
        if here == before[i - 1, j]:
            i -= 1
        elif here == before[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            others = np.delete(through[i], j)
            other = max(unmatched[i], others.max(initial=-np.inf))
            if best - other > TIED:
                found.append(Placed(i, j, float(best - other)))
    return found[::-1]


def _sums(rewards: Scores) -> Scores:
    """Return the largest sum over the first i and j of both sides, for all i and j."""
    rows, columns = rewards.shape
    sums = np.zeros((rows + 1, columns + 1))
    for i in range(rows):
        met = np.maximum(sums[i, 1:], sums[i, :-1] + rewards[i])
        sums[i + 1, 1:] = np.maximum.accumulate(met)
    return sums


def fences(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the pairs that are in the same order on both sides.

    Pairs that cross most others are removed first, and all pairs of a tie together, so that the
    result is the same with the sides exchanged.
    """
    if not pairs:
        return []
    places = np.array(sorted(pairs))
    rank = places[:, 1]
    crossing = rank[:, None] > rank[None, :]
    crossing &= np.arange(len(rank))[:, None] < np.arange(len(rank))[None, :]
    crossing |= crossing.T
    counts = crossing.sum(axis=1)
    while counts.max() > 0:
        worst = counts == counts.max()
        counts = np.where(worst, 0, counts - crossing[:, worst].sum(axis=1))
        crossing[worst] = False
        crossing[:, worst] = False
        places[worst] = -1
    return [(int(i), int(j)) for i, j in places if i >= 0]


def slots(fence: Sequence[int], places: Sequence[int]) -> npt.NDArray[np.intp]:
    """Return, for every position, how many anchors come before it."""
    return np.searchsorted(np.asarray(fence, dtype=np.intp), np.asarray(places, dtype=np.intp))
