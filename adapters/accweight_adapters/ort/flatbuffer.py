"""Read FlatBuffers field by field, without a generated schema.

A buffer consists of tables with offsets to each other. Nothing is parsed ahead: the caller, who
knows the schema, reads fields by number, and every offset and length is checked against the size of
the file. The depth is that of the schema, so cycles are harmless.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from accweight_adapters.bytes.window import FileWindow
from accweight_adapters.untrusted import MAX_NAME, ClaimError, checked_text

OFFSET_BYTES: Final = 4
IDENTIFIER_BYTES: Final = 4
FIRST_FIELD: Final = 4
"""Offset of field 0 in a vtable, after two sizes."""


class Buffer(FileWindow):
    """An open file that holds a FlatBuffer."""

    def integer(self, place: int, code: str) -> int:
        """Return the integer at `place`, with a format code of `struct`."""
        (value,) = struct.unpack(f"<{code}", self.read(place, struct.calcsize(code)))
        return int(value)

    def behind(self, place: int) -> int:
        """Return the target of the offset at `place`."""
        return place + self.integer(place, "I")

    @property
    def identifier(self) -> bytes:
        """The four-letter file identifier; empty if the file is too short."""
        if self.size_bytes < OFFSET_BYTES + IDENTIFIER_BYTES:
            return b""
        return self.read(OFFSET_BYTES, IDENTIFIER_BYTES)

    @property
    def root(self) -> Table:
        """The root table."""
        return Table(self, self.behind(0))


@dataclass(frozen=True, slots=True)
class Vector:
    """Consecutive items of equal size, each a number or an offset."""

    buffer: Buffer
    place: int
    length: int

    def tables(self) -> Iterator[Table]:
        """Yield the tables at its offsets."""
        for index in range(self.length):
            yield Table(self.buffer, self.buffer.behind(self.place + OFFSET_BYTES * index))


class Table:
    """A record with optional fields; its vtable has their offsets."""

    def __init__(self, buffer: Buffer, place: int) -> None:
        self.place = place
        self._buffer = buffer
        self._vtable = place - buffer.integer(place, "i")
        self._vtable_bytes = buffer.integer(self._vtable, "H")
        buffer.check(self._vtable, self._vtable_bytes)

    def field(self, number: int) -> int | None:
        """Return the position of a field, or None if it is absent."""
        entry = FIRST_FIELD + 2 * number
        if entry + 2 > self._vtable_bytes:
            return None
        offset = self._buffer.integer(self._vtable + entry, "H")
        return self.place + offset if offset else None

    def integer(self, number: int, code: str, default: int = 0) -> int:
        """Return an integer field."""
        place = self.field(number)
        return default if place is None else self._buffer.integer(place, code)

    def float32(self, number: int) -> float:
        """Return a float field."""
        place = self.field(number)
        if place is None:
            return 0.0
        (value,) = struct.unpack("<f", self._buffer.read(place, 4))
        return float(value)

    def text(self, number: int) -> str:
        """Return a short string field, empty if it is absent."""
        letters = self.vector(number, 1)
        if letters is None:
            return ""
        if letters.length > 4 * MAX_NAME:
            raise ClaimError(f"claims a name of {letters.length} bytes; it is damaged")
        return checked_text(self._buffer.read(letters.place, letters.length))

    def table(self, number: int) -> Table | None:
        """Return a table field, or None if it is absent."""
        place = self.field(number)
        return None if place is None else Table(self._buffer, self._buffer.behind(place))

    def vector(self, number: int, item_bytes: int) -> Vector | None:
        """Return a vector field, or None if it is absent."""
        place = self.field(number)
        if place is None:
            return None
        start = self._buffer.behind(place)
        length = self._buffer.integer(start, "I")
        self._buffer.check(start + OFFSET_BYTES, length * item_bytes)
        return Vector(self._buffer, start + OFFSET_BYTES, length)

    def tables(self, number: int) -> Iterator[Table]:
        """Yield the tables of a vector field; none if it is absent."""
        vector = self.vector(number, OFFSET_BYTES)
        return vector.tables() if vector is not None else iter(())
