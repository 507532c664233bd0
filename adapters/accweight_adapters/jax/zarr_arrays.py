"""Zarr array metadata, versions 2 and 3, as TensorStore writes them for Orbax.

An array in one uncompressed chunk is a byte range of a file; compressed chunks are decoded and
assembled when the values are read. An array with an unsupported codec or type is listed with the
reason.

The zarr package is not used: it decompresses chunks to any size (zarr 3.1 made 1 GB from 32 kB for
a chunk of two numbers), so most checks would have to be made before it is called, and loading a
checkpoint took twice the processor time.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from accweight_adapters.bytes.compressed import DECODERS
from accweight_adapters.untrusted import ClaimError, checked_shape, quoted
from accweight_core.dtypes import DTYPES

V2_METADATA: Final = ".zarray"
V3_METADATA: Final = "zarr.json"
LARGEST_METADATA: Final = 1 << 20

V2_TYPES: Final = {
    "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128",
    "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "b1": "bool",
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64",
}  # fmt: skip

MOST_CHUNKS: Final = 1 << 22
INDEX_ENTRY_BYTES: Final = 16
NO_CHUNK: Final = 2**64 - 1


class UnknownWayError(Exception):
    """Raised for valid metadata that use an unsupported feature."""


@dataclass(frozen=True, slots=True)
class Coding:
    """The encoding of a chunk.

    Attributes:
        codecs: Names of compressions and checksums, in the order applied.
        order: Order of axes in memory, outermost first.
        big_endian: Whether elements are stored most significant byte first.
    """

    codecs: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    big_endian: bool = False


@dataclass(frozen=True, slots=True)
class Sharding:
    """Chunks inside a chunk: their shape, their encoding, and the position of their index."""

    shape: tuple[int, ...]
    coding: Coding
    index_at_end: bool
    index_has_checksum: bool

    def index_bytes(self, chunk: Sequence[int]) -> int:
        """Return the size of the index of a chunk."""
        return INDEX_ENTRY_BYTES * math.prod(grid(chunk, self.shape)) + 4 * self.index_has_checksum


@dataclass(frozen=True, slots=True)
class ArrayPlan:
    """The storage of an array.

    Attributes:
        shape: Its shape.
        dtype: Name of its element type; the file's own name if it is unsupported.
        chunk: Shape of a chunk.
        coding: Encoding of a chunk.
        sharding: The inner chunks, or None.
        separator: Separator of the numbers in a chunk key.
        prefix: Prefix of a chunk key.
        fill: Value of elements that were never written.
        problem: Why the values cannot be read; empty if they can.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    coding: Coding = field(default_factory=Coding)
    sharding: Sharding | None = None
    separator: str = "."
    prefix: tuple[str, ...] = ()
    fill: float | complex = 0.0
    problem: str = ""

    @property
    def item_bytes(self) -> int:
        """Bytes per element."""
        return DTYPES[self.dtype].size_bytes

    @property
    def chunk_bytes(self) -> int:
        """Bytes of an uncompressed chunk."""
        return math.prod(self.chunk) * self.item_bytes

    def key(self, place: Sequence[int]) -> str:
        """Return the key of a chunk, given its position in the grid."""
        if not place and not self.prefix:
            return "0"
        return self.separator.join((*self.prefix, *map(str, place)))


