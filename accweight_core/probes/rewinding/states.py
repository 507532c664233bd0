"""The weights of a network with one layer put back: to a step, or to a random draw.

A random draw permutes the layer's own weights of the first step: a draw from their distribution
without replacement, with its mean, spread and shape to the bit, whatever the initialisation was.
Biases, norms and statistics are those of the first step, as a permuted constant is the same one.
"""

from __future__ import annotations

import zlib
from collections import ChainMap
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np

from accweight_core.probes.binding.arrays import Array, Weights
from accweight_core.probes.binding.assignment import Assignment
from accweight_core.probes.binding.binding import Binding
from accweight_core.probes.network import BoundNetwork
from accweight_core.probes.rewinding.parts import WEIGHTS, LayerPart
from accweight_core.schema import Role


@dataclass
class States:
    """A checkpoint of a run in the network, the last one, and what is put in place of its layers.

    Attributes:
        binding: How weights are put into the network.
        seed: Seed of the random draws.
        first: The step whose weights are permuted.
        last: The step that is taken for the last one.
    """

    binding: Binding
    seed: int
    first: int
    last: int
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        """Read the last checkpoint."""
        run = self.binding.run
        self._numbers = [int(step) for step in run.steps]
        last = run.checkpoints[self._numbers.index(self.last)]
        self._last = self._open.enter_context(Weights(last))
        self._base = self._made(self.binding.assignments, self._last)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self._open.__exit__(kind, error, trace)

    def at(self, part: LayerPart, step: int) -> dict[str, Array]:
        """Return the tensors of a layer at a step, by the checkpoint's names."""
        with Weights(self.binding.run.checkpoints[self._numbers.index(step)]) as weights:
            return {p.name: weights[p.name] for p in part.parameters if p.name in weights}

    def drawn(self, part: LayerPart, draw: int) -> dict[str, Array]:
        """Return the tensors of a layer in a random draw."""
        found = self.at(part, self.first)
        for parameter in part.parameters:
            if parameter.role in WEIGHTS and parameter.name in found:
                key = [self.seed, draw, zlib.crc32(parameter.name.encode())]
                values = found[parameter.name]
                order = np.random.default_rng(key).permutation(values.size)
                found[parameter.name] = values.reshape(-1)[order].reshape(values.shape)
        return found

    def differs(self, part: LayerPart, values: Mapping[str, Array], *, statistics: bool) -> bool:
        """Tell whether tensors of a layer are not those of the last step, to the bit.

        Args:
            part: The layer.
            values: Its tensors.
            statistics: Whether running statistics count.
        """
        return any(
            not np.array_equal(values[p.name], self._last[p.name], equal_nan=True)
            for p in part.parameters
            if p.name in values and (statistics or p.role is not Role.BUFFER)
        )

    def bound(self, *changes: Mapping[str, Array]) -> BoundNetwork:
        """Return the network of the last step with some tensors of the checkpoint replaced.

        Args:
            changes: By the checkpoint's names; the first of several that has one counts.
        """
        sources = self.sources(*changes)
        changed = set().union(*changes)
        affected = [i for i in self.binding.assignments if changed.intersection(i.sources)]
        weights = {**self._base, **self._made(affected, sources)}
        return self.binding.network.with_weights(weights)

    def sources(self, *changes: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the tensors of the last checkpoint, with some of them replaced."""
        return ChainMap(*map(dict, changes), self._last)  # type: ignore[arg-type]  # only read

    def _made(
        self, assignments: Sequence[Assignment], sources: Mapping[str, Array]
    ) -> dict[str, Array]:
        own = self.binding.network.parameters
        return {
            item.name: np.ascontiguousarray(item.recipe.make(sources)).reshape(own[item.name])
            for item in assignments
            if item.recipe is not None
        }
