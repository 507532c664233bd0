"""Describe MAT-files of MATLAB: arrays by name, those in structures and cells by path.

Uncompressed arrays are byte ranges, with the first axis contiguous; compressed ones, and those
stored as smaller numbers, are loaded when they are read. Files of version 7.3 are HDF5; see
`hdf5_arrays`.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.source import FilePart
from accweight_adapters.matlab.elements import (
    COMPRESSED,
    HEADER_BYTES,
    MATRIX,
    Array,
    Elements,
    Order,
    Source,
    Tag,
    axes_of,
)
from accweight_adapters.matlab.hdf5_arrays import described_hdf5, is_hdf5
from accweight_adapters.measures import measures_in
from accweight_adapters.untrusted import (
    STEP_KEYS,
    ClaimError,
    check_not_empty,
    check_reach,
    checked_name,
    claims_of,
    quoted,
    refused,
    step_among,
)
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Description, Extent, HiddenValues, StoredTensor

FORMAT: Final = "MATLAB"
MAGIC = re.compile(rb"MATLAB [57]\.\d MAT-file")
ORDERS: Final[dict[bytes, Order]] = {b"IM": "little", b"MI": "big"}
MOST_RATIO: Final = 1040
"""Highest ratio of deflate, with some room."""

PIECE_BYTES: Final = 1 << 16
KEPT_BYTES: Final = 1 << 17
"""Most inflated bytes that are kept, as tags are read twice."""


def recognised(path: Path) -> bool:
    """Tell whether `path` has the header of a MAT-file of version 5 to 7."""
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
            return MAGIC.match(head) is not None and (_version(head) == 1 or is_hdf5(file))
    except OSError:
        return False


def _version(head: bytes) -> int:
    """Return the version of the format; 1 is that of MATLAB 5 to 7, 0 none."""
    order = ORDERS.get(head[126:128])
    return int.from_bytes(head[124:126], order) >> 8 if order else 0


def described(path: Path) -> Description:
    """Describe the arrays in `path`, also those in structures and cells.

    Raises:
        FormatError: If the file is damaged or inconsistent, or holds no numbers.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        check_not_empty(path.stat().st_size)
        return described_hdf5(path) if is_hdf5(file) else _described(path, file)


@dataclass(frozen=True, slots=True)
class Home:
    """Where an array lies: in the file, or in a compressed range of it."""

    path: Path
    order: Order
    packed: tuple[int, int] | None = None


