"""Parse a TensorFlow index: element type, shape and location of each tensor.

The entries are protobuf messages. A sliced tensor has a further entry for each slice, under a key
made from the slice's bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Final

from accweight_adapters.bytes.protobuf import signed, values
from accweight_adapters.tensorflow.sstable import entries_of
from accweight_adapters.untrusted import ClaimError, checked_shape, checked_text, quoted

HEADER_KEY: Final = b""
STRING: Final = 7
MOST_SHARDS: Final = 99_999
WHOLE: Final = -1
"""Length of a slice along an axis that is not sliced."""

TYPES: Final = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64",
    9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128", 19: "float16",
    22: "uint32", 23: "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn", 26: "float8_e4m3fnuz",
    28: "float8_e5m2fnuz",
}  # fmt: skip
"""Names of element types, by TensorFlow's enum."""

Bounds = tuple[tuple[int, int], ...]
"""First index and length of a slice along each axis; the length of a whole axis is -1."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor, or one slice of one.

    Attributes:
        type_code: TensorFlow's enum value of its element type.
        shape: Its shape.
        shard: Number of its shard.
        offset: Its offset in the shard.
        size_bytes: Number of bytes.
        slices: Bounds of its slices; none if it is stored whole.
    """

    type_code: int
    shape: tuple[int, ...]
    shard: int = 0
    offset: int = 0
    size_bytes: int = 0
    slices: tuple[Bounds, ...] = ()

    @property
    def dtype(self) -> str:
        """Name of its element type, or '' if it is not a supported number."""
        return TYPES.get(self.type_code, "")


@dataclass(frozen=True, slots=True)
class Bundle:
    """An index.

    Attributes:
        shards: Number of files with values.
        big_endian: Whether values are stored most significant byte first.
        entries: Tensors by key.
        pieces: Slices by key.
    """

    shards: int
    big_endian: bool
    entries: Mapping[str, Entry]
    pieces: Mapping[bytes, Entry]


def bundle_in(file: IO[bytes]) -> Bundle:
    """Return the parsed index.

    Raises:
        ClaimError: If it is damaged, or not the index of a checkpoint.
    """
    found = entries_of(file)
    if HEADER_KEY not in found:
        raise ClaimError("a table without the header of a checkpoint of TensorFlow")
    header = dict(values(found.pop(HEADER_KEY)))
    shards, order = header.get(1, 0), header.get(2, 0)
    if not isinstance(shards, int) or not 0 < shards <= MOST_SHARDS or order not in (0, 1):
        raise ClaimError(f"claims {quoted(shards)} shards, order of bytes {quoted(order)}")
    entries, pieces = {}, {}
    for key, value in found.items():
        if key.startswith(b"\0"):
            pieces[key] = _entry(value, key)
        else:
            entries[checked_text(key)] = _entry(value, key)
    return Bundle(shards, order == 1, entries, pieces)


def _entry(content: bytes, key: bytes) -> Entry:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    slices = []
    for number, value in values(content):
        if number == 2 and isinstance(value, bytes):
            shape = _shape(value)
        elif number == 7 and isinstance(value, bytes):
            slices.append(_bounds(value))
        elif isinstance(value, int):
            numbers[number] = value
    code, shard, offset, size = (numbers.get(number, 0) for number in (1, 3, 4, 5))
    entry = Entry(code, shape, shard, offset, size, tuple(slices))
    if entry.offset >= 2**62 or entry.size_bytes >= 2**62:
        raise ClaimError(f"tensor {quoted(key.decode('utf-8', 'replace'))} has an invalid location")
    return entry


def _shape(content: bytes) -> tuple[int, ...]:
    sizes = []
    for number, value in values(content):
        if number == 2 and isinstance(value, bytes):
            sizes.append(signed(dict(values(value)).get(1, 0)))
        elif number == 3 and value:
            raise ClaimError("holds a tensor without a known number of axes; it is damaged")
    return checked_shape(sizes)


def _bounds(content: bytes) -> Bounds:
    found = []
    for number, value in values(content):
        if number == 1 and isinstance(value, bytes):
            extent = dict(values(value))
            found.append((signed(extent.get(1, 0)), signed(extent.get(2, WHOLE))))
    return tuple(found)


# ---------------------------------------------------------------- slices


def slice_key(name: str, bounds: Bounds) -> bytes:
    """Return the key of a slice of a tensor.

    Numbers and strings are encoded such that keys sort like them; `ordered_code.cc` of TensorFlow.
    """
    text = name.encode().replace(b"\0", b"\0\xff").replace(b"\xff", b"\xff\0")
    if b"\0" in name.encode():
        raise ClaimError(f"tensor {quoted(name)} in slices has an impossible name")
    axes = b"".join(_ordered(number) for bound in bounds for number in bound)
    rank = bytes([1, len(bounds)]) if bounds else b"\0"
    return b"\0" + text + b"\0\1" + rank + axes


def _ordered(number: int) -> bytes:
    """Return a signed number, encoded such that bytes sort like numbers."""
    magnitude = ~number if number < 0 else number
    if magnitude < 64:
        return bytes([(0x80 ^ number) & 0xFF])
    width = magnitude.bit_length() // 7 + 1
    raw = bytearray(number.to_bytes(10, "big", signed=True)[10 - width :])
    head = (0xFFFF << (16 - width)) & 0xFFFF
    raw[0] ^= head >> 8
    raw[1] ^= head & 0xFF
    return bytes(raw)


def covered(entry: Entry) -> list[tuple[tuple[int, int], ...]]:
    """Return the slices of a tensor as first index and length along each axis.

    Raises:
        ClaimError: If one is outside the tensor, or they do not cover it exactly.
    """
    found = []
    for bounds in entry.slices:
        if len(bounds) != len(entry.shape):
            raise ClaimError(f"a tensor of shape {entry.shape} has slices of another rank")
        pairs = zip(bounds, entry.shape, strict=True)
        plain = tuple((first, n - first if size == WHOLE else size) for (first, size), n in pairs)
        inside = all(
            first >= 0 and size >= 0 and first + size <= length
            for (first, size), length in zip(plain, entry.shape, strict=True)
        )
        if not inside:
            raise ClaimError(f"a slice of a tensor of shape {entry.shape} reaches beyond it")
        found.append(plain)
    elements = sum(math.prod(size for _, size in plain) for plain in found)
    if elements != math.prod(entry.shape):
        raise ClaimError(f"the slices of a tensor of shape {entry.shape} do not add up to it")
    return found
