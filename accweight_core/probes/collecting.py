"""What probes collect of the batches of a step: sums, and values of all samples.

A collector that a probe gives to its context is begun at every step and gets every batch, so that
the probe says only what it takes of a batch, and in `end` asks for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from accweight_core.probes.probe import Array, Batch


class Sums:
    """Sums over the batches of a step, by name."""

    def __init__(self, terms: Callable[[Batch], Mapping[str, Any]]) -> None:
        """Add up what a function returns of each batch, by name: arrays or numbers."""
        self._terms = terms
        self._totals: dict[str, Any] = {}

    def begin(self) -> None:
        """Start with nothing."""
        self._totals = {}

    def add(self, batch: Batch) -> None:
        """Add the terms of a batch."""
        self._take(self._terms(batch))

    def _take(self, terms: Mapping[str, Any]) -> None:
        for name, term in terms.items():
            self._totals[name] = self._totals.get(name, 0) + term

    def __getitem__(self, name: str) -> Any:
        """Return a sum."""
        return self._totals[name]


class SumsOfSamples(Sums):
    """Sums over the samples of a step, one after the other: their bits do not depend on batches."""

    def __init__(self, terms: Callable[[Batch], Iterable[Mapping[str, Any]]]) -> None:
        """Add up what a function returns of each sample of a batch, by name."""
        self._of_samples = terms
        self._totals = {}

    def add(self, batch: Batch) -> None:
        """Add the terms of every sample of a batch."""
        for terms in self._of_samples(batch):
            self._take(terms)


class Largest(Sums):
    """The largest values over the batches of a step, by name."""

    def add(self, batch: Batch) -> None:
        """Hold the values of a batch against those before."""
        for name, found in self._terms(batch).items():
            self._totals[name] = np.maximum(self._totals.get(name, found), found)


class Top:
    """The samples with the largest values of every unit, of all batches of a step.

    Of equal values, the first one counts.
    """

    def __init__(self, taken: Callable[[Batch], Mapping[str, Array]], by: str, count: int) -> None:
        """Keep of each unit so many samples at most.

        Args:
            taken: Returns arrays of (samples, units) of a batch, by name.
            by: The name of that whose largest values are kept, with what the others have there.
            count: Samples of a unit.
        """
        self._taken, self._by, self._count = taken, by, count
        self._kept: dict[str, Array] = {}

    def begin(self) -> None:
        """Start with nothing."""
        self._kept = {}

    def add(self, batch: Batch) -> None:
        """Put the samples of a batch among those before."""
        found = self._taken(batch)
        if self._kept:
            found = {name: np.concatenate([self._kept[name], own]) for name, own in found.items()}
        order = np.argsort(-found[self._by], axis=0, kind="stable")[: self._count]
        self._kept = {name: np.take_along_axis(own, order, 0) for name, own in found.items()}

    def __getitem__(self, name: str) -> Array:
        """Return (units, samples), the largest first."""
        return self._kept[name].T


class Values:
    """One array of a batch, of all batches of a step one after the other."""

    def __init__(self, taken: Callable[[Batch], Array]) -> None:
        """Keep what a function returns of each batch: samples along axis 0."""
        self._taken = taken
        self._kept: list[Array] = []

    def begin(self) -> None:
        """Start with nothing."""
        self._kept = []

    def add(self, batch: Batch) -> None:
        """Take the values of a batch."""
        self._kept.append(self._taken(batch))

    def whole(self) -> Array:
        """Return the values of all samples."""
        found: Array = np.concatenate(self._kept)
        return found


class Columns:
    """Arrays of a batch by name, each of all batches of a step one after the other."""

    def __init__(self, taken: Callable[[Batch], Mapping[str, Array]]) -> None:
        """Keep what a function returns of each batch: samples along axis 0."""
        self._taken = taken
        self._kept: list[Mapping[str, Array]] = []

    def begin(self) -> None:
        """Start with nothing."""
        self._kept = []

    def add(self, batch: Batch) -> None:
        """Take the arrays of a batch."""
        self._kept.append(self._taken(batch))

    def whole(self) -> dict[str, Array]:
        """Return the arrays of all samples."""
        return {n: np.concatenate([one[n] for one in self._kept]) for n in self._kept[0]}


def flat_inputs(batch: Batch) -> Array:
    """Return (samples, elements): all inputs of a batch, flat."""
    return np.concatenate([v.reshape(len(v), -1) for v in batch.inputs.values()], axis=1)
