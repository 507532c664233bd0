"""Read arrays that other programs have stored differently (compressed, sharded), through zarr.

Any Zarr library can rewrite an analysis, with compression, shards or another byte order. The
metadata choose the codecs, so only the codecs that arrays of numbers need are allowed, and every
failure becomes an error of accweight.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from accweight_core.errors import AccweightError, MissingLibraryError, StoreError
from accweight_core.store.documents import METADATA
from accweight_core.store.files import files_in

CODECS = ("blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zstd")
"""Allowed codecs: those of the Zarr specification."""

MOST_CODECS = 64
"""Limit of codecs per array, nested ones included."""

SMALL_CHUNK = 1 << 20
"""Chunks of at most so many elements may be larger than their array."""

Index = int | slice | tuple[int | slice, ...]


class ForeignArray:
    """An array that zarr reads."""

    def __init__(self, path: Path, array: Any, shape: tuple[int, ...]) -> None:
        """Wrap an open array.

        Args:
            path: Folder of the array.
            array: The zarr array.
            shape: Shape of the array, or of the part of it that is visible.
        """
        self.path = path
        self.shape = shape
        self._array = array

    @classmethod
    def open(cls, path: Path, found: Any, chunk: Sequence[int]) -> ForeignArray:
        """Return the array in a folder.

        Args:
            path: The folder.
            found: The metadata of the array.
            chunk: Chunk shape from the metadata.

        Raises:
            MissingLibraryError: If zarr is not installed.
            StoreError: If the folder contains anything but plain files and folders.
            ValueError: If the array is damaged.
        """
        try:
            import zarr
        except ImportError:
            purpose = (
                f"{path}: reading an array that was stored anew, compressed or in another form,"
            )
            raise MissingLibraryError("zarr", "", purpose) from None
        from accweight_core.store.bounded_codecs import bounded

        _check_codecs(found.get("codecs"))
        shape = tuple(found["shape"])
        most = math.prod(2 * length for length in shape)
        if math.prod(chunk) > max(most, SMALL_CHUNK):
            raise ValueError(f"its chunks, {tuple(chunk)}, are larger than itself, {shape}")
        begins = _first_of_keys(found.get("chunk_key_encoding"))
        for file in files_in(path):  # zarr itself would follow links and block on FIFOs
            name = str(file.relative_to(path))
            if name != METADATA and not name.startswith(begins):
                raise ValueError(f"{name} lies where, by its metadata, no chunk of it can be")
        try:
            array = zarr.open_array(path, mode="r", zarr_format=3)
            if array.dtype.kind not in "fiu":
                raise ValueError(f"its elements are {array.dtype}, not numbers")
            metadata: Any = array.metadata
            metadata = replace(metadata, codecs=bounded(metadata.codecs))
            array = zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=array.store_path))
        except AccweightError:
            raise
        except Exception as error:  # zarr raises many types for damaged metadata
            raise ValueError(f"its metadata cannot be understood: {_line(error)}") from error
        return cls(path, array, shape)

    def limited(self, length: int) -> ForeignArray:
        """Return the first `length` indices of the first axis as an array."""
        return ForeignArray(self.path, self._array, (length, *self.shape[1:]))

    def __getitem__(self, index: Index, /) -> Any:
        """Return a part of the array, a copy.

        Raises:
            IndexError: If the index is out of range.
            StoreError: If the array is damaged or cannot be read.
        """
        first, *others = index if isinstance(index, tuple) else (index,)
        if isinstance(first, slice):
            first = slice(*first.indices(self.shape[0]))
        try:
            return np.asarray(self._array[first, *others])
        except IndexError:
            raise
        except Exception as error:  # zarr and its codecs raise many types for damaged chunks
            raise StoreError(f"{self.path}: is damaged ({_line(error)})") from error


def _check_codecs(codecs: Any, so_far: int = 0) -> int:
    """Return the number of codecs; raise ValueError unless all are in `CODECS`."""
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
    """Return the prefixes that the names of chunk files can have."""
    name = encoding.get("name") if isinstance(encoding, dict) else encoding
    settings = encoding.get("configuration") if isinstance(encoding, dict) else None
    if name == "v2":
        return tuple("0123456789")
    separator = settings.get("separator") if isinstance(settings, dict) else None
    return (f"c{os.sep if separator in (None, '/') else '.'}",)


def _line(error: Exception) -> str:
    """Return the message of an error from another library, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
