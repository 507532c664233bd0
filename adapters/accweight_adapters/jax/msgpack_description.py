"""Describe Flax msgpack files: `checkpoint_100`, or any output of `flax.serialization`.

Arrays are byte ranges of the file, so no library is needed; those beyond a gigabyte are split into
chunks, and assembled when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.jax.hints import with_flax_hints
from accweight_adapters.jax.msgpack_walk import ChunkedArray, FoundArray, PackedArray, Walk
from accweight_adapters.jax.tree import Chosen, Keys, choose
from accweight_adapters.measures import measures_in
from accweight_adapters.untrusted import (
    MAX_SIZE,
    ClaimError,
    check_not_empty,
    claims_of,
    quoted,
    refused,
    step_among,
)
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Description, Extent, HiddenValues, Hints, Role, StoredTensor

FORMAT: Final = "Flax msgpack"
LOOKED_AT: Final = 4096
"""Most keys and values that `recognises` reads before the first array."""

NO_NUMBERS: Final = ("str", "bytes", "void", "datetime", "timedelta", "object")
"""Prefixes of NumPy's names of non-numeric types."""


def recognised(path: Path) -> bool:
    """Tell whether `path` starts with a mapping that soon contains a Flax array."""
    try:
        with path.open("rb") as file:
            Walk(file, to_first=True, most=LOOKED_AT).tree()
    except FoundArray:
        return True
    except (OSError, ClaimError):
        return False
    return False


def described(path: Path) -> Description:
    """Describe the weights in `path`, in network order if the file keeps it.

    Raises:
        FormatError: If the file is damaged, truncated, or inconsistent.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        check_not_empty(path.stat().st_size)
        return _described(path, file)


def _described(path: Path, file: IO[bytes]) -> Description:
    content = Walk(file).tree()
    leaves = dict(_leaves(content, ()))
    words = [keys for keys, leaf in leaves.items() if leaf.dtype.startswith(NO_NUMBERS)]
    arrays = {keys: leaf for keys, leaf in leaves.items() if keys not in words}
    choice = choose({keys: bool(leaf.shape) for keys, leaf in arrays.items()})
    tensors = [_stored(path, leaf, arrays[leaf.keys]) for leaf in choice.model]
    figures = _numbers(content) | {
        name: _number(file, arrays[keys]) for name, keys in choice.beside.items()
    }
    step, key = step_among(figures) or (None, "")
    notes = [f"left out {quoted('.'.join(words[0]))}: text, not numbers"] if words else []
    return Description(
        format=FORMAT,
        tensors=with_flax_hints(tensors),
        step=step,
        step_key=key,
        files=(str(path),),
        notes=(*notes, *choice.notes),
        measures=measures_in({**figures, key: None}),
    )


def _leaves(node: Any, keys: Keys) -> list[tuple[Keys, PackedArray | ChunkedArray]]:
    """Return all arrays with their keys."""
    if isinstance(node, (PackedArray, ChunkedArray)):
        return [(keys, node)]
    if not isinstance(node, dict):
        return []
    return [found for key, child in node.items() for found in _leaves(child, (*keys, key))]


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain numbers next to the model, at the top and one level below."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, (int, float)):
            found[key] = value
        elif isinstance(value, dict):
            inner = {k: v for k, v in value.items() if isinstance(v, (int, float))}
            found |= {key: inner} if inner else {}
    return found


def _number(file: IO[bytes], leaf: PackedArray | ChunkedArray) -> Any:
    """Return the value of an array without axes, or None if its type is unknown."""
    dtype = DTYPES.get(leaf.dtype)
    is_plain = dtype is not None and dtype.family in ("integer", "float") and leaf.shape == ()
    if not is_plain or not isinstance(leaf, PackedArray) or not hasattr(np, leaf.dtype):
        return None
    file.seek(leaf.offset)
    value = np.frombuffer(file.read(leaf.size_bytes), np.dtype(leaf.dtype)).item()
    return value if abs(value) < MAX_SIZE else None


def _stored(path: Path, leaf: Chosen, array: PackedArray | ChunkedArray) -> StoredTensor:
    hints = Hints(role=Role.BUFFER) if leaf.is_state else Hints()
    if array.dtype not in DTYPES:
        reason = f"its element type {quoted(array.dtype)} has no exact meaning as a float here"
        return replace(refused(leaf.name, array.dtype[:32], array.shape, reason), hints=hints)
    if isinstance(array, PackedArray):
        values: Extent | HiddenValues = Extent(str(path), array.offset, array.dtype, array.shape)
    elif len(array.chunks) == 1:
        values = Extent(str(path), array.chunks[0].offset, array.dtype, array.shape)
    else:
        load = partial(_assembled, path, leaf.name, array)
        values = HiddenValues(load, array.dtype, array.shape)
    return StoredTensor(leaf.name, values, hints)


def _assembled(path: Path, name: str, array: ChunkedArray) -> npt.NDArray[Any]:
    """Return an array assembled from its chunks: its elements, or their codes.

    Raises:
        FormatError: If the file has become shorter since it was described.
    """
    whole = bytearray()
    with claims_of(path, FORMAT), path.open("rb") as file:
        for chunk in array.chunks:
            stretch = Stretch(chunk.offset, chunk.size_bytes)
            whole += stretch.read(file, f"tensor {quoted(name)}")
    return np.frombuffer(whole, DTYPES[array.dtype].code).reshape(array.shape)
