"""Uncompressed Zarr v3 arrays, chunk by chunk, as plain files.

The format of an uncompressed array is one small JSON file and one file of raw numbers per
chunk. Written directly, a chunk costs one system call; through an asynchronous store it costs
milliseconds, which thousands of small pictures turn into minutes (measured, 900 small
parameters: 22 s that way, 3.4 s this way). So zarr need not be installed; it is asked only for
what somebody has stored in another form, compressed for example.
Chunks of an array lie beside each other in one folder, because folders cost as much as files.
"""

from __future__ import annotations

import json
import math
import mmap
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from accweight_core.errors import MissingLibraryError, StoreError, reason_of

PARTIAL = ".partial"
"""Ending of files that are being written; a killed process leaves them behind."""

METADATA = "zarr.json"

Write = Callable[[Path, bytes | memoryview], None]
"""`write_whole`; or `write_new` where a killed process leaves nothing that is looked at; or
`write_beside_others` where several processes may write one file."""

Index = int | slice | tuple[int | slice, ...]
"""Which part of an array: positions and stretches along its first axes, or along all."""


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that it is there completely or not at all."""
    draft = path.with_name(path.name + PARTIAL)
    with draft.open("wb") as file:
        file.write(content)
    os.replace(draft, path)


def write_beside_others(path: Path, content: bytes | memoryview) -> None:
    """Write a file like `write_whole` where others may be writing the same bytes to it.

    Each has a draft of its own: one that is killed, or late, harms no file that is complete.
    """
    draft = path.with_name(f"{path.name}.{uuid4().hex}{PARTIAL}")
    with draft.open("wb") as file:
        file.write(content)
    os.replace(draft, path)


def write_new(path: Path, content: bytes | memoryview) -> None:
    """Write a file of what is thrown away altogether if the process is killed meanwhile."""
    with open(path, "wb", buffering=0) as file:
        rest = memoryview(content).cast("B")
        while rest:
            rest = rest[file.write(rest) :]


def create_group(path: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Make a Zarr group, in the place of one that is there."""
    path.mkdir(parents=True, exist_ok=True)
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes or {}}
    write_whole(path / METADATA, _encoded(document))


def create_plain_group(path: Path, write: Write) -> None:
    """Make a Zarr group without attributes in a folder that is there."""
    os.makedirs(path, exist_ok=True)
    write(path / METADATA, _PLAIN_GROUP)


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()  # indented, it would take ten times as long


_PLAIN_GROUP = _encoded({"zarr_format": 3, "node_type": "group", "attributes": {}})


