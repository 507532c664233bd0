"""State of one matching: facts about all pairs of layers, and the matches so far.

Facts are computed on first use: networks with equal names need none of the grids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from accweight_core.alignment.matching.names import Path, keys_of, similarities, words_of
from accweight_core.alignment.matching.result import How
from accweight_core.naming import natural_key
from accweight_core.runs.axis_shapes import Grid, Profile, form_grid, kind_grid
from accweight_core.schema import Layer

LEAST = 0.3
"""Confidence below which a pair is reported but not matched."""

ONE_NETWORK = 0.6
"""Share of the smaller side's layers with an equal kind and shape on the other side, from which
both sides count as the same network; equal shapes then outrank equal positions."""

FEWEST_WORDS = 4
"""Number of different names, digits aside, from which alphabetical order is not chance."""

SUREST_BY_NAME = 0.95
"""Highest confidence that equal names give a match by position or shape."""

LIKELY = 0.5
"""Confidence from which a match is used as an anchor for its neighbours."""


@dataclass(frozen=True)
class Found:
    """A match, by positions."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    how: How
    confidence: float
    reason: str


@dataclass(frozen=True)
class Known:
    """What is known before matching.

    Attributes:
        forced: Positions matched by the user's map.
        alone_a: Positions of a that the map leaves unmatched.
        alone_b: The same for b.
        equal: Positions with equal values, the confidence, and the evidence in words.
        values_first: Whether values outrank names.
    """

    forced: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    alone_a: frozenset[int] = frozenset()
    alone_b: frozenset[int] = frozenset()
    equal: tuple[tuple[int, int, float, str], ...] = ()
    values_first: bool = False


class State:
    """The state of one matching.

    Attributes:
        found: Matches so far.
        rejected: Pairs below the threshold, with their confidence.
        free: Unmatched positions of either side.
        trust: Share of the smaller side that was matched by name.
    """

    def __init__(self, left: Sequence[Layer], right: Sequence[Layer]) -> None:
        self.sides = [[Profile.of(layer) for layer in side] for side in (left, right)]
        self.names = [[layer.name for layer in side] for side in (left, right)]
        self.found: list[Found] = []
        self.rejected: dict[tuple[int, int], float] = {}
        self.free: list[dict[int, None]] = [{}, {}]
        self.trust = 0.0

    @cached_property
    def kinds(self) -> Grid:
        """Scores of kind against kind."""
        return kind_grid(*self.sides)

    @cached_property
    def forms(self) -> Grid:
        """Scores of shape against shape."""
        return form_grid(*self.sides)

    @cached_property
    def alike(self) -> Grid:
        """Scores of name against name."""
        return similarities(*self.names)

    @cached_property
    def keys(self) -> list[list[list[Path]]]:
        """Name keys of each side."""
        return [keys_of([p.layer for p in side]) for side in self.sides]

    @cached_property
    def sorts(self) -> list[list[Hashable]]:
        """Kind and shape of every layer."""
        return [[(p.layer.kind, p.forms) for p in side] for side in self.sides]

    @cached_property
    def counts(self) -> list[Counter[Hashable]]:
        """Number of layers of each kind and shape, per side."""
        return [Counter(sorts) for sorts in self.sorts]

    @cached_property
    def smaller(self) -> int:
        """Number of layers of the smaller side, at least 1."""
        return max(min(map(len, self.sides)), 1)

    @cached_property
    def is_one_network(self) -> bool:
        """Whether nearly all layers of the smaller side have an equal on the other."""
        here, there = self.counts
        return (here & there).total() >= ONE_NETWORK * self.smaller

    @cached_property
    def has_order(self) -> list[bool]:
        """Whether the order of each side carries information.

        Formats that sort their content by name lose the network order. Names that differ only in a
        number (`fc1`, `fc2`) are in both orders.
        """
        return [
            len({re.sub(r"\d+", "", name) for name in names}) < FEWEST_WORDS
            or names not in (sorted(names), sorted(names, key=natural_key))
            for names in self.names
        ]

    def reset(self) -> None:
        """Drop all matches, keep the facts."""
        self.found, self.rejected = [], {}
        self.free = [dict.fromkeys(range(len(side))) for side in self.sides]

    def take(self, found: Found) -> None:
        """Record a match."""
        self.found.append(found)
        for side, places in enumerate((found.a, found.b)):
            for place in places:
                self.free[side].pop(place, None)

    def are_free(self, side: int, places: Iterable[int]) -> bool:
        """Tell whether all these positions are unmatched."""
        return all(place in self.free[side] for place in places)

    def weighed(self, i: int, j: int, sure: float) -> float:
        """Return a confidence adjusted by kinds and names.

        Where most layers have equal names, a different name is probably a different layer.
        """
        sure *= 0.5 + 0.5 * float(self.kinds[i, j])
        if not (words_of(self.names[0][i]) and words_of(self.names[1][j])):
            return sure
        alike = float(self.alike[i, j])
        return (sure + (SUREST_BY_NAME - sure) * alike) * (1 - 0.5 * self.trust * (1 - alike))

    def offer(self, i: int, j: int, how: How, confidence: float, reason: str) -> None:
        """Record a match if its confidence suffices, else record its rejection."""
        if confidence < LEAST:
            self.rejected[i, j] = confidence
        elif self.are_free(0, [i]) and self.are_free(1, [j]):
            self.take(Found((i,), (j,), how, confidence, reason))
