"""Parse the header of a GGUF file: metadata by key; type, shape and offset of every tensor.

Vocabularies of a hundred thousand words precede the tensors and are skipped. Versions 2 and 3 are
supported, in either byte order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from accweight_adapters.bytes.cursor import FileCursor
from accweight_adapters.untrusted import (
    ClaimError,
    check_not_empty,
    checked_name,
    checked_shape,
    checked_text,
    quoted,
)

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
MOST_AXES: Final = 8
MOST_DEPTH: Final = 4
LONGEST_KEY: Final = 1 << 12
LONGEST_TEXT: Final = 1 << 16
USUAL_ALIGNMENT: Final = 32
ALIGNMENT_KEY: Final = "general.alignment"
MOST_ITEMS: Final = 1 << 24
"""Most strings in a list; the largest vocabularies have a quarter of a million."""

TEXT, LIST = 8, 9
SCALARS: Final = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""`struct` format of metadata numbers, by type code."""


@dataclass(frozen=True, slots=True)
class ElementType:
    """Storage of elements: blocks with a number of elements and a number of bytes."""

    name: str
    block: int
    block_bytes: int


TYPES: Final = {
    code: ElementType(name, block, block_bytes)
    for code, name, block, block_bytes in (
        (0, "F32", 1, 4), (1, "F16", 1, 2), (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22), (7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34), (9, "Q8_1", 32, 40),
        (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176), (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292),
        (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98),
        (19, "IQ1_S", 256, 50), (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110),
        (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136), (24, "I8", 1, 1), (25, "I16", 1, 2),
        (26, "I32", 1, 4), (27, "I64", 1, 8), (28, "F64", 1, 8), (29, "IQ1_M", 256, 56),
        (30, "BF16", 1, 2), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36), (41, "Q1_0", 128, 18),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: its shape, slowest axis first, and its location in the file.

    Attributes:
        name: Its name.
        shape: Its shape.
        type: Element type; None if it is unknown.
        type_code: Code of that type.
        offset: Offset of its bytes.
        size_bytes: Number of bytes; 0 if the type is unknown.
    """

    name: str
    shape: tuple[int, ...]
    type: ElementType | None
    type_code: int
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header: version, byte order, scalar metadata, tensors."""

    version: int
    big_endian: bool
    notes: Mapping[str, Any] = field(default_factory=dict)
    tensors: tuple[TensorInfo, ...] = ()


def is_gguf(file: IO[bytes]) -> bool:
    """Tell whether a file starts with the GGUF magic number, of any version."""
    file.seek(0)
    return file.read(len(MAGIC)) == MAGIC


def header_in(file: IO[bytes]) -> Header:
    """Return the header of a file.

    Raises:
        ClaimError: If it is damaged or truncated, or a tensor does not fit the file.
    """
    return _Parser(file).header()


class _Parser:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._cursor = FileCursor(file)
        self._size_bytes = self._cursor.size_bytes
        self._take, self._skip = self._cursor.take, self._cursor.skip
        self._number = self._cursor.unpack
        self._items_left = MOST_ITEMS

    def header(self) -> Header:
        check_not_empty(self._size_bytes)
        if not is_gguf(self._file):
            raise ClaimError("not a GGUF file: it does not begin with GGUF")
        version = self._version()
        tensors, notes = self._number("Q"), self._number("Q")
        if 24 * tensors + 12 * notes > self._size_bytes:
            raise ClaimError(
                f"claims {tensors} tensors and {notes} notes, more than {self._size_bytes} bytes "
                "can hold; it is cut short or damaged"
            )
        known = self._notes(notes)
        described = [self._described() for _ in range(tensors)]
        alignment = known.get(ALIGNMENT_KEY, USUAL_ALIGNMENT)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment % 4:
            raise ClaimError(f"claims that its tensors are aligned to {quoted(alignment)} bytes")
        start = -(-self._cursor.place // alignment) * alignment
        found = tuple(self._placed(start, *each) for each in described)
        names = {info.name for info in found}
        if len(names) < len(found):
            raise ClaimError("lists a tensor twice")
        return Header(version, self._cursor.order == ">", known, found)

    def _version(self) -> int:
        raw = self._take(4)
        version = int.from_bytes(raw, "little")
        if not version & 0xFFFF:  # no version is this high: the byte order is reversed
            self._cursor.order, version = ">", int.from_bytes(raw, "big")
        if version not in VERSIONS:
            raise ClaimError(
                f"is GGUF of version {version}; versions 2 and 3 are read: convert it again with "
                "a recent llama.cpp"
            )
        return version

    # ------------------------------------------------------------ notes

    def _notes(self, count: int) -> dict[str, Any]:
        """Return the scalar metadata; lists are skipped."""
        found: dict[str, Any] = {}
        for _ in range(count):
            key = self._text(LONGEST_KEY)
            value = self._value(self._number("I"), 0)
            if key in found:
                raise ClaimError(f"notes {quoted(key)} twice")
            found[key] = value
        return found

    def _value(self, code: int, depth: int) -> Any:
        if code in SCALARS:
            return self._number(SCALARS[code])
        if code == TEXT:
            return self._text_or_none()
        if code != LIST or depth > MOST_DEPTH:
            raise ClaimError(f"holds a note of type {code}, which GGUF does not know")
        inner, count = self._number("I"), self._number("Q")
        if inner in SCALARS:
            self._skip(count * struct.calcsize(SCALARS[inner]))
            return None
        self._items_left -= count
        if count > self._size_bytes or self._items_left < 0:
            raise ClaimError(f"claims a list of {count} values; it is damaged")
        for _ in range(count):
            if inner == TEXT:
                self._skip(self._number("Q"))
            else:
                self._value(inner, depth + 1)
        return None

    def _text_or_none(self) -> str | None:
        """Return a string, or None after skipping a long one (a template, a licence)."""
        size = self._number("Q")
        if size > LONGEST_TEXT:
            self._skip(size)
            return None
        return self._take(size).decode("utf-8", "replace")

    # ------------------------------------------------------------ tensors

    def _described(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._text(LONGEST_KEY)
        rank = self._number("I")
        if rank > MOST_AXES:
            raise ClaimError(f"tensor {quoted(name)} claims {rank} axes; it is damaged")
        sizes = [self._number("Q") for _ in range(rank)]
        return checked_name(name), checked_shape(sizes[::-1]), self._number("I"), self._number("Q")

    def _placed(
        self, start: int, name: str, shape: tuple[int, ...], code: int, offset: int
    ) -> TensorInfo:
        known = TYPES.get(code)
        if known is None:
            return TensorInfo(name, shape, None, code, 0, 0)
        elements = math.prod(shape)
        if elements and (shape[-1:] or (1,))[0] % known.block:
            raise ClaimError(
                f"tensor {quoted(name)} of shape {shape} cannot be of type {known.name}, "
                f"which stores rows in blocks of {known.block}"
            )
        size_bytes = elements // known.block * known.block_bytes
        if start + offset + size_bytes > self._size_bytes:
            raise ClaimError(
                f"tensor {quoted(name)} reaches to byte {start + offset + size_bytes}, the file "
                f"has {self._size_bytes}; it is cut short or damaged"
            )
        return TensorInfo(name, shape, known, code, start + offset, size_bytes)

    def _text(self, most: int) -> str:
        size = self._number("Q")
        if size > most:
            raise ClaimError(f"claims a name of {size} bytes; it is damaged")
        return checked_text(self._take(size))
