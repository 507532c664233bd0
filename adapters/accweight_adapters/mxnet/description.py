"""Describe MXNet's lists of arrays: `.params` of `nd.save`, `save_checkpoint`, `save_parameters`.

A list has two magic numbers, the arrays, each with a header of its version (src/ndarray/ndarray.cc
of MXNet), and then their names. Arrays are byte ranges of the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from accweight_adapters.bytes.cursor import FileCursor
from accweight_adapters.untrusted import (
    ClaimError,
    check_not_empty,
    checked_name,
    checked_shape,
    checked_text,
    claims_of,
    quoted,
    quoted_few,
    refused,
)
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Description, Extent, Hints, Kind, Role, StoredTensor

FORMAT: Final = "MXNet arrays"
MAGIC: Final = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
MOST_ARRAYS: Final = 1 << 20
MOST_AXES: Final = 32
LEAST_BYTES: Final = 8
"""Fewest bytes of an array with its name's length."""

TYPES: Final = (
    "float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool", "int16", "uint16",
    "uint32", "uint64", "bfloat16",
)  # fmt: skip
"""Names of element types, by MXNet's number."""

DENSE, ROW_SPARSE, CSR = 0, 1, 2
AUXILIARY: Final = {ROW_SPARSE: 1, CSR: 2}
"""Number of arrays of indices of each kind of sparse storage."""

PREFIX = re.compile(r"(arg|aux):")
LEAF = re.compile(r"_(weight|bias|gamma|beta|(moving|running)_(mean|var)|(i2h|h2h)_(weight|bias))$")
"""Endings of the names of symbols; the part before them is the layer."""

STATISTICS = re.compile(r"(moving|running)_(mean|var)$")
GATES: Final = {4: (Kind.LSTM, ("i", "f", "g", "o")), 3: (Kind.GRU, ("r", "z", "n"))}
"""Kind of a recurrent layer and its gates along the first axis, by their number."""


def recognised(path: Path) -> bool:
    """Tell whether `path` starts as a list of arrays."""
    try:
        with path.open("rb") as file:
            return file.read(16) == MAGIC.to_bytes(8, "little") + bytes(8)
    except OSError:
        return False


def described(path: Path) -> Description:
    """Describe the arrays in `path`, in the order in which they were saved.

    Raises:
        FormatError: If the file is damaged or inconsistent.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        check_not_empty(path.stat().st_size)
        return _described(path, file)


@dataclass(frozen=True, slots=True)
class Array:
    """One array: its type, shape, place, and why it cannot be analysed, if so."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    problem: str = ""


def _described(path: Path, file: IO[bytes]) -> Description:
    cursor = FileCursor(file)
    if cursor.unpack("Q") != MAGIC or cursor.unpack("Q"):
        raise ClaimError("not a list of arrays of MXNet: it has another magic number")
    arrays = [_array(cursor) for _ in range(_count(cursor, "arrays"))]
    names = [checked_text(cursor.take(_length(cursor))) for _ in range(_count(cursor, "names"))]
    if len(names) not in (0, len(arrays)):
        raise ClaimError(f"holds {len(arrays)} arrays but {len(names)} names; it is damaged")
    if cursor.place != cursor.size_bytes:
        raise ClaimError(f"has {cursor.size_bytes - cursor.place} bytes after its last name")
    names = names or [str(number) for number in range(len(arrays))]
    empty = [name for name, array in zip(names, arrays, strict=True) if array is None]
    kept = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    if len(kept) + len(empty) != len(names):
        raise ClaimError("holds two arrays of the same name")
    if not kept:
        raise ClaimError("holds no arrays")
    return Description(
        format=FORMAT,
        tensors=_tensors(path, kept),
        files=(str(path),),
        notes=(f"left out {quoted_few(empty)}: empty arrays",) if empty else (),
    )


