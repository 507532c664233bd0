"""Take one block through all checkpoints, by the fastest path that its storage allows.

Plain bytes of local files are streamed through the compiled loops (`streaming`). Everything
else, and blocks that streaming gives up on, goes step by step (`stepwise`), with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from accweight_core.accumulate.cutting import Stretches, pieces_of
from accweight_core.accumulate.folding import BlockSums, Sums
from accweight_core.accumulate.observing import Observe
from accweight_core.accumulate.stepwise import Buffers, Carry, walk_steps
from accweight_core.accumulate.watching import Plane, PoolingWatcher, Room, Squares, Watcher
from accweight_core.io.reading import OpenFiles, neighbours, read_stretches, read_together
from accweight_core.io.widening import working_dtype
from accweight_core.jit import tiers
from accweight_core.metrics.sub_blocks import partition
from accweight_core.metrics.sums import SUMS
from accweight_core.schema import StoredTensor

if TYPE_CHECKING:
    from accweight_core.accumulate.streaming import Stream, Take
    from accweight_core.jit.stream_loops import Drawn

Array = npt.NDArray[Any]

MOST_STEPS = 32
"""Checkpoints streamed at a time: half of the files that may be open."""

MOST_STEPS_DRAWN = 16
"""The same limit where A_t of every step is buffered until it has been drawn."""

Piece = tuple[int, int, int]
"""(first element, rows, columns) of neighbouring sub-blocks of equal length."""


def walk_block(
    files: OpenFiles,
    tensors: Sequence[StoredTensor],
    block: Stretches,
    *,
    buffers: Buffers | None = None,
    watcher: Watcher | None = None,
    carry: Carry | None = None,
    keep: Callable[[Carry], None] | None = None,
    dtype: np.dtype[Any] | None = None,
    observe: Observe | None = None,
) -> BlockSums:
    """Walk one block of one parameter through its checkpoints.

    Args:
        files: Open files to read through.
        tensors: The parameter in each checkpoint, in step order.
        block: The elements to walk.
        buffers: Buffers to reuse; new ones if None.
        watcher: Called with A_t after every step.
        carry: State at the end of an earlier walk of the block; the first tensor is then an
            ordinary step. None to use the first tensor as the reference.
        keep: Called with the state at the end of this walk.
        dtype: Dtype of the subtraction; the widest of the tensors by default.
        observe: Called in the end with the weights of the block at all steps.
    """
    dtype, buffers = dtype or common_dtype(tensors), buffers or Buffers()
    tiers.expect(sum(stop - start for start, stop in block.stretches) * len(tensors))
    cut, most = partition(tensors[0].shape), 1 if dtype.kind == "c" else None
    pieces = [
        piece for start, stop in block.stretches for piece in pieces_of(cut, start, stop, most)
    ]
    elements = [columns for _, rows, columns in pieces for _ in range(rows)]

    seen = _seen(observe, len(tensors), sum(elements), dtype, buffers)

    def read(step: int, out: Array) -> None:
        read_stretches(files, tensors[step], block.stretches, out)
        if observe:
            seen[step] = out

    plain = carry is None and keep is None
    stream = _stream_of(tensors, dtype) if plain else None
    values, shown = _streamed(files, stream, pieces, buffers, watcher, seen)
    if values is None:
        shapes, late = [(rows, columns) for _, rows, columns in pieces], _late(watcher, shown)
        values = walk_steps(read, len(tensors), shapes, dtype, buffers, late, carry, keep)
    if observe:
        observe(seen)
    return BlockSums(block.stretches, elements, values)


def walk_alike(
    files: OpenFiles,
    parameters: Sequence[Sequence[StoredTensor]],
    watcher: Watcher | None = None,
    *,
    buffers: Buffers | None = None,
    observe: Observe | None = None,
) -> Sums:
    """Walk several small parameters of equal size together, one kernel row each.

    Rows are independent, so the bits are those of `walk_block`.

    Args:
        files: Open files to read through.
        parameters: Each parameter in every checkpoint; none longer than a sub-block.
        watcher: Called with A_t of all parameters, concatenated, after every step.
        buffers: Buffers to reuse; new ones if None.
        observe: Called in the end with the weights of all of them, concatenated, at all steps.

    Returns:
        (steps, parameters, len(SUMS)).
    """
    dtype, elements = common_dtype(parameters[0]), parameters[0][0].values.elements
    shape, steps = (len(parameters), elements), list(zip(*parameters, strict=True))
    together, buffers = all(len(list(neighbours(s))) == 1 for s in steps), buffers or Buffers()
    stream = _stream_of(parameters[0], dtype) if together else None
    seen = _seen(observe, len(steps), len(parameters) * elements, dtype, buffers)
    values, shown = _streamed(files, stream, [(0, *shape)], buffers, watcher, seen)

    def read(step: int, out: Array) -> None:
        read_together(files, steps[step], out.reshape(shape))
        if observe:
            seen[step] = out

    if values is None:
        late = _late(watcher, shown)
        values = walk_steps(read, len(steps), [shape], dtype, buffers, late, None, None)
    if observe:
        observe(seen)
    return values


def _seen(
    observe: Observe | None, steps: int, elements: int, dtype: np.dtype[Any], buffers: Buffers
) -> Array:
    """Return where the weights of a block are kept for an observer, empty without one."""
    if observe is None:
        return np.empty((0, 0), dtype)
    return buffers.take("seen", (steps, elements), dtype)


def _stream_of(tensors: Sequence[StoredTensor], dtype: np.dtype[Any]) -> Stream | None:
    """Return the stream of a parameter, or None if its bytes cannot be streamed."""
    if not tiers.are_compiled():
        return None
    from accweight_core.accumulate.streaming import Stream

    return Stream.of(tensors, dtype)


def _streamed(
    files: OpenFiles,
    stream: Stream | None,
    pieces: Sequence[Piece],
    buffers: Buffers,
    watcher: Watcher | None,
    seen: Array,
) -> tuple[Sums | None, int]:
    """Stream pieces through all steps, in batches of steps if there are many.

    Args:
        files: Open files to read through.
        stream: The bytes of the parameter, or None if they cannot be streamed.
        pieces: The sub-blocks to walk.
        buffers: Buffers to reuse.
        watcher: Called with A_t after every step.
        seen: (steps, elements) for the weights; empty if nobody asks.

    Returns:
        (steps, rows of all pieces, len(SUMS)), or None if streaming gave up; and the number of
        steps already shown to the watcher.
    """
    if stream is None:
        return None, 0
    from accweight_core.accumulate.streaming import Rows

    steps, most = len(stream.paths), MOST_STEPS_DRAWN if watcher else MOST_STEPS
    most = min(most, files.most)
    is_kept = steps > most
    values = np.empty((steps, sum(rows for _, rows, _ in pieces), len(SUMS)))
    carried = [
        Rows(rows, columns, stream, partial(_take, buffers, number * is_kept), is_kept=is_kept)
        for number, (_, rows, columns) in enumerate(pieces)
    ]
    drawing = _drawing(watcher, min(steps, most), pieces, partial(_take, buffers, 0), seen[:0])
    for begin in range(0, steps, most):
        batch, at, row = range(begin, min(begin + most, steps)), 0, 0
        drawn = drawing.at(begin)
        if len(seen):
            drawn = drawn._replace(seen=seen[batch.start : batch.stop])
        for (first, height, columns), rows in zip(pieces, carried, strict=True):
            sums = stream.advance(files, first, batch, rows, drawn, at)
            if sums is None:
                return None, begin
            values[batch.start : batch.stop, row : row + height] = sums.swapaxes(0, 1)
            at, row = at + height * columns, row + height
        if watcher:
            drawing.show(watcher, batch)
    return values, steps


def _late(watcher: Watcher | None, shown: int) -> Watcher | None:
    """Return a watcher that skips the steps it has already been shown."""
    if watcher is None or not shown:
        return watcher

    def watch(step: int, plane: Plane) -> None:
        if step >= shown:
            watcher(step, plane)

    return watch


def _take(buffers: Buffers, number: int, name: str, elements: int, dtype: npt.DTypeLike) -> Array:
    """Return the buffer of one of several pieces."""
    return buffers.take(f"{name} {number}", (elements,), dtype)


def _drawing(
    watcher: Watcher | None, steps: int, pieces: Sequence[Piece], take: Take, seen: Array
) -> _Drawing:
    """Return buffers for what the watcher needs: nothing, every A_t, or pooled squares."""
    from accweight_core.accumulate import streaming

    if watcher is None:
        return _Drawing(streaming.nothing(seen))
    squares: Squares | None = getattr(watcher, "squares", None)  # of a `PoolingWatcher`
    if squares is not None:
        drawn, room = streaming.pooled(steps, squares, take, seen)
        return _Drawing(drawn, room, is_final=room is squares.room)
    elements = sum(rows * columns for _, rows, columns in pieces)
    return _Drawing(streaming.whole(steps, elements, take, seen))


@dataclass(frozen=True)
class _Drawing:
    """Where A_t of a block is drawn.

    Attributes:
        drawn: Buffers, as the compiled loops take them.
        room: Where its squares are found, if it is pooled.
        is_final: Whether the room holds all steps, not those of a batch.
    """

    drawn: Drawn
    room: Room | None = None
    is_final: bool = False

    def at(self, step: int) -> Drawn:
        """Return the buffers of a batch that begins with a step."""
        drawn = self.drawn
        if not self.is_final or not step:
            return drawn
        before = step * drawn.stride
        return drawn._replace(mean_at=drawn.mean_at + before, top_at=drawn.top_at + before)

    def show(self, watcher: Watcher, batch: range) -> None:
        """Pass the buffered steps to a watcher; at the reference step A_t is 0."""
        if self.room is None:
            planes = self.drawn.planes
            if batch.start == 0:
                planes[0] = 0
            for number, step in enumerate(batch):
                watcher(step, planes[number])
            return
        first = batch.start if self.is_final else 0
        means, tops = (
            plane[first : first + len(batch)] for plane in (self.room.means, self.room.tops)
        )
        if batch.start == 0:
            means[0] = tops[0] = 0
        cast(PoolingWatcher, watcher).pooled(batch.start, means, tops)


def common_dtype(tensors: Sequence[StoredTensor]) -> np.dtype[Any]:
    """Return the widest working dtype of a parameter over its checkpoints."""
    dtype = working_dtype(tensors[0])
    for tensor in tensors[1:]:
        dtype = np.promote_types(dtype, working_dtype(tensor))
    return dtype
