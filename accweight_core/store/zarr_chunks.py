"""Read and write uncompressed Zarr v3 arrays as plain files.

An uncompressed array is one small JSON file, and one file of raw numbers per chunk. Written
directly, a chunk costs one system call; through zarr's asynchronous store it costs milliseconds,
and thousands of small pictures take minutes (measured, 900 small parameters: 22 s through zarr,
3.4 s directly). So zarr need not be installed; it is used only for arrays that other programs have
stored differently, compressed for example.
All chunks of an array are in one folder, because folders cost as much as files.
"""

from __future__ import annotations

import math
import mmap
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.errors import StoreError
from accweight_core.store.array_document import ArrayDocument, array_metadata, encoded_metadata
from accweight_core.store.array_part import (
    Index,
    chunks_of,
    is_contiguous,
    on_all_axes,
    overlap,
    positions,
)
from accweight_core.store.documents import METADATA, checked, read
from accweight_core.store.files import (
    PARTIAL,
    Write,
    open_to_read,
    open_to_write,
    write_all,
    write_whole,
)
from accweight_core.store.foreign_array import ForeignArray
from accweight_core.store.groups import encoded

LARGE_BYTES = 1 << 28
"""A part of an array with more bytes is read only if at least half of them exist on disk."""

MOST_CHUNKS = 4096
"""If a part needs more chunks, the folder is listed instead of trying to open each."""


def open_array(path: Path) -> ChunkedArray | ForeignArray:
    """Return the array in a folder.

    Raises:
        MissingLibraryError: If reading it needs zarr, which is not installed.
        FileNotFoundError: If it does not exist.
        StoreError: If it cannot be read.
        ValueError: If it is not an array, or damaged.
    """
    found = read(path / METADATA)
    document = checked(found, ArrayDocument)
    array = ChunkedArray.described(path, found, document)
    return ForeignArray.open(path, found, document.chunk) if array is None else array


