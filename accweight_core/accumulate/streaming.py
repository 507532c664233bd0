"""Streaming: local files straight into the compiled loops, without the interpreter in between.

One call reads a few thousand weights of every checkpoint into memory that stays in the
second-level cache, takes them through all steps, and goes on to the next few thousand. Threads
do not meet at the lock of the interpreter, and of what is read nothing is written back. What
is out of the ordinary (a weight that is not finite, a file that ends early) ends the call: the
caller then walks the block step by step (`accumulate.stepwise`), with the same bits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from accweight_core.accumulate.watching import Squares
from accweight_core.dtypes import DTYPES
from accweight_core.io.reading import OpenFiles
from accweight_core.io.widening import values_of_codes
from accweight_core.jit.njit import compiled, compiled_in_place
from accweight_core.jit.order import LANES, LARGEST_SQUARE
from accweight_core.jit.pooling import gather, padded, widen_halves
from accweight_core.jit.simd import from_bfloat16, load, store
from accweight_core.jit.step_loops import (
    REFERENCE_SQUARE,
    SQUARE,
    advance_rows,
    copy,
    square_of,
)
from accweight_core.metrics.sums import SUMS
from accweight_core.schema import Extent, StoredTensor

STRIP = 1 << 15
"""Weights that are read of each checkpoint at a time: shorter reads cost more for the call than
for the bytes. No sub-block has more than half of them."""

STEPS = 16
"""Checkpoints that are read before their weights are worked: 2 MiB of float32."""

Array = npt.NDArray[Any]

Take = Callable[[str, int, npt.DTypeLike], Array]

_AS_STORED, _BFLOAT16, _FLOAT16, _CODES = range(4)

_pread: Any = types.ExternalFunction(
    "pread", types.intp(types.intc, types.uintp, types.uintp, types.int64)
)


@dataclass(frozen=True)
class Stream:
    """The same elements of several checkpoints, as files hold them.

    Attributes:
        paths: File of each checkpoint.
        offsets: Byte of each file at which the parameter begins.
        size_bytes: Bytes of an element.
        form: How elements are stored.
        table: What each code means, where a byte is a code.
        dtype: In which they are worked.
    """

    paths: tuple[str, ...]
    offsets: Array
    size_bytes: int
    form: int
    table: Array
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, tensors: Sequence[StoredTensor], dtype: np.dtype[Any]) -> Stream | None:
        """Return the stream of a parameter, None if its bytes have to be looked at one by one.

        Args:
            tensors: It in each checkpoint.
            dtype: In which it is worked.
        """
        extents = [tensor.values for tensor in tensors]
        stored = extents[0].dtype
        form = _form(stored, dtype)
        if form is None or not hasattr(os, "pread"):
            return None
        paths, offsets = [], []
        for extent in extents:
            if not isinstance(extent, Extent) or extent.strides is not None or extent.big_endian:
                return None
            if extent.dtype != stored or "://" in extent.path:
                return None
            paths.append(extent.path)
            offsets.append(extent.offset)
        table = values_of_codes(stored) if form == _CODES else _NO_TABLE
        size = DTYPES[stored].size_bytes
        return cls(tuple(paths), np.array(offsets, np.int64), size, form, table, dtype)

    def advance(
        self, files: OpenFiles, first: int, steps: range, rows: Rows, drawn: Drawn, at: int
    ) -> Array | None:
        """Take rows through some steps; the first step of all is the reference.

        Args:
            files: Where to read through.
            first: Element of the parameter at which the rows begin.
            steps: Which checkpoints, no more than may be open at a time.
            rows: What they carry.
            drawn: What is drawn of them.
            at: Element of the block at which they begin.

        Returns:
            (rows, steps, len(SUMS)), or None if a row or a file is out of the ordinary: neither
            what is carried nor what is drawn is worth anything then.
        """
        sums = np.zeros((len(rows.square), len(steps), len(SUMS)))
        descriptors = np.array([files.descriptor(self.paths[s]) for s in steps], np.int32)
        offsets = self.offsets[steps.start : steps.stop] + first * self.size_bytes
        done = _stream(
            descriptors, offsets, self.size_bytes, self.form, self.table, steps.start == 0,
            rows.columns, rows.is_kept, rows.weights, rows.raw, rows.reference, rows.square,
            rows.previous, rows.total, sums, *drawn, at,
        )  # fmt: skip
        return sums if done else None


_NO_TABLE = np.empty(0, np.float32)


def _form(stored: str, dtype: np.dtype[Any]) -> int | None:
    """Return how elements of a dtype are brought to the one they are worked in, if we can."""
    if dtype.name == stored and dtype.kind == "f":
        return _AS_STORED
    if dtype != np.float32:
        return None
    if stored in ("bfloat16", "float16"):
        return _BFLOAT16 if stored == "bfloat16" else _FLOAT16
    return _CODES if stored.startswith("float8") else None


class Rows:
    """What rows carry on their way through the checkpoints.

    Attributes:
        columns: Length of a row.
        is_kept: Whether it lasts for the next call; else there is room for a strip of it.
        weights: Those of a strip in the step before, and in `STEPS` steps.
        raw: Bytes of a strip as they are stored.
        reference: W_0.
        square: (rows,) sums of squares of it.
        previous: Weights of the last step.
        total: A_t.
    """

    def __init__(
        self, rows: int, columns: int, stream: Stream, take: Take, *, is_kept: bool
    ) -> None:
        """Begin.

        Args:
            rows: How many there are.
            columns: How long they are, not above a sub-block.
            stream: What they are rows of.
            take: Hands out memory by name, elements and dtype.
            is_kept: Whether they take several calls.
        """
        self.columns, self.is_kept = columns, is_kept
        kept = rows * columns if is_kept else min(STRIP, rows * columns)
        narrow = stream.form != _AS_STORED
        self.weights = take("weights", (STEPS + 1) * STRIP, stream.dtype)
        self.raw = take("raw", STRIP * stream.size_bytes if narrow else 0, np.uint8)
        self.reference = take("w_0", kept, stream.dtype)
        self.square = np.empty(rows)
        self.previous = take("w_1", kept if is_kept else 0, stream.dtype)
        self.total = take("a", kept, np.float64)


class Drawn(NamedTuple):
    """What is drawn of a block in some steps: A_t as it is, or pooled, or nothing.

    Attributes:
        planes: (steps, elements) float32, A_t as it is; one strip of it if it is pooled.
        side: As in `Squares`; 0 if it is not pooled.
        height: See there.
        width: See there.
        row_sums: (steps, `padded(width)`) float32, room.
        row_tops: Same shape, room.
        sums: (steps, height / side, width / side) float32, sums over squares, rounded up.
        tops: Same shape, maxima.
    """

    planes: Array
    side: int
    height: int
    width: int
    row_sums: Array
    row_tops: Array
    sums: Array
    tops: Array

    @classmethod
    def nothing(cls) -> Drawn:
        """Return that nothing is drawn."""
        return cls(np.empty((0, 0), np.float32), 0, 0, 0, *_no_squares())

    @classmethod
    def whole(cls, steps: int, elements: int, take: Take) -> Drawn:
        """Return room for A_t of every element."""
        planes = take("planes", steps * elements, np.float32)
        return cls(planes.reshape(steps, elements), 0, 0, 0, *_no_squares())

    @classmethod
    def pooled(cls, steps: int, squares: Squares, take: Take) -> Drawn:
        """Return room for squares."""
        side, height, width = squares
        strip = take("planes", STEPS * STRIP, np.float32).reshape(STEPS, STRIP)
        length = padded(width)
        rows = [take(f"rows {n}", steps * length, np.float32) for n in range(2)]
        for row in rows:
            row.fill(0)
        shape = steps, -(-height // side), -(-width // side)
        found = [take(f"squares {n}", math.prod(shape), np.float32) for n in range(2)]
        return cls(
            strip, side, height, width, *(r.reshape(steps, length) for r in rows),
            *(f.reshape(shape) for f in found),
        )  # fmt: skip


def _no_squares() -> tuple[Array, Array, Array, Array]:
    rows, squares = np.empty((0, 0), np.float32), np.empty((0, 0, 0), np.float32)
    return rows, rows, squares, squares


@compiled_in_place
def _read(descriptor: int, offset: int, address: int, size_bytes: int) -> bool:
    """Read bytes of a file to an address; tell whether all were there."""
    done = 0
    while done < size_bytes:
        got = _pread(descriptor, address + done, size_bytes - done, offset + done)
        if got <= 0:
            return False
        done += got
    return True


@compiled
def _fetch(
    descriptor: int,
    offset: int,
    size_bytes: int,
    form: int,
    table: Array,
    raw: Array,
    target: Array,
    at: int,
    count: int,
) -> bool:
    """Read weights into a place of `target`, widened; tell whether all were there."""
    if form == _AS_STORED:
        place = target.ctypes.data + at * size_bytes
        return bool(_read(descriptor, offset, place, count * size_bytes))
    if not _read(descriptor, offset, raw.ctypes.data, count * size_bytes):
        return False
    _widen(raw, form, table, target.view(np.float32), at, count)
    return True


@compiled_in_place
def _widen(raw: Array, form: int, table: Array, out: Array, at: int, count: int) -> None:
    """Bring elements as they are stored to float32."""
    if form == _CODES:
        for i in range(count):
            out[at + i] = table[raw[i]]
        return
    halves = raw.view(np.uint16)
    if form == _FLOAT16:
        widen_halves(halves, out, at, count)
        return
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(out, at + i, from_bfloat16(load(halves, i)))
    bits = out.view(np.uint32)
    for i in range(whole, count):
        bits[at + i] = np.uint32(halves[i]) << np.uint32(16)


@compiled
def _stream(
    descriptors: Array,
    offsets: Array,
    size_bytes: int,
    form: int,
    table: Array,
    begins: bool,
    columns: int,
    is_kept: bool,
    weights: Array,
    raw: Array,
    reference: Array,
    square: Array,
    previous: Array,
    total: Array,
    sums: Array,
    planes: Array,
    side: int,
    height: int,
    width: int,
    row_sums: Array,
    row_tops: Array,
    square_sums: Array,
    square_tops: Array,
    element: int,
) -> bool:
    """Take rows through steps, strip by strip, while all is well; see `Stream.advance`.

    Args:
        descriptors: (steps,) open files.
        offsets: (steps,) bytes at which the rows begin there.
        size_bytes: Bytes of an element there.
        form: How it is stored.
        table: What a code means.
        begins: Whether the first step is the reference.
        columns: As in `Rows`, like the next ones.
        is_kept: See there.
        weights: See there.
        raw: See there.
        reference: See there; written if this begins.
        square: See there; likewise.
        previous: See there; advanced.
        total: See there; advanced.
        sums: (rows, steps, sums), written.
        planes: As in `Drawn`, like the next ones.
        side: See there.
        height: See there.
        width: See there.
        row_sums: See there.
        row_tops: See there.
        square_sums: See there.
        square_tops: See there.
        element: Element of the block at which the rows begin.
    """
    rows, strip, last = len(square), STRIP // columns, len(descriptors)
    flat, stride = planes.reshape(-1), planes.shape[1]
    todo = np.empty(strip, np.bool_)
    is_short = begins and last <= STEPS + 1 and not is_kept  # then W_0 may stay where it is read
    for top in range(0, rows, strip):
        below = min(top + strip, rows)
        count, first = (below - top) * columns, top * columns
        own, step = first if is_kept else 0, 0
        home, at = (weights, 0) if is_short else (reference, own)
        w_0, a = home[at : at + count], total[own : own + count]
        if begins:
            where = offsets[0] + first * size_bytes
            if not _fetch(descriptors[0], where, size_bytes, form, table, raw, home, at, count):
                return False
            for row in range(top, below):
                square[row] = square_of(w_0, (row - top) * columns, columns)
                sums[row, 0, SQUARE] = sums[row, 0, REFERENCE_SQUARE] = square[row]
                if not square[row] < LARGEST_SQUARE:
                    return False
            if not is_short:
                copy(w_0, 0, weights, 0, count)
            step = 1
        else:
            copy(previous, own, weights, 0, count)
        while step < last:
            many = min(STEPS, last - step)
            for t in range(many):
                where = offsets[step + t] + first * size_bytes
                if not _fetch(
                    descriptors[step + t], where, size_bytes, form, table, raw,
                    weights, (t + 1) * STRIP, count,
                ):  # fmt: skip
                    return False
            found = np.empty((below - top, many, len(SUMS)))
            todo[:] = True
            place = 0 if side else step * stride + element + first
            if advance_rows(
                w_0, square[top:below], weights, weights[STRIP:], STRIP, a, a,
                step > 1 or not begins, flat[place:], stride, found, todo,
            ):  # fmt: skip
                return False
            for row in range(below - top):  # an assignment of slices takes seconds to compile
                for t in range(many):
                    for column in range(found.shape[2]):
                        sums[top + row, step + t, column] = found[row, t, column]
            for t in range(many if side else 0):
                gather(
                    flat, t * stride, count, element + first, width, height, side,
                    row_sums[step + t], row_tops[step + t],
                    square_sums[step + t], square_tops[step + t],
                )  # fmt: skip
            step += many
            if step < last or is_kept:
                copy(weights, many * STRIP, weights, 0, count)
        if is_kept:
            copy(weights, 0, previous, own, count)
    return True
