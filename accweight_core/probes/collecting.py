"""What probes collect of the batches of a step: sums, and values of all samples.

A collector that a probe gives to its context is begun at every step and gets every batch, so that
the probe says only what it takes of a batch, and in `end` asks for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        for name, term in self._terms(batch).items():
            self._totals[name] = self._totals.get(name, 0) + term

    def __getitem__(self, name: str) -> Any:
        """Return a sum."""
        return self._totals[name]


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


def flat_inputs(batch: Batch) -> Array:
    """Return (samples, elements): all inputs of a batch, flat."""
    return np.concatenate([v.reshape(len(v), -1) for v in batch.inputs.values()], axis=1)