@dataclass(frozen=True)
class ChunkedArray:
    """An uncompressed array on disk, written in whole chunks and readable in any part.

    Attributes:
        path: Folder of the array.
        shape: Shape of the array.
        chunk: Chunk shape; chunks at the far edges are padded beyond the array.
        dtype: "float32" or "float64", whose missing elements are NaN; or "uint8", of pictures of
            probes, whose missing elements are 0.
        attributes: Attributes found in the metadata; not written again.
        is_complete: Whether every chunk has been written, so that a missing one was lost.
    """

    path: Path
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: str = "float32"
    attributes: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    is_complete: bool = field(default=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> ChunkedArray | None:
        """Return the array in a folder, None if it needs zarr.

        Raises:
            OSError: If its metadata cannot be read.
        """
        try:
            found = read(path / METADATA)
            return cls.described(path, found, checked(found, ArrayDocument))
        except ValueError:
            return None

    @classmethod
    def described(cls, path: Path, found: Any, document: ArrayDocument) -> ChunkedArray | None:
        """Return the array that metadata describe, None if it needs zarr."""
        shape, chunk, dtype = document.shape, document.chunk, document.data_type
        array = cls(path, shape, chunk, dtype, document.attributes)
        known = dtype in ("float32", "float64", "uint8") and 0 < len(shape) == len(chunk)
        return array if known and {**found, "attributes": {}} == array._metadata() else None

    def create(
        self, write: Write = write_whole, attributes: Mapping[str, Any] | None = None
    ) -> ChunkedArray:
        """Write the metadata of the array, and return the array."""
        os.makedirs(self.path, exist_ok=True)
        if attributes:
            metadata = encoded({**self._metadata(), "attributes": attributes})
        else:
            metadata = encoded_metadata(self.shape, self.chunk, self.dtype)
        write(self.path / METADATA, metadata)
        return self

    def _metadata(self) -> dict[str, Any]:
        return array_metadata(self.shape, self.chunk, self.dtype)

    @property
    def _missing(self) -> float:
        """Value of elements that are not written."""
        return 0 if self.dtype == "uint8" else math.nan

    def _stored_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype).newbyteorder("<")

    def holds(self, start: Sequence[int]) -> bool:
        """Tell whether the chunk that starts at an index has been written."""
        place = [first // length for first, length in zip(start, self.chunk, strict=True)]
        return self._file(place).exists()

    def _file(self, place: Sequence[int]) -> Path:
        return self.path / ".".join(["c", *map(str, place)])

    def write(
        self,
        start: Sequence[int],
        values: npt.NDArray[Any],
        write: Write = write_whole,
    ) -> None:
        """Write one chunk.

        Args:
            start: Index of the first element of the chunk, a multiple of the chunk shape.
            values: The chunk, clipped at the end of the array.
            write: Function that writes the file.
        """
        if values.size == 0:
            return
        place = [first // length for first, length in zip(start, self.chunk, strict=True)]
        whole = values.astype(self._stored_dtype(), copy=False)
        if whole.shape != self.chunk:
            padding = [(0, full - got) for full, got in zip(self.chunk, whole.shape, strict=True)]
            whole = np.pad(whole, padding, constant_values=self._missing)
        write(self._file(place), np.ascontiguousarray(whole).data)

    def write_rows(
        self, blocks: Iterable[npt.NDArray[np.floating[Any]]], *, replace: bool = False
    ) -> None:
        """Write the only chunk of an array, block by block.

        Args:
            blocks: Consecutive parts of the array along its first axis.
            replace: Whether to write beside the chunk that is there and rename.
        """
        path = self._file([0] * len(self.shape))
        target = path.with_name(path.name + PARTIAL) if replace else path
        with open_to_write(target) as file:
            for block in blocks:
                if block.size:
                    write_all(file, np.ascontiguousarray(block, self._stored_dtype()).data)
        if replace:
            os.replace(target, path)

    def write_part(self, start: int, values: npt.NDArray[np.floating[Any]]) -> None:
        """Write consecutive elements of a one-dimensional array; see `write_parts`."""
        self.write_parts([(start, values)])

    def write_parts(self, parts: Iterable[tuple[int, npt.NDArray[np.floating[Any]]]]) -> None:
        """Write elements of a one-dimensional array into its chunks, in place.

        Several threads may write different elements. Elements that are never written are
        undefined; the padding behind the end of the array is NaN.

        Args:
            parts: Consecutive elements each, with the position of the first one.
        """
        (chunk,), by_chunk = self.chunk, defaultdict[int, list[tuple[int, npt.NDArray[Any]]]](list)
        for start, values in parts:
            stored = values.astype(self._stored_dtype(), copy=False)
            while len(stored):
                place, at = divmod(start, chunk)
                part, stored = stored[: chunk - at], stored[chunk - at :]
                start += len(part)
                by_chunk[place].append((at, part))
        for place, inside in by_chunk.items():
            self._write_into(place, inside)

    def _write_into(self, place: int, parts: Iterable[tuple[int, npt.NDArray[Any]]]) -> None:
        """Write elements at some positions of a chunk, which is made if it is not there."""
        dtype, (chunk,) = self._stored_dtype(), self.chunk
        with open_to_write(self._file([place]), whole=False) as file:
            if os.fstat(file.fileno()).st_size < chunk * dtype.itemsize:
                claimed = min(chunk, self.shape[0] - place * chunk)
                file.seek(claimed * dtype.itemsize)
                file.write(np.full(chunk - claimed, np.nan, dtype).data)
                file.truncate(chunk * dtype.itemsize)
            for at, values in parts:
                file.seek(at * dtype.itemsize)
                write_all(file, np.ascontiguousarray(values).data)

    def __getitem__(self, index: Index, /) -> npt.NDArray[Any]:
        """Return a part of the array as a copy, indexed as in NumPy.

        Only the chunks that overlap the part are opened, and only the bytes of the part are read.
        Elements of chunks that are not yet written are NaN.

        Args:
            index: Positions, and slices of step 1, along the first axes.

        Raises:
            IndexError: If the index is out of range.
            StoreError: If a chunk is damaged or lost, or cannot be read.
        """
        asked, ranges = self._asked(index)
        touched = chunks_of(ranges, self.chunk)
        part = self._room(ranges, touched)
        for place in self._places(touched) if part.size else ():
            within, target = overlap(place, self.chunk, ranges)
            self._read(self._file(place), within, part[*target])
        return part[tuple(slice(None) if isinstance(item, slice) else 0 for item in asked)]

    def _asked(self, index: Index) -> tuple[tuple[int | slice, ...], list[range]]:
        """Return an index with an entry for every axis, and its positions along each."""
        try:
            asked = on_all_axes(index, self.shape)
            pairs = zip(self.shape, asked, strict=True)
            return asked, [positions(axis, *pair) for axis, pair in enumerate(pairs)]
        except IndexError as error:
            raise IndexError(f"{self.path}: {error}") from None

    def _room(self, ranges: Sequence[range], touched: Sequence[range]) -> npt.NDArray[Any]:
        """Allocate the array for a part.

        Metadata may claim any size, so a large part is refused unless most of its chunks exist.
        """
        shape, dtype = [len(r) for r in ranges], self._stored_dtype()
        size_bytes = math.prod(shape) * dtype.itemsize
        is_many = math.prod(map(len, touched)) > MOST_CHUNKS
        if size_bytes > LARGE_BYTES and not self._mostly_there(touched, size_bytes):
            raise StoreError(f"{self.path}: is damaged: most of its {size_bytes} bytes are missing")
        try:
            return np.full(shape, self._missing, dtype) if is_many else np.empty(shape, dtype)
        except (MemoryError, ValueError):
            raise StoreError(
                f"{self.path}: needs {size_bytes} bytes of memory, which cannot be had"
            ) from None

    def _mostly_there(self, touched: Sequence[range], size_bytes: int) -> bool:
        there = self._held(touched) if size_bytes else ()
        chunk_bytes = math.prod(self.chunk) * self._stored_dtype().itemsize
        return 2 * sum(chunk_bytes for _ in there) >= size_bytes

    def _places(self, touched: Sequence[range]) -> Iterable[Sequence[int]]:
        """Return the chunks to open: all overlapping ones, or those listed in the folder."""
        count = math.prod(map(len, touched))
        if count <= MOST_CHUNKS:
            return product(*touched)
        held = self._held(touched)
        if self.is_complete and len(held) < count:
            raise StoreError(f"{self.path}: is damaged: {count - len(held)} chunks are missing")
        return held

    def _held(self, touched: Sequence[range]) -> list[tuple[int, ...]]:
        """Return the existing chunks among some."""
        found = []
        for name in os.listdir(self.path):
            first, *numbers = name.split(".")
            if first == "c" and len(numbers) == len(touched) and all(map(_is_number, numbers)):
                place = tuple(map(int, numbers))
                if all(at in r for at, r in zip(place, touched, strict=True)):
                    found.append(place)
        return found

    def _read(self, path: Path, within: Sequence[slice], part: npt.NDArray[Any]) -> None:
        """Fill `part` with the elements `within` one chunk.

        A contiguous byte range is read directly into `part`, anything else through a memory map.
        Measured: windows of 64 x 64 out of 13 chunks of 4 x 256 x 1024 took 0.4 ms through maps
        and 0.7 ms as whole rows; 13 whole chunks of 50 x 64 x 64 took 1.4 ms through maps and
        0.6 ms directly.
        """
        try:
            file = open_to_read(path)
        except FileNotFoundError:
            if self.is_complete:
                raise StoreError(f"{path}: is damaged: it is missing") from None
            part[...] = self._missing
            return
        with file:
            expected = math.prod(self.chunk) * part.itemsize
            size = os.fstat(file.fileno()).st_size
            if size != expected:
                raise StoreError(f"{path}: is damaged: expected {expected} bytes, got {size}")
            try:
                if part.flags.c_contiguous and is_contiguous(within, self.chunk):
                    first = np.ravel_multi_index([s.start for s in within], self.chunk)
                    file.seek(int(first) * part.itemsize)
                    if file.readinto(part.reshape(-1).view(np.uint8).data) < part.nbytes:
                        raise StoreError(f"{path}: was cut while it was read")
                else:
                    mapped = mmap.mmap(file.fileno(), expected, access=mmap.ACCESS_READ)
                    whole: npt.NDArray[Any] = np.ndarray(self.chunk, part.dtype, buffer=mapped)
                    part[...] = whole[*within]
            except StoreError:
                raise
            except (OSError, ValueError) as error:  # truncated meanwhile, or no memory to map it
                raise StoreError(f"{path}: cannot be read ({error})") from error


def _is_number(text: str) -> bool:
    """Tell whether a text is a chunk number in canonical form."""
    return text.isdecimal() and len(text) < 20 and str(int(text)) == text