def grid(shape: Sequence[int], chunk: Sequence[int]) -> list[int]:
    """Return the number of chunks along each axis."""
    return [-(-length // size) for length, size in zip(shape, chunk, strict=True)]


def places(shape: Sequence[int], chunk: Sequence[int]) -> itertools.product[tuple[int, ...]]:
    """Return the positions of all chunks in the grid, in C order."""
    return itertools.product(*map(range, grid(shape, chunk)))


def plan_of(text: bytes) -> ArrayPlan:
    """Return the storage plan in the metadata of an array, version 2 or 3.

    Raises:
        ClaimError: If the metadata is damaged or contradicts itself.
    """
    content = _parsed(text)
    shape = checked_shape(content.get("shape"))
    version = content.get("zarr_format")
    if version not in (2, 3):
        raise ClaimError(f"metadata of an array claims version {quoted(version)} of Zarr")
    try:
        plan = _version_2(content, shape) if version == 2 else _version_3(content, shape)
    except UnknownWayError as problem:
        return ArrayPlan(shape, _shown_type(content), shape, problem=str(problem))
    _check(plan)
    return plan


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text) if len(text) <= LARGEST_METADATA else None
    except (ValueError, RecursionError) as error:
        raise ClaimError(f"metadata of an array is damaged: {quoted(str(error))}") from error
    if not isinstance(content, dict):
        raise ClaimError("metadata of an array is damaged, or too long")
    return content


def _shown_type(content: Mapping[str, Any]) -> str:
    name = content.get("data_type", content.get("dtype"))
    plain = V2_TYPES.get(name[1:], name) if isinstance(name, str) else "unknown"
    return plain[:32] if plain.isprintable() and plain else "unknown"


def _check(plan: ArrayPlan) -> None:
    """Check that chunks have the rank of the array, and that their sizes are plausible."""
    chunk, inner = plan.chunk, plan.sharding.shape if plan.sharding else plan.chunk
    fits = len(chunk) == len(plan.shape) == len(inner) and 0 not in chunk and 0 not in inner
    if not fits or any(size % part for size, part in zip(chunk, inner, strict=True)):
        raise ClaimError(f"an array of shape {plan.shape} claims chunks of shape {chunk}, {inner}")
    if math.prod(grid(plan.shape, inner)) > MOST_CHUNKS or math.prod(chunk) > 2**62:
        raise ClaimError(f"an array of shape {plan.shape} claims {MOST_CHUNKS} chunks or more")


# ---------------------------------------------------------------- version 2


def _version_2(content: Mapping[str, Any], shape: tuple[int, ...]) -> ArrayPlan:
    dtype, big_endian = _v2_type(content.get("dtype"))
    chunk = checked_shape(content.get("chunks"))
    compressor, filters = content.get("compressor"), content.get("filters")
    if filters:
        raise UnknownWayError("its chunks have unsupported filters")
    codecs = () if compressor is None else (_codec(compressor, "id"),)
    axes = tuple(range(len(shape)))
    order = axes[::-1] if content.get("order") == "F" else axes
    separator = "/" if content.get("dimension_separator") == "/" else "."
    fill = _fill(content.get("fill_value"))
    return ArrayPlan(
        shape, dtype, chunk, Coding(codecs, order, big_endian), None, separator, (), fill
    )


def _v2_type(name: object) -> tuple[str, bool]:
    if name == "bfloat16":
        return "bfloat16", False
    if isinstance(name, str) and name in DTYPES and name.startswith("float8"):
        return name, False
    known = V2_TYPES.get(name[1:]) if isinstance(name, str) and name[:1] in "<>|" else None
    if known is None:
        raise UnknownWayError(f"its element type {quoted(name)} is not supported")
    return known, str(name).startswith(">")


def _codec(entry: object, key: str) -> str:
    name = entry.get(key) if isinstance(entry, dict) else None
    if name not in DECODERS and name != "crc32c":
        raise UnknownWayError(f"its chunks are coded as {quoted(name)}, which is not supported")
    return str(name)


def _fill(value: object) -> float | complex:
    """Return the value of elements that were never written; 0 by default."""
    special = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    if isinstance(value, str):
        value = special.get(value)
        if value is None:
            raise UnknownWayError("its fill value is not supported")
    if isinstance(value, list) and len(value) == 2:
        return complex(float(value[0]), float(value[1]))
    return float(value) if isinstance(value, (int, float)) else 0.0


# ---------------------------------------------------------------- version 3


def _version_3(content: Mapping[str, Any], shape: tuple[int, ...]) -> ArrayPlan:
    dtype = content.get("data_type")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnknownWayError(f"its element type {quoted(dtype)} is not supported")
    name, chunks = _named(content.get("chunk_grid"))
    if name != "regular":
        raise UnknownWayError(f"its grid of chunks is {quoted(name)}, which is not supported")
    if content.get("storage_transformers"):
        raise UnknownWayError("its chunks have unsupported transformers")
    chunk = checked_shape(chunks.get("chunk_shape"))
    encoding, options = _named(content.get("chunk_key_encoding"))
    if encoding not in ("default", "v2"):
        raise UnknownWayError(f"its chunks are named by {quoted(encoding)}, which is not supported")
    usual = "/" if encoding == "default" else "."
    separator = "/" if options.get("separator", usual) == "/" else "."
    coding, sharding = _codings(content.get("codecs"), len(shape))
    prefix = ("c",) if encoding == "default" else ()
    fill = _fill(content.get("fill_value"))
    return ArrayPlan(shape, dtype, chunk, coding, sharding, separator, prefix, fill)


def _named(entry: object) -> tuple[str, Mapping[str, Any]]:
    """Return the name of an extension point and its configuration."""
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ClaimError("metadata of an array is damaged: something in it has no name")
    options = entry.get("configuration", {})
    return entry["name"], options if isinstance(options, dict) else {}


def _codings(entries: object, rank: int) -> tuple[Coding, Sharding | None]:
    """Return the encoding that a list of codecs describes, and the sharding, if any."""
    if not isinstance(entries, list) or not entries:
        raise ClaimError("metadata of an array lists no codecs; it is damaged")
    name, options = _named(entries[0])
    if name != "sharding_indexed":
        return _plain_coding(entries, rank), None
    if len(entries) > 1:
        raise UnknownWayError("its chunks of chunks are compressed once more")
    index, _ = _codings(options.get("index_codecs"), rank + 1)
    if (
        index.big_endian
        or index.codecs not in ((), ("crc32c",))
        or index.order != (*range(rank + 1),)
    ):
        raise UnknownWayError("the index of its chunks has an unsupported encoding")
    coding, inner = _codings(options.get("codecs"), rank)
    if inner is not None:
        raise UnknownWayError("its chunks are nested more than once")
    at_end = options.get("index_location", "end") == "end"
    return Coding(), Sharding(
        checked_shape(options.get("chunk_shape")), coding, at_end, bool(index.codecs)
    )


def _plain_coding(entries: Sequence[object], rank: int) -> Coding:
    order = tuple(range(rank))
    codecs: list[str] = []
    big_endian = has_bytes = False
    for entry in entries:
        name, options = _named(entry)
        if name == "transpose" and not has_bytes:
            order = _permuted(order, options.get("order"))
        elif name == "bytes" and not has_bytes:
            has_bytes, big_endian = True, options.get("endian") == "big"
        elif has_bytes:
            codecs.append(_codec({"name": name}, "name"))
        else:
            raise UnknownWayError(f"its chunks are coded as {quoted(name)}, which is not supported")
    if not has_bytes:
        raise UnknownWayError("its codecs do not say how elements become bytes")
    return Coding(tuple(codecs), order, big_endian)


def _permuted(order: tuple[int, ...], axes: object) -> tuple[int, ...]:
    rank = len(order)
    if axes == "F":
        axes = [*range(rank)][::-1]
    if not isinstance(axes, list) or sorted(map(repr, axes)) != sorted(map(repr, range(rank))):
        raise ClaimError("metadata of an array has an invalid order of axes")
    return tuple(order[axis] for axis in axes)
