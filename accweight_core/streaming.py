"""Streaming: local files straight into the compiled loops, without the interpreter in between.

One call reads a few thousand weights of every checkpoint into memory that stays in the
second-level cache, takes them through all steps, and goes on to the next few thousand. Threads
do not meet at the lock of the interpreter, and of what is read nothing is written back. Rows
that are out of the ordinary (a weight that is not finite, a file that ends early) are left to
the caller, who does them patiently, with the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import types
from torch import Tensor

from accweight_core.compiled import compiled, compiled_in_place
from accweight_core.dtypes import DTYPES
from accweight_core.fused import (
    LARGEST_SQUARE,
    REFERENCE_SQUARE,
    SQUARE,
    advance_rows,
    copy,
    square_of,
)
from accweight_core.kernels import SUMS
from accweight_core.lanes import LANES, from_bfloat16, load, store
from accweight_core.reading import OpenFiles, values_of_codes
from accweight_core.schema import Extent, StoredTensor

STRIP = 1 << 14
"""Weights that are read of each checkpoint at a time; no sub-block has more."""

STEPS = 8
"""Checkpoints that are read before their weights are worked: 576 KiB of float32."""

Array = npt.NDArray[Any]

Take = Callable[[str, int, torch.dtype], Tensor]

_AS_STORED, _BFLOAT16, _CODES = range(3)

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
    dtype: torch.dtype

    @classmethod
    def of(cls, tensors: Sequence[StoredTensor], dtype: torch.dtype) -> Stream | None:
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
        table = values_of_codes(getattr(torch, stored)) if form == _CODES else _NO_TABLE
        size = DTYPES[stored].size_bytes
        return cls(tuple(paths), np.array(offsets, np.int64), size, form, table, dtype)

    def advance(
        self, files: OpenFiles, first: int, steps: range, state: Streamed, planes: Array, at: int
    ) -> Array:
        """Take rows through some steps; the first step of all is the reference.

        Args:
            files: Where to read through.
            first: Element of the parameter at which the rows begin.
            steps: Which checkpoints, no more than may be open at a time.
            state: The rows; those that could not be done are `odd` afterwards.
            planes: (steps, elements of a block) float32, A_t after every step, written; or no
                step.
            at: Element of the block at which the rows begin.

        Returns:
            (rows, steps, len(SUMS)); undefined for rows that are odd.
        """
        sums = np.zeros((len(state.odd), len(steps), len(SUMS)))
        descriptors = np.array([files.descriptor(self.paths[s]) for s in steps], np.int32)
        offsets = self.offsets[steps.start : steps.stop] + first * self.size_bytes
        _stream(
            descriptors, offsets, self.size_bytes, self.form, self.table, steps.start == 0,
            state.columns, state.is_kept, state.weights, state.raw, state.reference, state.square,
            state.previous, state.total, planes.reshape(-1)[at:], planes.shape[-1], sums,
            state.odd,
        )  # fmt: skip
        return sums


_NO_TABLE = np.empty(0, np.float32)


def _form(stored: str, dtype: torch.dtype) -> int | None:
    """Return how elements of a dtype are brought to the one they are worked in, if we can."""
    if getattr(torch, stored, None) == dtype and not dtype.is_complex:
        return _AS_STORED
    if dtype != torch.float32:
        return None
    if stored == "bfloat16":
        return _BFLOAT16
    return _CODES if stored.startswith("float8") else None


class Streamed:
    """Rows on their way through the checkpoints.

    Attributes:
        columns: Length of a row.
        is_kept: Whether what is carried lasts for the next call; else there is a strip of it.
        odd: (rows,) which ones are left to the caller.
        square: (rows,) sums of squares of the reference.
        weights: Those of a strip in the step before, and in `STEPS` steps.
        raw: Bytes of a strip as they are stored.
        reference: W_0.
        previous: Weights of the last step.
        total: A_t.
    """

    def __init__(self, rows: int, columns: int, *, is_kept: bool, stream: Stream, take: Take):
        """Begin.

        Args:
            rows: How many there are.
            columns: How long they are, not above `STRIP`.
            is_kept: Whether they take several calls.
            stream: What they are rows of.
            take: Hands out memory by name, elements and dtype.
        """
        self.columns, self.is_kept = columns, is_kept
        self.odd, self.square = np.zeros(rows, np.bool_), np.empty(rows)
        strip = STRIP // columns * columns
        kept = rows * columns if is_kept else min(strip, rows * columns)
        self.weights = take("strip", (STEPS + 1) * STRIP, stream.dtype).numpy()
        narrow = stream.form != _AS_STORED
        self.raw = take("raw", STRIP * stream.size_bytes if narrow else 0, torch.uint8).numpy()
        self.reference = take("w_0", kept, stream.dtype).numpy()
        self.previous = take("w_1", kept if is_kept else 0, stream.dtype).numpy()
        self.total = take("a", kept, torch.float64).numpy()


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


@compiled_in_place
def _widen(raw: Array, form: int, table: Array, out: Array, at: int, count: int) -> None:
    """Bring elements as they are stored to float32."""
    if form == _CODES:
        for i in range(count):
            out[at + i] = table[raw[i]]
        return
    halves = raw.view(np.uint16)
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
    planes: Array,
    plane_stride: int,
    sums: Array,
    odd: Array,
) -> None:
    """Take rows through steps, strip by strip; see `Stream.advance` and `Streamed`.

    Args:
        descriptors: (steps,) open files.
        offsets: (steps,) bytes at which the rows begin there.
        size_bytes: Bytes of an element there.
        form: How it is stored.
        table: What a code means.
        begins: Whether the first step is the reference.
        columns: Length of a row.
        is_kept: Whether what is carried is kept.
        weights: Room for a strip in several steps.
        raw: Room for a strip as it is stored.
        reference: W_0, written if this begins.
        square: (rows,) likewise.
        previous: Weights of the last step, advanced.
        total: A_t, advanced.
        planes: A_t after every step, flat, written; or nothing.
        plane_stride: Elements from step to step in that.
        sums: (rows, steps, sums), written.
        odd: (rows,) rows that are passed over; those that cannot be done here are added.
    """
    rows, strip = len(odd), STRIP // columns
    todo = np.empty(strip, np.bool_)
    for top in range(0, rows, strip):
        height = min(strip, rows - top)
        count, first = height * columns, top * columns
        own, step, sound = first if is_kept else 0, 0, True
        w_0, a = reference[own : own + count], total[own : own + count]
        while step < len(descriptors) and sound:
            many = min(STEPS, len(descriptors) - step)
            if step == 0 and begins:
                many = 1
            elif step == 0:
                copy(previous, own, weights, 0, count)
            for t in range(many):
                target, at = (w_0, 0) if step == 0 and begins else (weights, (t + 1) * STRIP)
                address = raw.ctypes.data
                if form == _AS_STORED:
                    address = target.ctypes.data + at * size_bytes
                where = offsets[step + t] + first * size_bytes
                sound &= _read(descriptors[step + t], where, address, count * size_bytes)
                if form != _AS_STORED:
                    _widen(raw, form, table, target.view(np.float32), at, count)
            if not sound:
                odd[top : top + height] = True
            elif step == 0 and begins:
                copy(w_0, 0, weights, 0, count)
                for row in range(height):
                    size = square_of(w_0, row * columns, columns)
                    square[top + row] = size
                    sums[top + row, 0, SQUARE] = sums[top + row, 0, REFERENCE_SQUARE] = size
                    odd[top + row] |= not size < LARGEST_SQUARE
                a[:] = 0
            else:
                for row in range(height):
                    todo[row] = not odd[top + row]
                found = np.empty((height, many, len(SUMS)))
                advance_rows(
                    w_0, square[top : top + height], weights, weights[STRIP:], STRIP, a, a,
                    planes[step * plane_stride + first :], plane_stride, found, todo[:height],
                )  # fmt: skip
                for row in range(height):
                    odd[top + row] |= todo[row]
                    sums[top + row, step : step + many] = found[row]
                copy(weights, many * STRIP, weights, 0, count)
            step += many
        if is_kept:
            copy(weights, 0, previous, own, count)
