"""Open the arrays of an analysis by name, and check their shapes.

The expected sizes come from the header alone; the metadata of an array only has to agree.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from accweight_core.errors import StoreError
from accweight_core.store.array_document import ArrayDocument
from accweight_core.store.documents import METADATA, checked, read
from accweight_core.store.files import refuse_links
from accweight_core.store.foreign_array import ForeignArray
from accweight_core.store.zarr_chunks import ChunkedArray, open_array

ATTRIBUTE = "accweight"
"""Key in the attributes of a group or an array under which accweight stores its own data."""

Shape = tuple[int, ...]


def array_in(store: Path, name: str, *, is_complete: bool = False) -> ChunkedArray | ForeignArray:
    """Return an array of an analysis.

    Args:
        store: Folder of the analysis.
        name: Path of the array within it.
        is_complete: Whether every chunk has been written, so that a missing one was lost.

    Raises:
        StoreError: If it is missing, damaged, or inside a symbolic link.
    """
    try:
        refuse_links(store, name)
        array = open_array(store / name)
    except FileNotFoundError:
        raise _missing(store, name) from None
    except ValueError as error:
        raise StoreError(f"{store}: {name} is damaged ({error})") from error
    if is_complete and isinstance(array, ChunkedArray):
        return replace(array, is_complete=True)
    return array


def is_array(store: Path, name: str) -> bool:
    """Tell whether an array has a name in an analysis, and not a group.

    Raises:
        StoreError: If what is there is damaged, or inside a symbolic link.
    """
    try:
        refuse_links(store, name)
        found = read(store / name / METADATA)
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise StoreError(f"{store}: {name} is damaged ({error})") from error
    return isinstance(found, dict) and found.get("node_type") == "array"


def whole_array(
    store: Path, name: str, shape: Shape, *, is_complete: bool = False
) -> ChunkedArray | ForeignArray:
    """Return an array that accweight writes in one chunk.

    Raises:
        StoreError: If it has another shape, or cannot be read.
    """
    array = array_in(store, name, is_complete=is_complete)
    if array.shape != shape:
        raise damaged(store, name, shape, array.shape)
    if isinstance(array, ChunkedArray) and array.chunk != shape:
        raise damaged(store, name, shape, array.chunk)
    return array


def check_shape(store: Path, name: str, shape: Shape) -> None:
    """Raise if an array has another shape; reads its metadata only.

    Raises:
        StoreError: If the shape differs, or the array is missing.
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
    """Return the error for an array with a wrong shape."""
    return StoreError(f"{store}: {name} is damaged: expected a shape of {expected}, got {got}")


def _missing(store: Path, name: str) -> StoreError:
    return StoreError(f"{store}: {name} is damaged: it is missing")
