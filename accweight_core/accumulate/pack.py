"""Walking a pack: small parameters as one task, those of equal size in one kernel call.

The overhead of a kernel call is the same for one bias as for hundreds of them.
`pictures.packing` plans the packs; results do not depend on the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from accweight_core.accumulate.block import common_dtype, walk_alike, walk_block
from accweight_core.accumulate.cutting import Block
from accweight_core.accumulate.folding import Folding, Sums
from accweight_core.accumulate.observing import Observe
from accweight_core.accumulate.stepwise import Buffers, Carry
from accweight_core.accumulate.watching import Plane, Watcher
from accweight_core.dtypes import DTYPES
from accweight_core.io.reading import OpenFiles, Stretch, is_readable_in_blocks, neighbours
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats
from accweight_core.remote import is_url
from accweight_core.schema import Extent, StoredTensor

Draw = Callable[[int, Plane], None]
"""Called as ``draw(step_index, totals)`` with A_t as (members, elements)."""


@dataclass(frozen=True)
class PackWalk:
    """Everything needed to walk one pack.

    Attributes:
        indices: Positions of the members among the parameters of the analysis.
        names: Their names.
        tensors: Each of them in every checkpoint.
        done: Called in the caller's thread when the pack is complete, with the totals of all
            members, (steps, members, sums).
        begin: Called before the first read; returns a function that creates the drawer of
            some members (by their positions in the pack) and a function that ends the drawing. None
            if nothing is drawn.
        carry: Returns the final state of an earlier walk of a member, by its index. None to use
            the first checkpoint as the reference.
        keep: Called with the index of a member and its state at the end of the walk.
        number: Position among the packs of the analysis.
        observe: Returns what takes the weights of a member at all steps, by its position in the
            pack. None if nobody looks.
    """

    indices: Sequence[int]
    names: Sequence[str]
    tensors: Sequence[Sequence[StoredTensor]]
    done: Callable[[Floats], None]
    begin: Callable[[], tuple[Callable[[Sequence[int]], Draw], Callable[[], None]]] | None = None
    carry: Callable[[int, Block], Carry] | None = None
    keep: Callable[[int, Block, Carry], None] | None = None
    number: int = 0
    observe: Callable[[int], Observe | None] | None = None

    @cached_property
    def size_bytes(self) -> int:
        """Total bytes to read."""
        sizes = {name: dtype.size_bytes for name, dtype in DTYPES.items()}
        return sum(
            tensors[0].values.elements * sum([sizes[tensor.values.dtype] for tensor in tensors])
            for tensors in self.tensors
        )

    @property
    def is_remote(self) -> bool:
        """Whether any member is read from a URL, so that its reads are planned ahead."""
        values = (tensor.values for tensors in self.tensors for tensor in tensors)
        return any(map(is_url, {extent.path for extent in values if isinstance(extent, Extent)}))

    @cached_property
    def together(self) -> tuple[list[int], ...]:
        """Groups of members walked in one kernel call; groups of one come last."""
        alike: dict[tuple[int, np.dtype[Any]], list[int]] = {}
        alone: list[list[int]] = []
        for member, tensors in enumerate(self.tensors):
            dtype = None if self.carry or self.keep else _dtype_in_rows(tensors)
            if dtype is None:
                alone.append([member])
            else:
                alike.setdefault((tensors[0].values.elements, dtype), []).append(member)
        return (*alike.values(), *alone)

    def stretches(self) -> Iterator[Stretch]:
        """Yield the ranges that are read, in reading order."""
        for members in self.together:
            for tensors in zip(*(self.tensors[member] for member in members), strict=True):
                if len(members) > 1:
                    yield from neighbours(tensors)
                else:
                    yield tensors[0], 0, tensors[0].values.elements

    def walk(self, files: OpenFiles, buffers: Buffers) -> Floats:
        """Walk all members, draw them, and return their totals: (steps, members, sums)."""
        values = np.empty((len(self.tensors[0]), len(self.tensors), len(SUMS)))
        drawn, finish = self.begin() if self.begin else (None, None)
        for members in self.together:
            draw = drawn(members) if drawn else None
            if len(members) > 1:
                parameters = [self.tensors[member] for member in members]
                watcher = _watcher(draw, len(members))
                values[:, members] = walk_alike(
                    files, parameters, watcher, buffers=buffers, observe=self._observing(members)
                )
            else:
                sums = self._walk_alone(files, buffers, members[0], _watcher(draw, 1))
                values[:, members[0]] = sums
        if finish:
            finish()
        return values + 0.0  # turns -0.0 into 0.0, as folding does

    def _walk_alone(
        self, files: OpenFiles, buffers: Buffers, member: int, watcher: Watcher | None
    ) -> Sums:
        tensors, index = self.tensors[member], self.indices[member]
        block, folding = Block(0, tensors[0].values.elements), Folding(len(tensors))
        carry = self.carry(index, block) if self.carry else None
        keep = partial(self.keep, index, block) if self.keep else None
        observe = self.observe(member) if self.observe else None
        sums = walk_block(
            files, tensors, block, buffers=buffers, watcher=watcher, carry=carry, keep=keep,
            observe=observe,
        )  # fmt: skip
        folding.take(sums)
        return folding.totals.values

    def _observing(self, members: Sequence[int]) -> Observe | None:
        """Return what hands each of some members its weights."""
        if self.observe is None:
            return None
        each = [self.observe(member) for member in members]

        def observe(weights: Floats) -> None:
            parts = weights.reshape(len(weights), len(members), -1)
            for place, one in enumerate(each):
                if one is not None:
                    one(parts[:, place])

        return observe


def _watcher(draw: Draw | None, members: int) -> Watcher | None:
    """Return a watcher that reshapes A_t to (members, elements) for `draw`, or None."""
    if draw is None:
        return None

    def watch(step: int, plane: Plane) -> None:
        draw(step, plane.reshape(members, -1))

    return watch


def _dtype_in_rows(tensors: Sequence[StoredTensor]) -> np.dtype[Any] | None:
    """Return the dtype of the subtraction, or None if the parameter cannot share a kernel call.

    The modulus of complex numbers may round differently in the last lanes of a vector.
    """
    if not all(map(is_readable_in_blocks, tensors)):
        return None
    dtype = common_dtype(list({tensor.values.dtype: tensor for tensor in tensors}.values()))
    return None if dtype.kind == "c" else dtype
