"""Two networks while they are matched: the facts about all pairs, and what is settled.

Facts are computed when first asked for: networks that go by equal names need none of the grids.
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
"""Confidence below which a pair is not matched but mentioned."""

ONE_NETWORK = 0.6
"""Share of the smaller side's layers that have a twin by kind and shape on the other side, from
which on both are taken for one network: then the same shape counts before the same place."""

FEWEST_WORDS = 4
"""Different names, numbers aside, from which alphabetical order is hardly chance."""

SUREST_BY_NAME = 0.95
"""What names that are fully alike can lift a match by place or shape to."""

LIKELY = 0.5
"""Confidence from which a match holds the place of its neighbours."""


@dataclass(frozen=True)
class Found:
    """A match, by places."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    how: How
    confidence: float
    reason: str


@dataclass(frozen=True)
class Known:
    """What is known beforehand.

    Attributes:
        forced: Places that the user says belong together.
        alone_a: Places of a that the user says have no partner.
        alone_b: The same of b.
        equal: Places that hold equal values, how sure that is, and how it was seen.
        values_first: Whether values count before names.
    """

    forced: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    alone_a: frozenset[int] = frozenset()
    alone_b: frozenset[int] = frozenset()
    equal: tuple[tuple[int, int, float, str], ...] = ()
    values_first: bool = False


class State:
    """One matching under way.

    Attributes:
        found: Matches so far.
        rejected: Pairs that were too unsure, with the confidence.
        free: Places of either side that are not matched yet.
        trust: Share of the smaller side that names matched.
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
        """How well kinds go together."""
        return kind_grid(*self.sides)

    @cached_property
    def forms(self) -> Grid:
        """How well shapes go together."""
        return form_grid(*self.sides)

    @cached_property
    def alike(self) -> Grid:
        """How alike names are."""
        return similarities(*self.names)

    @cached_property
    def keys(self) -> list[list[list[Path]]]:
        """Keys of the names of each side."""
        return [keys_of([p.layer for p in side]) for side in self.sides]

    @cached_property
    def sorts(self) -> list[list[Hashable]]:
        """Kind and shape of every layer."""
        return [[(p.layer.kind, p.forms) for p in side] for side in self.sides]

    @cached_property
    def counts(self) -> list[Counter[Hashable]]:
        """How many layers of each kind and shape a side has."""
        return [Counter(sorts) for sorts in self.sorts]

    @cached_property
    def smaller(self) -> int:
        """Number of layers of the smaller side, at least 1."""
        return max(min(map(len, self.sides)), 1)

    @cached_property
    def is_one_network(self) -> bool:
        """Whether nearly all of the smaller side has a twin on the other."""
        here, there = self.counts
        return (here & there).total() >= ONE_NETWORK * self.smaller

    @cached_property
    def has_order(self) -> list[bool]:
        """Whether each side has an order of its own, or that of the alphabet.

        Some formats sort what they hold, and then the place says nothing. Names that are but
        numbered (`fc1`, `fc2`) are in both orders.
        """
        return [
            len({re.sub(r"\d+", "", name) for name in names}) < FEWEST_WORDS
            or names not in (sorted(names), sorted(names, key=natural_key))
            for names in self.names
        ]

    def reset(self) -> None:
        """Forget all matches, and keep the facts."""
        self.found, self.rejected = [], {}
        self.free = [dict.fromkeys(range(len(side))) for side in self.sides]

    def take(self, found: Found) -> None:
        """Settle a match."""
        self.found.append(found)
        for side, places in enumerate((found.a, found.b)):
            for place in places:
                self.free[side].pop(place, None)

    def are_free(self, side: int, places: Iterable[int]) -> bool:
        """Tell whether none of these places is matched."""
        return all(place in self.free[side] for place in places)

    def weighed(self, i: int, j: int, sure: float) -> float:
        """Return a confidence with what kinds and names add to it, or take away.

        Where most layers go by equal names, another name is probably another layer.
        """
        sure *= 0.5 + 0.5 * float(self.kinds[i, j])
        if not (words_of(self.names[0][i]) and words_of(self.names[1][j])):
            return sure
        alike = float(self.alike[i, j])
        return (sure + (SUREST_BY_NAME - sure) * alike) * (1 - 0.5 * self.trust * (1 - alike))

    def offer(self, i: int, j: int, how: How, confidence: float, reason: str) -> None:
        """Settle a match if it is sure enough, else remember that it was not."""
        if confidence < LEAST:
            self.rejected[i, j] = confidence
        elif self.are_free(0, [i]) and self.are_free(1, [j]):
            self.take(Found((i,), (j,), how, confidence, reason))
