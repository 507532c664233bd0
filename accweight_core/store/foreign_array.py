"""Arrays that somebody has stored in another form than this program does: zarr reads them.

Compressed, in shards, with another byte order: any Zarr reader can write an analysis anew. The
metadata say what is to be done with the bytes, so what is done is limited to what an array of
numbers needs, and whatever goes wrong is an error of ours.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accweight_core.errors import AccweightError, MissingLibraryError, StoreError
from accweight_core.store.documents import METADATA
from accweight_core.store.files import files_in

CODECS = ("blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zstd")
"""Those of the specification of Zarr."""

MOST_CODECS = 64
"""In all; codecs may hold others."""

SMALL_CHUNK = 1 << 20
"""Elements of a chunk that may be larger than its array."""

Index = int | slice | tuple[int | slice, ...]


class ForeignArray:
    """An array that zarr reads."""

    def __init__(self, path: Path, array: Any, shape: tuple[int, ...]) -> None:
        """Take an open one.

        Args:
            path: Folder of the array.
            array: The array of zarr.
            shape: Its shape, or as much of it as is looked at.
        """
        self.path = path
        self.shape = shape
        self._array = array

    @classmethod
    def open(cls, path: Path, found: Any, chunk: Sequence[int]) -> ForeignArray:
        """Return the array in a folder.

        Args:
            path: The folder.
            found: The metadata.
            chunk: Shape of a chunk, as they say.

        Raises:
            MissingLibraryError: If zarr is not installed.
            StoreError: If something else than files lies there.
            ValueError: If it is damaged.
        """
        try:
            import zarr
        except ImportError:
            purpose = (
                f"{path}: reading an array that was stored anew, compressed or in another form,"
            )
            raise MissingLibraryError("zarr", "", purpose) from None
        _check_codecs(found.get("codecs"))
        shape = tuple(found["shape"])
        most = math.prod(2 * length for length in shape)
        if math.prod(chunk) > max(most, SMALL_CHUNK):
            raise ValueError(f"its chunks, {tuple(chunk)}, are larger than itself, {shape}")
        begins = _first_of_keys(found.get("chunk_key_encoding"))
        for file in files_in(path):  # what is no file, zarr would wait for, or follow
            name = str(file.relative_to(path))
            if name != METADATA and not name.startswith(begins):
                raise ValueError(f"{name} lies where, by its metadata, no chunk of it can be")
        try:
            array = zarr.open_array(path, mode="r", zarr_format=3)
            if array.dtype.kind not in "fiu":
                raise ValueError(f"its elements are {array.dtype}, not numbers")
        except AccweightError:
            raise
        except Exception as error:  # whatever zarr makes of damaged metadata
            raise ValueError(f"its metadata cannot be understood: {_line(error)}") from error
        return cls(path, array, shape)

    def limited(self, length: int) -> ForeignArray:
        """Return the first part of it along the first axis."""
        return ForeignArray(self.path, self._array, (length, *self.shape[1:]))

    def __getitem__(self, index: Index, /) -> Any:
        """Return a part of the array, a copy.

        Raises:
            IndexError: If the array has no such part.
            StoreError: If it is damaged or cannot be read.
        """
        first, *others = index if isinstance(index, tuple) else (index,)
        if isinstance(first, slice):
            first = slice(*first.indices(self.shape[0]))
        try:
            return np.asarray(self._array[first, *others])
        except IndexError:
            raise
        except Exception as error:  # whatever zarr and its codecs make of damaged chunks
            raise StoreError(f"{self.path}: is damaged ({_line(error)})") from error


def _check_codecs(codecs: Any, so_far: int = 0) -> int:
    """Raise ValueError unless these are codecs of Zarr itself; return how many there are."""
    if not isinstance(codecs, list):
        raise ValueError("its codecs are no list")
    for codec in codecs:
        so_far += 1
        name = codec.get("name") if isinstance(codec, dict) else codec
        if name not in CODECS or so_far > MOST_CODECS:
            raise ValueError(f"it is stored with {name!r}; expected some of {', '.join(CODECS)}")
        if name == "sharding_indexed":
            settings = codec.get("configuration") if isinstance(codec, dict) else None
            for inner in ("codecs", "index_codecs"):
                held = settings.get(inner) if isinstance(settings, dict) else None
                so_far = _check_codecs(held, so_far)
    return so_far


def _first_of_keys(encoding: Any) -> tuple[str, ...]:
    """Return how the names of chunks begin."""
    name = encoding.get("name") if isinstance(encoding, dict) else encoding
    settings = encoding.get("configuration") if isinstance(encoding, dict) else None
    if name == "v2":
        return tuple("0123456789")
    separator = settings.get("separator") if isinstance(settings, dict) else None
    return (f"c{os.sep if separator in (None, '/') else '.'}",)


def _line(error: Exception) -> str:
    """Return what an error of another library says, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
