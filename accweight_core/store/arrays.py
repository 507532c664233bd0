"""The arrays in an analysis by their names: theirs is the shape that the header says, or an error.

Sizes come from the header alone. What the metadata of an array say is looked at for whether it is
the same.
"""

from __future__ import annotations

from pathlib import Path

from accweight_core.errors import StoreError
from accweight_core.store.documents import METADATA, checked, read
from accweight_core.store.files import refuse_links
from accweight_core.store.foreign_array import ForeignArray
from accweight_core.store.zarr_chunks import ArrayDocument, ChunkedArray, open_array

ATTRIBUTE = "accweight"
"""What this program says of a group or an array lies there in its attributes."""

Shape = tuple[int, ...]


def array_in(store: Path, name: str) -> ChunkedArray | ForeignArray:
    """Return an array of an analysis.

    Raises:
        StoreError: If it is missing, damaged, or reached through a link.
    """
    try:
        refuse_links(store, name)
        return open_array(store / name)
    except FileNotFoundError:
        raise _missing(store, name) from None
    except ValueError as error:
        raise StoreError(f"{store}: {name} is damaged ({error})") from error


def whole_array(store: Path, name: str, shape: Shape) -> ChunkedArray | ForeignArray:
    """Return an array that this program writes in one chunk.

    Raises:
        StoreError: If it has another shape, or cannot be read.
    """
    array = array_in(store, name)
    if array.shape != shape:
        raise damaged(store, name, shape, array.shape)
    if isinstance(array, ChunkedArray) and array.chunk != shape:
        raise damaged(store, name, shape, array.chunk)
    return array


def check_shape(store: Path, name: str, shape: Shape) -> None:
    """Raise if an array has another shape; its numbers are not looked at.

    Raises:
        StoreError: If so, or if it is missing.
    """
    try:
        refuse_links(store, name)
        found = checked(read(store / name / METADATA), ArrayDocument)
    except FileNotFoundError:
        raise _missing(store, name) from None
    except ValueError as error:
        raise StoreError(f"{store}: {name} is damaged ({error})") from error
    if found.shape != shape:
        raise damaged(store, name, shape, found.shape)


def damaged(store: Path, name: str, expected: Shape, got: Shape) -> StoreError:
    """Return the error for an array that is not of the shape that it must have."""
    return StoreError(f"{store}: {name} is damaged: expected a shape of {expected}, got {got}")


def _missing(store: Path, name: str) -> StoreError:
    return StoreError(f"{store}: {name} is damaged: it is missing")
