"""Compiled loops of streaming: bytes of several files through the fused step, strip by strip.

A strip is a number of whole rows such that the weights of sixteen checkpoints fit the L2 cache: it
is read, taken through all steps and drawn before the next one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from accweight_core.jit.kernel_pooling import gather_kernels
from accweight_core.jit.njit import compiled, compiled_within, inlined
from accweight_core.jit.operands import Path, Planes, Steps
from accweight_core.jit.order import LANES, LARGEST_SQUARE
from accweight_core.jit.pooling import Target, gather
from accweight_core.jit.simd import from_bfloat16, from_float16, load, store
from accweight_core.jit.step_loops import REFERENCE_SQUARE, SQUARE, copy, square_of, take_rows
from accweight_core.metrics.sums import SUMS

STRIP = 1 << 15
"""About so many weights are read per checkpoint at a time: for shorter reads the system call costs
more than the bytes. A sub-block has at most half of them."""

MOST_SUB_BLOCKS = 4
"""So many are read where three fit: rows of squares of a picture then end where a strip does."""

ROOM = STRIP * MOST_SUB_BLOCKS // 3 + 22
"""Weights that a buffer holds per checkpoint, a multiple of 64."""

STEPS = 16
"""Checkpoints read before their weights are processed: 2 MiB of float32."""

AS_STORED, BFLOAT16, FLOAT16, CODES = range(4)
"""How stored elements are converted to the dtype of the arithmetic."""

Array = npt.NDArray[Any]

_pread: Any = types.ExternalFunction(
    "pread", types.intp(types.intc, types.uintp, types.uintp, types.int64)
)


class Source(NamedTuple):
    """Where to read weights, and how to convert them.

    Attributes:
        descriptors: (steps,) file descriptors.
        offsets: (steps,) byte offsets of the first row.
        size_bytes: Bytes per stored element.
        form: How elements are stored.
        table: The value of each code.
        codes: Buffer for the stored bytes of a strip.
        halves: The same memory as uint16.
    """

    descriptors: Array
    offsets: Array
    size_bytes: int
    form: int
    table: Array
    codes: Array
    halves: Array


class Carried(NamedTuple):
    """State of rows from step to step.

    Attributes:
        columns: Elements per row.
        is_kept: Whether the state is used by further calls; if not, it has the size of a strip.
        weights: Weights of a strip at the step before and at `STEPS` steps.
        singles: The same memory as float32.
        reference: W_0, set by the first call.
        square: (rows,) sums of squares of W_0, set by the first call.
        previous: Weights of the last step, updated.
        total: A_t, updated.
    """

    columns: int
    is_kept: bool
    weights: Array
    singles: Array
    reference: Array
    square: Array
    previous: Array
    total: Array


class Drawn(NamedTuple):
    """Output buffers of a block: A_t itself, pooled, or empty for its pictures; the weights.

    Attributes:
        planes: (steps, elements) float32, A_t; only one strip of it if it is pooled.
        side: As in `Squares`; 0 if it is not pooled.
        height: As in `Squares`.
        width: As in `Squares`.
        inputs: Likewise.
        row_sums: (steps, `padded(width)`) float32, scratch; for kernels (steps, side / 4 x
            squares of an output).
        row_tops: Same shape, scratch.
        found: float32, flat: means and maxima of squares.
        mean_at: Index of the first mean in `found`.
        top_at: Index of the first maximum.
        stride: Elements from step to step in `found`.
        line: Elements from one row of squares to the next.
        seen: (steps, elements) the weights, of the dtype of the arithmetic; empty if nobody asks.
    """

    planes: Array
    side: int
    height: int
    width: int
    inputs: int
    row_sums: Array
    row_tops: Array
    found: Array
    mean_at: int
    top_at: int
    stride: int
    line: int
    seen: Array


class _Strip(NamedTuple):
    """A number of whole rows.

    Attributes:
        top: First row.
        rows: Number of rows.
        first: First element.
        elements: Number of elements.
        at: Offset of its state.
        element: Its first element, counted from the start of the block.
        is_short: Whether so few steps follow the reference that W_0 stays in the read buffer.
    """

    top: int
    rows: int
    first: int
    elements: int
    at: int
    element: int
    is_short: bool


class _Batch(NamedTuple):
    """Steps that are read together.

    Attributes:
        step: First step.
        many: Number of steps.
        slot: Slots of the buffer before them: 1 for the step before, 0 if the reference is first.
    """

    step: int
    many: int
    slot: int


def stream(
    source: Source, rows: Carried, drawn: Drawn, element: int, begins: bool, sums: Array
) -> bool:
    """Take rows through steps, strip by strip, until something unusual occurs.

    Args:
        source: Where to read.
        rows: State, updated.
        drawn: Pictures; output.
        element: First element of the rows in the block.
        begins: Whether the first step is the reference.
        sums: (rows, steps, sums); output.

    Returns:
        False after a non-finite or too large weight or a short read; outputs are then undefined.
    """
    return bool(_streamed(*source, *rows, *drawn, element, begins, sums))


@compiled
def _streamed(*flat: Any) -> Any:
    """Take the arguments one by one: named tuples cost Python six microseconds per call."""
    source, rows, drawn = Source(*flat[:7]), Carried(*flat[7:15]), Drawn(*flat[15:28])
    return _stream(source, rows, drawn, flat[28], flat[29], flat[30])


@inlined
def _stream(
    source: Source, rows: Carried, drawn: Drawn, element: int, begins: bool, sums: Array
) -> bool:
    """Do the same as `stream`."""
    height = STRIP // rows.columns
    height = MOST_SUB_BLOCKS if height == MOST_SUB_BLOCKS - 1 else height
    is_short = begins and len(source.descriptors) <= STEPS + 1 and not rows.is_kept
    for top in range(0, len(rows.square), height):
        many, first = min(height, len(rows.square) - top), top * rows.columns
        at = first if rows.is_kept else 0
        strip = _Strip(top, many, first, many * rows.columns, at, element + first, is_short)
        if not _stream_strip(source, rows, drawn, strip, begins, sums):
            return False
    return True


@inlined
def _stream_strip(
    source: Source, rows: Carried, drawn: Drawn, strip: _Strip, begins: bool, sums: Array
) -> bool:
    """Take one strip through all steps."""
    step, last = 0, len(source.descriptors)
    if begins:
        if not _begin(source, rows, strip, sums):
            return False
        if drawn.seen.shape[0]:
            _show(rows, drawn, strip, _Batch(0, 1, 0))
        step = 1
    else:
        copy(rows.previous, strip.at, rows.weights, 0, strip.elements)
    while step < last:
        batch = _Batch(step, min(STEPS, last - step), 1)
        if not _read(source, rows, strip, batch):
            return False
        if drawn.seen.shape[0]:
            _show(rows, drawn, strip, batch)
        if not _advance(rows, drawn, strip, batch, step > 1 or not begins, sums):
            return False
        if drawn.side:
            _pool(drawn, strip, batch)
        step += batch.many
        if step < last or rows.is_kept:
            copy(rows.weights, batch.many * ROOM, rows.weights, 0, strip.elements)
    if rows.is_kept:
        copy(rows.weights, 0, rows.previous, strip.at, strip.elements)
    return True


@inlined
def _begin(source: Source, rows: Carried, strip: _Strip, sums: Array) -> bool:
    """Read the reference; return whether all of it is valid."""
    if not _read(source, rows, strip, _Batch(0, 1, 0)):
        return False
    for number in range(strip.rows):
        row = strip.top + number
        square = square_of(rows.weights, number * rows.columns, rows.columns)
        rows.square[row] = sums[row, 0, SQUARE] = sums[row, 0, REFERENCE_SQUARE] = square
        if not square < LARGEST_SQUARE:
            return False
    if not strip.is_short:
        copy(rows.weights, 0, rows.reference, strip.at, strip.elements)
    return True


@inlined
def _advance(
    rows: Carried, drawn: Drawn, strip: _Strip, batch: _Batch, is_begun: bool, sums: Array
) -> bool:
    """Take the weights in the buffer through their steps; return whether all rows are valid."""
    below, w, stride = strip.at + strip.elements, rows.weights, drawn.planes.shape[1]
    w_0, total = w[: strip.elements], rows.total[strip.at : below]
    if not strip.is_short:
        w_0 = rows.reference[strip.at : below]
    square = rows.square[strip.top : strip.top + strip.rows]
    place = 0 if drawn.side else batch.step * stride + strip.element
    planes = Planes(drawn.planes.reshape(-1)[place:], stride)
    found, todo = np.empty((strip.rows, batch.many, len(SUMS))), np.ones(strip.rows, np.bool_)
    steps, path = Steps(w_0, square, w, w[ROOM:], ROOM), Path(total, total, is_begun)
    if take_rows(steps, path, planes, found, todo):
        return False
    for row in range(strip.rows):  # a slice assignment takes seconds to compile
        for t in range(batch.many):
            for column in range(found.shape[2]):
                sums[strip.top + row, batch.step + t, column] = found[row, t, column]
    return True


@compiled_within
def _show(rows: Carried, drawn: Drawn, strip: _Strip, batch: _Batch) -> None:
    """Copy the weights of a strip at several steps to where they are seen."""
    flat, stride = drawn.seen.reshape(-1), drawn.seen.shape[1]
    for t in range(batch.many):
        at = (batch.step + t) * stride + strip.element
        copy(rows.weights, (batch.slot + t) * ROOM, flat, at, strip.elements)


@inlined
def _pool(drawn: Drawn, strip: _Strip, batch: _Batch) -> None:
    """Pool A_t of the strip after each step."""
    flat, stride = drawn.planes.reshape(-1), drawn.planes.shape[1]
    for t in range(batch.many):
        at = batch.step + t
        target = Target(
            drawn.found, drawn.found, drawn.mean_at + at * drawn.stride,
            drawn.top_at + at * drawn.stride, drawn.line, True,
        )  # fmt: skip
        if drawn.inputs:
            gather_kernels(
                flat, t * stride, strip.elements, strip.element, drawn.inputs, drawn.width,
                drawn.side, drawn.row_sums[at], drawn.row_tops[at], target,
            )  # fmt: skip
            continue
        gather(
            flat, t * stride, strip.elements, strip.element, drawn.width, drawn.height, drawn.side,
            drawn.row_sums[at], drawn.row_tops[at], target,
        )  # fmt: skip


@compiled_within
def _read(source: Source, rows: Carried, strip: _Strip, batch: _Batch) -> bool:
    """Read and widen a strip at several steps; return whether all reads were complete."""
    size_bytes, weights = strip.elements * source.size_bytes, rows.weights.ctypes.data
    for t in range(batch.many):
        step, at = batch.step + t, (batch.slot + t) * ROOM
        descriptor = source.descriptors[step]
        offset = source.offsets[step] + strip.first * source.size_bytes
        is_narrow = source.form != AS_STORED
        place = source.codes.ctypes.data if is_narrow else weights + at * source.size_bytes
        done = 0
        while done < size_bytes:
            got = _pread(descriptor, place + done, size_bytes - done, offset + done)
            if got <= 0:
                return False
            done += got
        if is_narrow:
            _widen(source, rows.singles, at, strip.elements)
    return True


@compiled_within
def _widen(source: Source, out: Array, at: int, count: int) -> None:
    """Convert stored elements to float32.

    float16 is converted sixteen at a time; both buffers have padding for the last group.
    """
    if source.form == CODES:
        for i in range(count):
            out[at + i] = source.table[source.codes[i]]
    elif source.form == BFLOAT16:
        for i in range(0, count, LANES):
            store(out, at + i, from_bfloat16(load(source.halves, i)))
    else:
        for i in range(0, count, LANES):
            store(out, at + i, from_float16(load(source.halves, i)))
