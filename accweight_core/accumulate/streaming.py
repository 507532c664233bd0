"""Streaming: local files are read and summed inside one compiled call.

One call reads a few thousand weights of every checkpoint into a buffer that stays in the L2 cache,
takes them through all steps, and goes on to the next few thousand. It holds no interpreter lock,
so threads run in parallel, and the weights are never written back to memory. A non-finite weight
or a truncated file ends the call; the caller then walks the block step by step
(`accumulate.stepwise`), with the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.accumulate.watching import Room, Squares
from accweight_core.dtypes import DTYPES
from accweight_core.io.reading import OpenFiles
from accweight_core.io.widening import values_of_codes
from accweight_core.jit.pooling import padded
from accweight_core.jit.stream_loops import (
    AS_STORED,
    BFLOAT16,
    CODES,
    FLOAT16,
    ROOM,
    STEPS,
    Carried,
    Drawn,
    Source,
    stream,
)
from accweight_core.metrics.sums import SUMS
from accweight_core.schema import Extent, StoredTensor

Array = npt.NDArray[Any]

Take = Callable[[str, int, npt.DTypeLike], Array]


@dataclass(frozen=True)
class Stream:
    """A parameter as raw bytes in the files of several checkpoints.

    Attributes:
        paths: File of each checkpoint.
        offsets: Byte offset of the parameter in each file.
        size_bytes: Bytes per element.
        form: How elements are stored.
        table: The value of each code, if elements are one-byte codes.
        dtype: Dtype of the arithmetic.
    """

    paths: tuple[str, ...]
    offsets: Array
    size_bytes: int
    form: int
    table: Array
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, tensors: Sequence[StoredTensor], dtype: np.dtype[Any]) -> Stream | None:
        """Return the stream of a parameter, or None if it cannot be read as raw bytes.

        Args:
            tensors: The parameter in each checkpoint.
            dtype: Dtype of the arithmetic.
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
        table = values_of_codes(stored) if form == CODES else _NO_TABLE
        size = DTYPES[stored].size_bytes
        return cls(tuple(paths), np.array(offsets, np.int64), size, form, table, dtype)

    def advance(
        self, files: OpenFiles, first: int, steps: range, rows: Rows, drawn: Drawn, at: int
    ) -> Array | None:
        """Take rows through several steps; the very first step is the reference.

        Args:
            files: Open files to read through.
            first: First element of the rows in the parameter.
            steps: Checkpoints to read; all of them must fit into the open files.
            rows: State carried from step to step.
            drawn: Buffers for pictures.
            at: First element of the rows in the block.

        Returns:
            (rows, steps, len(SUMS)), or None after a non-finite weight or a short read; the
            contents of `rows` and `drawn` are then undefined.
        """
        source = Source(
            np.array([files.descriptor(self.paths[s]) for s in steps], np.int32),
            self.offsets[steps.start : steps.stop] + first * self.size_bytes,
            self.size_bytes, self.form, self.table, rows.stored, rows.stored.view(np.uint16),
        )  # fmt: skip
        sums = np.zeros((len(rows.carried.square), len(steps), len(SUMS)))
        is_done = stream(source, rows.carried, drawn, at, steps.start == 0, sums)
        return sums if is_done else None


_NO_TABLE = np.empty(0, np.float32)


def _form(stored: str, dtype: np.dtype[Any]) -> int | None:
    """Return how to convert a stored dtype to the dtype of the arithmetic, or None."""
    if dtype.name == stored and dtype.kind == "f":
        return AS_STORED
    if dtype != np.float32:
        return None
    if stored in ("bfloat16", "float16"):
        return BFLOAT16 if stored == "bfloat16" else FLOAT16
    return CODES if stored.startswith("float8") else None


class Rows:
    """State of some rows between calls.

    Attributes:
        carried: Reference, previous weights and A_t.
        stored: Buffer for the raw bytes of a strip, where they must be converted.
    """

    def __init__(
        self, rows: int, columns: int, stream: Stream, take: Take, *, is_kept: bool
    ) -> None:
        """Allocate the state.

        Args:
            rows: Number of rows.
            columns: Elements per row, at most a sub-block.
            stream: The stream that the rows belong to.
            take: Returns a buffer by name, number of elements and dtype.
            is_kept: Whether the rows are advanced in several calls.
        """
        kept = rows * columns if is_kept else min(ROOM, rows * columns)
        is_narrow = stream.form != AS_STORED
        weights = take("weights", (STEPS + 1) * ROOM, stream.dtype)
        self.stored = take("stored", ROOM * stream.size_bytes if is_narrow else 0, np.uint8)
        self.carried = Carried(
            columns, is_kept, weights, weights.view(np.float32),
            reference=take("w_0", kept, stream.dtype),
            square=np.empty(rows),
            previous=take("w_1", kept if is_kept else 0, stream.dtype),
            total=take("a", kept, np.float64),
        )  # fmt: skip


def nothing(seen: Array) -> Drawn:
    """Return empty buffers: nothing is drawn.

    Args:
        seen: (steps, elements) for the weights, or empty; as below.
    """
    return Drawn(np.empty((0, 0), np.float32), 0, 0, 0, 0, *_no_squares(), seen)


def whole(steps: int, elements: int, take: Take, seen: Array) -> Drawn:
    """Return a buffer for A_t of every element."""
    planes = take("planes", steps * elements, np.float32)
    return Drawn(planes.reshape(steps, elements), 0, 0, 0, 0, *_no_squares(), seen)


def pooled(steps: int, squares: Squares, take: Take, seen: Array) -> tuple[Drawn, Room]:
    """Return buffers for A_t pooled over squares, and where the squares are found.

    Args:
        steps: Steps that are taken at a time.
        squares: The squares; those without a room of their own get one for so many steps.
        take: Returns a buffer by name, number of elements and dtype.
        seen: (steps, elements) for the weights, or empty.
    """
    side, height, width, counts, room, inputs = squares
    strip = take("planes", STEPS * ROOM, np.float32).reshape(STEPS, ROOM)
    length = side // 4 * len(counts) if inputs else padded(width)
    sums, tops = (
        take(f"rows {n}", steps * length, np.float32).reshape(steps, length) for n in range(2)
    )
    sums.fill(0)
    tops.fill(0)
    if room is None:
        found = take("squares", 2 * steps * counts.size, np.float32)
        room = Room(found, *found.reshape(2, steps, *counts.shape))
    mean_at, top_at = (
        (part.ctypes.data - room.memory.ctypes.data) // part.itemsize
        for part in (room.means, room.tops)
    )
    stride, line, _ = (step // room.means.itemsize for step in room.means.strides)
    drawn = Drawn(
        strip,
        side,
        height,
        width,
        inputs,
        sums,
        tops,
        room.memory,
        mean_at,
        top_at,
        stride,
        line,
        seen,
    )
    return drawn, room


def _no_squares() -> tuple[Array, Array, Array, int, int, int, int]:
    rows, flat = np.empty((0, 0), np.float32), np.empty(0, np.float32)
    return rows, rows, flat, 0, 0, 0, 0