def _count(cursor: FileCursor, what: str) -> int:
    count = int(cursor.unpack("Q"))
    if count > min(MOST_ARRAYS, cursor.size_bytes // LEAST_BYTES):
        raise ClaimError(f"claims {count} {what}, more than fit into it")
    return count


def _length(cursor: FileCursor) -> int:
    return int(cursor.unpack("Q"))


def _array(cursor: FileCursor) -> Array | None:
    """Return the next array, None for one that holds nothing."""
    magic = cursor.unpack("I")
    if magic not in (V2, V3):
        shape = _shape(cursor, cursor.unpack("I")) if magic == V1 else _short_shape(cursor, magic)
        return _dense(cursor, shape) if shape else None
    storage = cursor.unpack("i")
    if storage not in (DENSE, *AUXILIARY):
        raise ClaimError(f"has an array of storage type {storage}, which is not known")
    held = _shape(cursor, cursor.unpack("i")) if storage != DENSE else ()
    axes = cursor.unpack("i")
    shape = _shape(cursor, axes) if axes >= 0 else ()
    if axes < 0 or (magic == V2 and not axes):
        return None
    return _dense(cursor, shape) if storage == DENSE else _sparse(cursor, shape, held, storage)


def _shape(cursor: FileCursor, axes: int) -> tuple[int, ...]:
    if not 0 <= axes <= MOST_AXES:
        raise ClaimError(f"has an array of {axes} axes; it is damaged")
    return checked_shape([cursor.unpack("q") for _ in range(axes)])


def _short_shape(cursor: FileCursor, axes: int) -> tuple[int, ...]:
    """Return a shape as the first versions wrote it, without a magic number."""
    if axes > MOST_AXES:
        raise ClaimError(f"has an array that starts with {axes:#x}, which no version writes")
    return checked_shape([cursor.unpack("I") for _ in range(axes)])


def _dense(cursor: FileCursor, shape: tuple[int, ...]) -> Array:
    cursor.take(8)  # device
    dtype = _type(cursor.unpack("i"))
    place = cursor.skip(math.prod(shape) * DTYPES[dtype].size_bytes)
    return Array(dtype, shape, place)


def _sparse(
    cursor: FileCursor, shape: tuple[int, ...], held: tuple[int, ...], storage: int
) -> Array:
    cursor.take(8)  # device
    dtype = _type(cursor.unpack("i"))
    indices = []
    for _ in range(AUXILIARY[storage]):
        index_type = _type(cursor.unpack("i"))
        count = math.prod(_shape(cursor, cursor.unpack("i")))
        indices.append(count * DTYPES[index_type].size_bytes)
    place = cursor.skip(math.prod(held) * DTYPES[dtype].size_bytes)
    cursor.skip(sum(indices))
    return Array(dtype, shape, place, "it is stored sparsely; save it with tostype('default')")


def _type(number: int) -> str:
    if not 0 <= number < len(TYPES):
        raise ClaimError(f"has an array of type {number}, which is not known")
    return TYPES[number]


# ---------------------------------------------------------------- names and their meaning


def _tensors(path: Path, arrays: Mapping[str, Array]) -> tuple[StoredTensor, ...]:
    named = dict(zip(arrays, _names(list(arrays)), strict=True))
    layers: dict[str, dict[str, tuple[int, ...]]] = {}
    for given, name in named.items():
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf] = arrays[given].shape
    tensors = []
    for given, name in named.items():
        array = arrays[given]
        hints = _hints(given, name, layers[name.rpartition(".")[0]])
        if array.problem:
            tensor = refused(name, array.dtype, array.shape, array.problem)
            tensors.append(StoredTensor(name, tensor.values, hints, array.problem))
        else:
            extent = Extent(str(path), array.offset, array.dtype, array.shape)
            tensors.append(StoredTensor(name, extent, hints))
    return tuple(tensors)


def _names(given: Sequence[str]) -> list[str]:
    """Return names with a dot between layer and variable, and without the kind of argument."""
    plain = [PREFIX.sub("", name, count=1) for name in given]
    found = [LEAF.sub(r".\1", name) if "." not in name else name for name in plain]
    for names in (found, plain, list(given)):
        if len(set(names)) == len(names):
            return [checked_name(name) for name in names]
    raise ClaimError(f"holds two arrays that are called {quoted(given[0])}")


def _hints(given: str, name: str, leaves: Mapping[str, tuple[int, ...]]) -> Hints:
    if given.startswith("aux:") or STATISTICS.search(name):
        return Hints(role=Role.BUFFER)
    hidden = leaves.get("h2h_weight", ())
    if len(hidden) == 2 and hidden[1] and hidden[0] % hidden[1] == 0:
        kind, sections = GATES.get(hidden[0] // hidden[1], (Kind.RNN, ()))
        matrix = name.endswith("_weight") and sections
        return Hints(kind=kind, sections=sections if matrix else None)
    return Hints(kind=Kind.NORM if "gamma" in leaves else None)
