"""Aligning two sequences in order: what is matched where nothing but the place tells.

Needleman and Wunsch (1970) without a cost for gaps, which a reward per match makes up for.
Then a row is one running maximum, and 2,000 by 2,000 layers take a fraction of a second. The
same sums from the other end tell what the best alignment without a pair would reach: a pair
that loses nothing by it is ambiguous, and is said to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]

EARLIER = 1e-3
"""Of equal alignments, the one that matches what comes first wins."""

TIED = 1e-8
"""Margin up to which not even that decides; it moves sums by 1e-7 and more, rounding by less."""


@dataclass(frozen=True)
class Placed:
    """A pair that the best alignment matches.

    Attributes:
        a: Place on one side.
        b: Place on the other.
        margin: What the best alignment without this pair falls short by.
    """

    a: int
    b: int
    margin: float


def in_order(scores: Scores) -> list[Placed]:
    """Return the pairs of the order-preserving alignment with the largest sum.

    Where several have it, what they disagree on is left out: so the answer does not depend on
    which side is called the first.

    Args:
        scores: (a, b); pairs at or below 0 are never matched.
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
    """Return the largest sum that the first i and j of both sides reach, for all i and j."""
    rows, columns = rewards.shape
    sums = np.zeros((rows + 1, columns + 1))
    for i in range(rows):
        met = np.maximum(sums[i, 1:], sums[i, :-1] + rewards[i])
        sums[i + 1, 1:] = np.maximum.accumulate(met)
    return sums


def fences(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return those pairs that keep order with one another, in order.

    Pairs that cross most others go first, all of a tie together, so that neither side
    decides: the answer is the same with the sides exchanged.
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
    """Return between which fences every place lies: how many come before it."""
    return np.searchsorted(np.asarray(fence, dtype=np.intp), np.asarray(places, dtype=np.intp))