class Inflated:
    """A compressed range of a file, read forwards; what was read last is kept."""

    def __init__(self, file: IO[bytes], start: int, stop: int) -> None:
        self._file = file
        self._next, self._stop = start, stop
        self._most = MOST_RATIO * (stop - start)
        self._stream = zlib.decompressobj()
        self._kept = b""
        self._base = 0

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`, which may be a little before those read last."""
        check_reach(offset, count, self._most)
        if offset < self._base:
            raise ClaimError("damaged: a compressed array leads backwards")
        while self._base + len(self._kept) < offset + count:
            piece = self._piece()
            if not piece:
                raise ClaimError("a compressed array is cut short")
            self._kept += piece
            spare = min(len(self._kept), max(0, offset - self._base)) - KEPT_BYTES
            if spare > 0:
                self._kept, self._base = self._kept[spare:], self._base + spare
        first = offset - self._base
        return self._kept[first : first + count]

    def _piece(self) -> bytes:
        while not self._stream.eof:
            stored = self._stream.unconsumed_tail
            if not stored:
                self._file.seek(self._next)
                stored = self._file.read(min(PIECE_BYTES, self._stop - self._next))
                self._next += len(stored)
            try:
                piece = self._stream.decompress(stored, PIECE_BYTES)
            except zlib.error as error:
                raise ClaimError(f"a compressed array is damaged ({error})") from None
            if piece or not stored:
                return piece
        return b""


def _described(path: Path, file: IO[bytes]) -> Description:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(HEADER_BYTES)
    if not MAGIC.match(head) or _version(head) != 1:
        raise ClaimError("not a MAT-file of version 5 to 7.3; save it with save(NAME, '-v7')")
    order = ORDERS[head[126:128]]
    found = list(_arrays(path, file, size, order))
    numbers = {a.name: _number(a, home) for a, home in found if math.prod(a.shape) == 1}
    step, key = step_among(numbers) or (None, "")
    measures = measures_in({n: v for n, v in numbers.items() if n != key})
    beside = {*measures, *(numbers.keys() & {*STEP_KEYS})}
    kept = [(array, home) for array, home in found if array.name not in beside]
    if not kept:
        raise ClaimError("holds no arrays of numbers")
    names = [array.name for array, _ in kept]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ClaimError(f"holds two arrays that are called {quoted(twice)}")
    return Description(
        format=f"{FORMAT}, compressed" if any(home.packed for _, home in kept) else FORMAT,
        tensors=tuple(_stored(array, home) for array, home in kept),
        step=step,
        step_key=key,
        files=(str(path),),
        measures=measures,
    )


def _arrays(path: Path, file: IO[bytes], size: int, order: Order) -> Iterator[tuple[Array, Home]]:
    plain = Elements(FilePart(file, 0, size), order)
    place = HEADER_BYTES
    while place < size:
        tag = plain.tag(place, size)
        if tag.kind == MATRIX:
            for array in plain.arrays(tag, ""):
                yield array, Home(path, order)
        elif tag.kind == COMPRESSED:
            source = Inflated(file, tag.start, tag.stop)
            inside = Elements(source, order, plain.left)
            for array in inside.arrays(_inner(inside, tag), ""):
                yield array, Home(path, order, (tag.start, tag.stop))
            plain.left = inside.left
        place = tag.end


def _inner(inside: Elements, tag: Tag) -> Tag:
    """Return the one element in a compressed one, whose end is a claim as well."""
    return inside.tag(0, MOST_RATIO * (tag.stop - tag.start))


# ---------------------------------------------------------------- values


def _stored(array: Array, home: Home) -> StoredTensor:
    name = checked_name(array.name)
    shape = axes_of(name, array.shape)
    if array.problem:
        return refused(name, array.dtype, shape, array.problem)
    is_plain = home.packed is None and array.stored == array.dtype
    if not is_plain:
        load = partial(_loaded, array, home)
        return StoredTensor(name, HiddenValues(load, array.dtype, shape))
    strides = tuple(math.prod(shape[:axis]) for axis in range(len(shape)))
    extent = Extent(
        str(home.path),
        array.offset,
        array.dtype,
        shape,
        strides if len(shape) > 1 else None,
        home.order == "big",
    )
    return StoredTensor(name, extent)


def _loaded(array: Array, home: Home) -> npt.NDArray[Any]:
    """Return the values of an array that is not a byte range.

    Raises:
        FormatError: If they are damaged, or have changed since they were described.
    """
    dtype = np.dtype(array.stored).newbyteorder(">" if home.order == "big" else "<")
    size = math.prod(array.shape) * dtype.itemsize
    with claims_of(home.path, FORMAT), home.path.open("rb") as file:
        raw = bytearray()
        source: Source = (
            Inflated(file, *home.packed)
            if home.packed
            else FilePart(file, 0, file.seek(0, io.SEEK_END))
        )
        while len(raw) < size:
            count = min(PIECE_BYTES, size - len(raw))
            raw += source.read(array.offset + len(raw), count)
        values = np.frombuffer(raw, dtype).reshape(array.shape, order="F")
    return values.astype(array.dtype).reshape(axes_of(array.name, array.shape), order="F")


def _number(array: Array, home: Home) -> Any:
    """Return the value of a single number, or None if it cannot be read."""
    if array.problem or DTYPES[array.dtype].family not in ("float", "integer"):
        return None
    return _loaded(array, home).item()
