"""Walking a pack: small parameters as one task, those that are alike in one call of the kernel.

A call of the kernel, and what surrounds it, takes as long for one bias as for hundreds. Which
parameters make a pack is planned in `packs`; nothing of the result depends on it.
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
from accweight_core.accumulate.stepwise import Carry, Room
from accweight_core.accumulate.watching import Plane, Watcher
from accweight_core.dtypes import DTYPES
from accweight_core.io.reading import OpenFiles, Stretch, is_readable_in_blocks, neighbours
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats
from accweight_core.remote import is_url
from accweight_core.schema import Extent, StoredTensor

Draw = Callable[[int, Plane], None]
"""Called as ``draw(step_index, totals)`` with A_t of several parameters, (members, elements)."""


@dataclass(frozen=True)
class PackWalk:
    """All that is needed to walk one pack.

    Attributes:
        indices: Positions of the members among the parameters of the analysis.
        names: Their names.
        tensors: Each of them in every checkpoint.
        done: Called in the thread of the caller with the totals of all members,
            (steps, members, sums), when the pack is complete.
        begin: Called before the first byte is read; returns what draws members, given their
            positions in the pack, and what ends the drawing. None if nothing is drawn.
        carry: Returns where an earlier walk of a member ended, given its index. None to begin
            with the first checkpoint as the reference.
        keep: Takes where the walk of a member has ended, behind its index.
        number: Position among the packs of the analysis.
    """

    indices: Sequence[int]
    names: Sequence[str]
    tensors: Sequence[Sequence[StoredTensor]]
    done: Callable[[Floats], None]
    begin: Callable[[], tuple[Callable[[Sequence[int]], Draw], Callable[[], None]]] | None = None
    carry: Callable[[int, Block], Carry] | None = None
    keep: Callable[[int, Block, Carry], None] | None = None
    number: int = 0

    @cached_property
    def size_bytes(self) -> int:
        """Bytes to read in all."""
        sizes = {name: dtype.size_bytes for name, dtype in DTYPES.items()}
        return sum(
            tensors[0].values.elements * sum([sizes[tensor.values.dtype] for tensor in tensors])
            for tensors in self.tensors
        )

    @property
    def is_remote(self) -> bool:
        """Whether any of it is fetched from a URL, which is planned before it is walked."""
        values = (tensor.values for tensors in self.tensors for tensor in tensors)
        return any(map(is_url, {extent.path for extent in values if isinstance(extent, Extent)}))

    @cached_property
    def together(self) -> tuple[list[int], ...]:
        """The members that are walked in one call of the kernel, those that are alone last."""
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
        """Yield what is read, in the order in which it is."""
        for members in self.together:
            for tensors in zip(*(self.tensors[member] for member in members), strict=True):
                if len(members) > 1:
                    yield from neighbours(tensors)
                else:
                    yield tensors[0], 0, tensors[0].values.elements

    def walk(self, files: OpenFiles, room: Room) -> Floats:
        """Walk all members, draw them, and return their totals: (steps, members, sums)."""
        values = np.empty((len(self.tensors[0]), len(self.tensors), len(SUMS)))
        drawn, finish = self.begin() if self.begin else (None, None)
        for members in self.together:
            draw = drawn(members) if drawn else None
            if len(members) > 1:
                parameters = [self.tensors[member] for member in members]
                watcher = _watcher(draw, len(members))
                values[:, members] = walk_alike(files, parameters, watcher, room=room)
            else:
                sums = self._walk_alone(files, room, members[0], _watcher(draw, 1))
                values[:, members[0]] = sums
        if finish:
            finish()
        return values + 0.0  # as folding does it, where sums are -0.0

    def _walk_alone(
        self, files: OpenFiles, room: Room, member: int, watcher: Watcher | None
    ) -> Sums:
        tensors, index = self.tensors[member], self.indices[member]
        block, folding = Block(0, tensors[0].values.elements), Folding(len(tensors))
        carry = self.carry(index, block) if self.carry else None
        keep = partial(self.keep, index, block) if self.keep else None
        folding.take(
            walk_block(files, tensors, block, room=room, watcher=watcher, carry=carry, keep=keep)
        )
        return folding.totals.values


def _watcher(draw: Draw | None, members: int) -> Watcher | None:
    """Return what hands on A_t of whole parameters: none of them is longer than a sub-block."""
    if draw is None:
        return None

    def watch(step: int, plane: Plane) -> None:
        draw(step, plane.reshape(members, -1))

    return watch


def _dtype_in_rows(tensors: Sequence[StoredTensor]) -> np.dtype[Any] | None:
    """Return in what a parameter is subtracted, None if it cannot be a row among others.

    The modulus of complex numbers may round another way at the end of a vector than in its middle.
    """
    if not all(map(is_readable_in_blocks, tensors)):
        return None
    dtype = common_dtype(list({tensor.values.dtype: tensor for tensor in tensors}.values()))
    return None if dtype.kind == "c" else dtype
