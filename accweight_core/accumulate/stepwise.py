"""A block step by step: any values, however they are brought, with or without an end in sight.

A few steps of the block are read, then the compiled pass takes its weights through all of them
(`fused.advance`), then the next few. What is carried from step to step is the reference, the
last weights and A_t; what comes out are the sums of every sub-block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.accumulate.folding import Sums
from accweight_core.accumulate.watching import Watcher
from accweight_core.jit.fused import advance, measure_step, squares, start_block
from accweight_core.jit.rows import RowState
from accweight_core.metrics.sums import SUMS

Array = npt.NDArray[Any]

STEPS_BYTES = 8 << 20
"""Weights of so many steps are read before they are worked: more takes them out of the cache."""

KEPT_BYTES = 64 << 20
"""Room that is kept for the next block; what is walked as a whole may take any."""

Carry = tuple[Array, Array, Array]
"""Reference, previous value and cumulative change of a block, flat; NaN in the reference where
an element has never been finite. All that is needed to walk on from there."""

Read = Callable[[int, Array], None]
"""Called as ``read(step_index, out)``; fills `out` with the weights of the block, widened."""


class Room:
    """Memory of one thread for one block after the other.

    Fresh memory costs a page fault for every 4 KiB, more than the sums of what it holds.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, np.dtype[Any]], Array] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return room of that shape; the same name hands out the same memory."""
        elements, key = math.prod(shape), (name, np.dtype(dtype))
        if elements * key[1].itemsize > KEPT_BYTES:
            return np.empty(shape, dtype)
        if key not in self._buffers or self._buffers[key].size < elements:
            self._buffers[key] = np.empty(elements, dtype)
        return self._buffers[key][:elements].reshape(shape)


@dataclass
class _Piece:
    """Sub-blocks of one length: what they carry, and where they are.

    Attributes:
        at: First element of the block that is theirs.
        row: First sub-block of the block.
        state: What is carried.
        spare: Room for the next A_t; None of a large block, whose A_t is advanced where it is.
    """

    at: int
    row: int
    state: RowState
    spare: Array | None


def walk_steps(
    read: Read,
    steps: int,
    shapes: Sequence[tuple[int, int]],
    dtype: np.dtype[Any],
    room: Room,
    watcher: Watcher | None,
    carry: Carry | None,
    keep: Callable[[Carry], None] | None,
) -> Sums:
    """Walk pieces of those shapes, one behind the other, through all steps.

    Returns:
        (steps, rows of all pieces, len(SUMS)).
    """
    size = sum(rows * columns for rows, columns in shapes)
    values = np.empty((steps, sum(rows for rows, _ in shapes), len(SUMS)))
    is_large = size * 8 > KEPT_BYTES
    most = 1 if is_large else max(1, STEPS_BYTES // (max(size, 1) * dtype.itemsize))
    weights = room.take("steps", (1 + min(most, steps), size), dtype)
    planes = room.take("planes", (min(most, steps), size), np.float32) if watcher else None
    reference = room.take("reference", (size,), dtype)
    if carry is None:
        read(0, reference)
    else:
        reference[...] = carry[0]
    pieces = _pieces(reference, shapes, room, carry, values, is_large=is_large)
    weights[0] = reference if carry is None else carry[1]
    if planes is not None and watcher and carry is None:
        planes[0] = 0
        watcher(0, planes[0])
    first = 1 if carry is None else 0
    for begin in range(first, steps, most):
        count = min(most, steps - begin)
        for step in range(count):
            read(begin + step, weights[1 + step])
        for piece in pieces:
            rows = slice(piece.row, piece.row + len(piece.state.reference))
            values[begin : begin + count, rows] = _advanced(piece, weights[: 1 + count], planes)
        if planes is not None and watcher:
            for step in range(count):
                watcher(begin + step, planes[step])
        if is_large:
            weights = weights[::-1]  # the last step is the one before, from here on
        else:
            weights[0] = weights[count]
    if keep:
        keep(_carried(pieces))
    return values


def _advanced(piece: _Piece, weights: Array, planes: Array | None) -> Sums:
    """Advance a piece through steps; return (steps, rows, len(SUMS)).

    Args:
        piece: What it is.
        weights: (1 + steps, elements of the block), those of the step before first.
        planes: (at least steps, elements) float32, written: A_t; None if nobody wants to see it.
    """
    state, steps = piece.state, len(weights) - 1
    inside = slice(piece.at, piece.at + state.reference.size)
    part = weights[:, inside].reshape(1 + steps, *state.reference.shape)
    drawn = None
    if planes is not None:
        drawn = planes[:steps, inside].reshape(steps, *state.reference.shape)
    if piece.spare is not None:
        sums, piece.spare = advance(state, part, piece.spare, drawn)
        return sums.swapaxes(0, 1)
    state.previous = part[0]
    sums = measure_step(state, part[1])
    state.previous = part[1]
    if drawn is not None:
        drawn[0] = state.total
    return sums[None]


def _pieces(
    reference: Array,
    shapes: Sequence[tuple[int, int]],
    room: Room,
    carry: Carry | None,
    values: Sums,
    *,
    is_large: bool,
) -> list[_Piece]:
    """Begin, or go on where an earlier walk ended; writes the sums of the first step."""
    whole = room.take("total", reference.shape, np.float64)
    spares = None if is_large else room.take("spare", reference.shape, np.float64)
    found, at, row = [], 0, 0
    for rows, columns in shapes:
        inside = slice(at, at + rows * columns)
        start, total = (t[inside].reshape(rows, columns) for t in (reference, whole))
        spare = None if spares is None else spares[inside].reshape(rows, columns)
        if carry is None:
            state, sums = start_block(start, total)
            values[0, row : row + rows] = sums
        else:
            total[...] = carry[2][inside].reshape(rows, columns)
            state = _resumed(start, total)
        found.append(_Piece(at, row, state, spare))
        at, row = at + rows * columns, row + rows
    return found


def _resumed(reference: Array, total: Array) -> RowState:
    """Return the state of a piece where an earlier walk of its block ended."""
    unseen = np.isnan(reference)
    if not unseen.any():
        return RowState(reference, squares(reference), reference, total)
    reference[unseen] = 0
    return RowState(reference, squares(reference), reference, total, unseen)


def _carried(pieces: Sequence[_Piece]) -> Carry:
    """Return where the walk of a block has ended."""
    states = [piece.state for piece in pieces]
    references = [
        s.reference if s.unseen is None else np.where(s.unseen, np.nan, s.reference) for s in states
    ]
    parts = references, [s.previous for s in states], [s.total for s in states]
    reference, previous, total = (np.concatenate([a.reshape(-1) for a in part]) for part in parts)
    return reference, previous, total