class StoredArray(Protocol):
    """An array on disk that is read in parts, whoever reads it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    def __getitem__(self, index: Index, /) -> Any:
        """Return a part of it."""


def open_array(path: Path) -> StoredArray:
    """Return the array in a folder.

    Raises:
        MissingLibraryError: If it is stored in another form, and zarr is not installed.
        OSError: If it cannot be read; FileNotFoundError if there is none.
        ValueError: If it is not an array, or damaged.
    """
    array = ChunkedArray.open(path)
    if array is not None:
        return array
    if not _is_array(path):
        raise ValueError("its metadata is not that of an array of Zarr v3")
    try:
        import zarr
    except ImportError:
        purpose = f"{path}: reading an array that was stored anew, compressed or in another form,"
        raise MissingLibraryError("zarr", "", purpose) from None
    try:
        return zarr.open_array(path, mode="r", zarr_format=3)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"its metadata cannot be understood: {error!r}") from error


def _is_array(path: Path) -> bool:
    """Tell whether a folder has the metadata of an array, in whatever form it is stored."""
    try:
        found = json.loads((path / METADATA).read_bytes())
    except ValueError:
        return False
    kind = ("zarr_format", 3), ("node_type", "array")
    return isinstance(found, dict) and all(found.get(key) == value for key, value in kind)


def _array_metadata(shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str) -> dict[str, Any]:
    grid = {"name": "regular", "configuration": {"chunk_shape": list(chunk)}}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": grid,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": "NaN",
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
        "storage_transformers": [],
    }


@lru_cache(maxsize=256)
def _encoded_array(shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str) -> bytes:
    """Return the metadata of an array as it is stored; models have many arrays that are alike."""
    return _encoded(_array_metadata(shape, chunk, dtype))


@dataclass(frozen=True)
class ChunkedArray:
    """An uncompressed float array on disk, written in whole chunks and read in any part.

    Attributes:
        path: Folder of the array.
        shape: Its shape.
        chunk: Shape of a chunk; chunks at the far edges reach beyond the array.
        dtype: "float32" or "float64".
    """

    path: Path
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: str = "float32"

    @classmethod
    def open(cls, path: Path) -> ChunkedArray | None:
        """Return the array in a folder, None if it is stored in another way than here.

        Raises:
            OSError: If there is nothing to read.
        """
        try:
            found = json.loads((path / METADATA).read_bytes())
            chunk = found["chunk_grid"]["configuration"]["chunk_shape"]
            array = cls(path, tuple(found["shape"]), tuple(chunk), found["data_type"])
        except (KeyError, TypeError, ValueError):
            return None
        same = {**found, "attributes": {}} == array._metadata()
        return array if same and array._is_readable() else None

    def _is_readable(self) -> bool:
        """Tell whether what was found in a file can be counted with."""
        lengths: list[object] = [*self.shape, *self.chunk]
        return (
            self.dtype in ("float32", "float64")
            and 0 < len(self.shape) == len(self.chunk)
            and all(isinstance(length, int) and length >= 0 for length in lengths)
            and 0 not in self.chunk
        )

    def create(
        self, write: Write = write_whole, attributes: Mapping[str, Any] | None = None
    ) -> ChunkedArray:
        """Write the metadata of the array, and return the array."""
        os.makedirs(self.path, exist_ok=True)
        if attributes:
            metadata = _encoded({**self._metadata(), "attributes": attributes})
        else:
            metadata = _encoded_array(self.shape, self.chunk, self.dtype)
        write(self.path / METADATA, metadata)
        return self

    def _metadata(self) -> dict[str, Any]:
        return _array_metadata(self.shape, self.chunk, self.dtype)

    def _stored_dtype(self) -> np.dtype[Any]:
        return np.dtype(self.dtype).newbyteorder("<")

    def holds(self, start: Sequence[int]) -> bool:
        """Tell whether the chunk that begins at an index has been written."""
        place = [first // length for first, length in zip(start, self.chunk, strict=True)]
        return self._file(place).exists()

    def _file(self, place: Sequence[int]) -> Path:
        return self.path / ".".join(["c", *map(str, place)])

    def write(
        self,
        start: Sequence[int],
        values: npt.NDArray[np.floating[Any]],
        write: Write = write_whole,
    ) -> None:
        """Write one chunk.

        Args:
            start: Index of the first element of the chunk; multiples of the chunk's shape.
            values: The chunk, cut off where the array ends.
            write: How to write the file.
        """
        if values.size == 0:
            return
        place = [first // length for first, length in zip(start, self.chunk, strict=True)]
        whole = values.astype(self._stored_dtype(), copy=False)
        if whole.shape != self.chunk:
            padding = [(0, full - got) for full, got in zip(self.chunk, whole.shape, strict=True)]
            whole = np.pad(whole, padding, constant_values=np.nan)
        write(self._file(place), np.ascontiguousarray(whole).data)

    def write_part(self, start: int, values: npt.NDArray[np.floating[Any]]) -> None:
        """Write a stretch of an array of one axis into its chunks, where it is.

        Several threads may write different stretches; what no stretch covers is NaN behind the
        end of the array, and otherwise undefined.
        """
        stored, (chunk,) = values.astype(self._stored_dtype(), copy=False), self.chunk
        while len(stored):
            place, at = divmod(start, chunk)
            part, stored = stored[: chunk - at], stored[chunk - at :]
            start += len(part)
            self._write_into(
                self._file([place]), at, min(chunk, self.shape[0] - place * chunk), part
            )

    def _write_into(self, path: Path, at: int, claimed: int, values: npt.NDArray[Any]) -> None:
        """Write values at one place of a chunk of which so many elements belong to the array."""
        size = values.itemsize
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with open(descriptor, "wb") as file:
            if os.fstat(file.fileno()).st_size < self.chunk[0] * size:
                padding = np.full(self.chunk[0] - claimed, np.nan, self._stored_dtype())
                file.seek(claimed * size)
                file.write(padding.data)
                file.truncate(self.chunk[0] * size)
            file.seek(at * size)
            file.write(np.ascontiguousarray(values).data)

    def __getitem__(self, index: Index, /) -> npt.NDArray[Any]:
        """Return a part of the array, a copy, as numpy indexes; NaN where no chunk lies.

        Only the chunks that the part touches are opened, and of those only its bytes are read.

        Args:
            index: Positions, and slices of step 1, along the first axes.

        Raises:
            IndexError: If the array has no such part.
            StoreError: If a chunk is damaged or cannot be read.
        """
        given = index if isinstance(index, tuple) else (index,)
        if len(given) > len(self.shape):
            raise IndexError(f"{self.path}: has {len(self.shape)} axes, not {len(given)}")
        asked = (*given, *[slice(None)] * (len(self.shape) - len(given)))
        ranges = [self._range(axis, item) for axis, item in enumerate(asked)]
        part: npt.NDArray[Any] = np.empty([len(r) for r in ranges], self._stored_dtype())
        touched = (
            range(r.start // length, -(-r.stop // length))
            for r, length in zip(ranges, self.chunk, strict=True)
        )
        for place in product(*touched) if part.size else ():
            within, target = self._overlap(place, ranges)
            self._read(self._file(place), within, part[*target])
        return part[tuple(slice(None) if isinstance(item, slice) else 0 for item in asked)]

    def _range(self, axis: int, item: int | slice) -> range:
        """Return the positions that are asked for along one axis."""
        length = self.shape[axis]
        if isinstance(item, slice):
            start, stop, step = item.indices(length)
            if step != 1:
                raise IndexError(f"{self.path}: is read in steps of 1, not {step}")
            return range(start, max(start, stop))
        at = operator.index(item)
        if not -length <= at < length:
            raise IndexError(f"{self.path}: has no position {at} along axis {axis} of {length}")
        return range(at % length, at % length + 1)

    def _overlap(
        self, place: Sequence[int], ranges: Sequence[range]
    ) -> tuple[list[slice], list[slice]]:
        """Return what a chunk holds of a part: where in the chunk, and where in the part."""
        within, target = [], []
        for number, length, r in zip(place, self.chunk, ranges, strict=True):
            begin = number * length
            first, last = max(r.start, begin), min(r.stop, begin + length)
            within.append(slice(first - begin, last - begin))
            target.append(slice(first - r.start, last - r.start))
        return within, target

    def _read(self, path: Path, within: Sequence[slice], part: npt.NDArray[Any]) -> None:
        """Fill `part` with what lies `within` one chunk.

        What is one stretch of the file is read straight into place, anything else through a
        map of the file. Measured: windows of 64 x 64 out of 13 chunks of 4 x 256 x 1024 took
        0.4 ms through maps and 0.7 ms as whole lines; 13 whole chunks of 50 x 64 x 64 took
        1.4 ms through maps and 0.6 ms straight.
        """
        try:
            file = path.open("rb")
        except FileNotFoundError:
            part[...] = np.nan
            return
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({reason_of(error)})") from error
        with file:
            expected = math.prod(self.chunk) * part.itemsize
            size = os.fstat(file.fileno()).st_size
            if size != expected:
                raise StoreError(f"{path}: is damaged: expected {expected} bytes, got {size}")
            if part.flags.c_contiguous and self._is_one_stretch(within):
                first = np.ravel_multi_index([s.start for s in within], self.chunk)
                file.seek(int(first) * part.itemsize)
                file.readinto(part.reshape(-1).view(np.uint8).data)
            else:
                mapped = mmap.mmap(file.fileno(), expected, access=mmap.ACCESS_READ)
                whole: npt.NDArray[Any] = np.ndarray(self.chunk, part.dtype, buffer=mapped)
                part[...] = whole[*within]

    def _is_one_stretch(self, within: Sequence[slice]) -> bool:
        """Tell whether a part of a chunk lies in its file without gaps."""
        lengths = [s.stop - s.start for s in within]
        first = next((axis for axis, length in enumerate(lengths) if length > 1), len(lengths))
        return lengths[first + 1 :] == list(self.chunk[first + 1 :])
