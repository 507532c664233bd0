"""One block through all checkpoints, the fastest way that its bytes allow.

Plain bytes of local files are streamed through the compiled loops (`streaming`); what these
leave, and everything else, is walked step by step (`stepwise`). Both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from accweight_core.accumulate.cutting import Stretches, pieces_of
from accweight_core.accumulate.folding import BlockSums, Sums
from accweight_core.accumulate.stepwise import Carry, Plane, Room, Watcher, walk_steps
from accweight_core.kernels import SUMS, partition
from accweight_core.reading import (
    OpenFiles,
    neighbours,
    read_stretch,
    read_stretches,
    read_together,
    working_dtype,
)
from accweight_core.schema import StoredTensor
from accweight_core.streaming import Stream, Streamed

MOST_STEPS = 32
"""Checkpoints that are streamed in one go: half of the files that may be open."""

MOST_STEPS_DRAWN = 16
"""The same where A_t of the block is kept of every step until it has been drawn."""

Piece = tuple[int, int, int]
"""First element, rows and columns of sub-blocks of one length."""

Row = tuple[Sequence[StoredTensor], int, int]
"""A parameter in each checkpoint, and first element and end of one of its sub-blocks."""


def walk_block(
    files: OpenFiles,
    tensors: Sequence[StoredTensor],
    block: Stretches,
    *,
    room: Room | None = None,
    watcher: Watcher | None = None,
    carry: Carry | None = None,
    keep: Callable[[Carry], None] | None = None,
    dtype: torch.dtype | None = None,
) -> BlockSums:
    """Walk one block of one parameter through its checkpoints.

    Args:
        files: Where to read through.
        tensors: The parameter in each checkpoint, in step order.
        block: What of it to walk.
        room: Memory to use; fresh if None.
        watcher: Sees A_t after every step.
        carry: Where an earlier walk of the block ended; the first tensor is then a step like
            the others. None to begin with the first tensor as the reference.
        keep: Called with where this walk has ended.
        dtype: In which to subtract; the widest of the tensors by default.
    """
    dtype, room = dtype or common_dtype(tensors), room or Room()
    cut, most = partition(tensors[0].shape), 1 if dtype.is_complex else None
    pieces = [
        piece for start, stop in block.stretches for piece in pieces_of(cut, start, stop, most)
    ]
    elements = [columns for _, rows, columns in pieces for _ in range(rows)]
    stream = Stream.of(tensors, dtype) if carry is None and keep is None else None
    if stream is not None:

        def row_of(first: int, columns: int) -> Row:
            return tensors, first, first + columns

        values = _streamed(files, stream, pieces, row_of, room, watcher)
    else:

        def read(step: int, out: Tensor) -> None:
            read_stretches(files, tensors[step], block.stretches, out)

        shapes = [(rows, columns) for _, rows, columns in pieces]
        values = walk_steps(read, len(tensors), shapes, dtype, room, watcher, carry, keep)
    return BlockSums(block.stretches, elements, values)


def walk_alike(
    files: OpenFiles,
    parameters: Sequence[Sequence[StoredTensor]],
    watchers: Sequence[Watcher | None],
    *,
    room: Room | None = None,
) -> Sums:
    """Walk several small parameters of one size at once, one row of the kernel each.

    Rows know nothing of each other, so the bits are those of `walk_block`.

    Args:
        files: Where to read through.
        parameters: Each of them in every checkpoint; none longer than a sub-block.
        watchers: Of each.
        room: Memory to use; fresh if None.

    Returns:
        (steps, parameters, len(SUMS)).
    """
    dtype, elements = common_dtype(parameters[0]), parameters[0][0].values.elements
    shape, steps = (len(parameters), elements), list(zip(*parameters, strict=True))

    def watch(step: int, plane: Plane) -> None:
        for row, watcher in zip(plane.reshape(shape), watchers, strict=True):
            if watcher:
                watcher(step, row)

    watcher, room = watch if any(watchers) else None, room or Room()
    together = all(len(list(neighbours(tensors))) == 1 for tensors in steps)
    stream = Stream.of(parameters[0], dtype) if together else None
    if stream is not None:

        def row_of(first: int, columns: int) -> Row:
            return parameters[first // columns], 0, columns

        return _streamed(files, stream, [(0, *shape)], row_of, room, watcher)

    def read(step: int, out: Tensor) -> None:
        read_together(files, steps[step], out.view(shape))

    return walk_steps(read, len(steps), [shape], dtype, room, watcher, None, None)


def _streamed(
    files: OpenFiles,
    stream: Stream,
    pieces: Sequence[Piece],
    row_of: Callable[[int, int], Row],
    room: Room,
    watcher: Watcher | None,
) -> Sums:
    """Stream pieces through all steps, a few steps at a time where there are many.

    Args:
        files: Where to read through.
        stream: The bytes of the parameter.
        pieces: What of it to walk.
        row_of: Tells where to read a sub-block that has to be walked step by step.
        room: Memory to use.
        watcher: Sees A_t after every step.
    """
    steps, most = len(stream.paths), MOST_STEPS_DRAWN if watcher else MOST_STEPS
    values = np.empty((steps, sum(rows for _, rows, _ in pieces), len(SUMS)))
    size = sum(rows * columns for _, rows, columns in pieces)
    planes = np.empty((0, size), np.float32)
    if watcher:
        planes = room.take("drawn", (min(steps, most), size), torch.float32).numpy()
    states = [
        Streamed(
            rows, columns, is_kept=steps > most, stream=stream,
            take=partial(_take, room, number if steps > most else 0),
        )
        for number, (_, rows, columns) in enumerate(pieces)
    ]  # fmt: skip
    patient = _Patient(files, row_of, stream.dtype)
    for begin in range(0, steps, most):
        batch, at, row = range(begin, min(begin + most, steps)), 0, 0
        if begin == 0:
            planes[:1] = 0
        for (first, rows, columns), state in zip(pieces, states, strict=True):
            sums = stream.advance(files, first, batch, state, planes, at)
            for odd in np.flatnonzero(state.odd):
                plane = planes[: len(batch), at + odd * columns : at + (odd + 1) * columns]
                sums[odd] = patient.walk(first + int(odd) * columns, columns, batch, plane)
            values[batch.start : batch.stop, row : row + rows] = sums.swapaxes(0, 1)
            at, row = at + rows * columns, row + rows
        if watcher:
            for step, plane in zip(batch, planes, strict=False):
                watcher(step, plane)
    return values


def _take(room: Room, number: int, name: str, elements: int, dtype: torch.dtype) -> Tensor:
    """Return memory for one of several pieces."""
    return room.take(f"{name} {number}", (elements,), dtype)


class _Patient:
    """Walks single sub-blocks step by step, from the first step to where the others are."""

    def __init__(
        self, files: OpenFiles, row_of: Callable[[int, int], Row], dtype: torch.dtype
    ) -> None:
        self._files = files
        self._row_of = row_of
        self._dtype = dtype
        self._carries: dict[int, Carry] = {}

    def walk(self, first: int, columns: int, batch: range, planes: Plane) -> Sums:
        """Return (steps, len(SUMS)) of the sub-block that begins at element `first`.

        Args:
            first: Which sub-block.
            columns: Its length.
            batch: Steps that are asked for, behind those of the call before.
            planes: (steps, columns), A_t after every step, written; or no step.
        """
        (tensors, start, stop), carry = self._row_of(first, columns), self._carries.get(first)
        begin = batch.start if carry else 0

        def read(step: int, out: Tensor) -> None:
            read_stretch(self._files, tensors[begin + step], start, stop, out)

        def watch(step: int, plane: Plane) -> None:
            if begin + step >= batch.start:
                planes[begin + step - batch.start] = plane

        def keep(carry: Carry) -> None:
            self._carries[first] = carry

        watcher, steps = watch if len(planes) else None, batch.stop - begin
        sums = walk_steps(read, steps, [(1, columns)], self._dtype, Room(), watcher, carry, keep)
        return sums[-len(batch) :, 0]


def common_dtype(tensors: Sequence[StoredTensor]) -> torch.dtype:
    """Return the widest working dtype of a parameter over its checkpoints."""
    dtype = working_dtype(tensors[0])
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, working_dtype(tensor))
    return dtype
