"""Protobuf messages read field by field, without a schema.

A message in a file may contain weights that are not needed: `fields` reads the few bytes before
each field and skips its content. `values` also returns the contents, of a message in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from accweight_adapters.bytes.varint import encoded, varint
from accweight_adapters.bytes.window import FileWindow
from accweight_adapters.untrusted import ClaimError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 were groups, which no format here uses."""

FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}

HEAD_BYTES: Final = 20
"""Most bytes of a tag and a length."""


class Field(NamedTuple):
    """One field of a message in a file.

    Attributes:
        number: Field number in the schema.
        wire: Wire type.
        start: Offset of the tag.
        body: Offset of the content.
        stop: End of the content.
    """

    number: int
    wire: int
    start: int
    body: int
    stop: int


def fields(window: FileWindow, start: int, stop: int) -> Iterator[Field]:
    """Yield the fields of the message in a range of a file, without their contents.

    Raises:
        ClaimError: If one is damaged, or extends beyond the message.
    """
    position = start
    while position < stop:
        content, place = window.around(position, HEAD_BYTES)
        base = position - place
        try:
            number, wire, body, end, _ = _head(content, place, min(stop - base, len(content)))
        except ClaimError as error:
            raise window.fault(position, str(error)) from None
        body, end = base + body, base + end
        if end > stop:
            owner = "its message" if stop < window.size_bytes else "the file: it was cut short"
            problem = f"a field ends at byte {end}, past byte {stop}, the end of {owner}"
            raise window.fault(position, problem)
        yield Field(number, wire, position, body, end)
        position = end


def values(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of the fields of a message in memory; fixed-size numbers are unsigned.

    Raises:
        ClaimError: If one is damaged, or extends beyond the message.
    """
    place, end = 0, len(content)
    while place < end:
        number, wire, body, place, value = _head(content, place, end)
        if place > end:
            raise ClaimError(
                f"a field ends at byte {place} of a message of {end}; it is damaged or cut short"
            )
        if wire == VARINT:
            yield number, value
        elif wire == LENGTH:
            yield number, content[body:place]
        else:
            yield number, int.from_bytes(content[body:place], "little")


def _head(content: bytes, place: int, end: int) -> tuple[int, int, int, int, int]:
    """Parse the start of a field, given the bytes before `end`.

    Returns:
        Field number, wire type, start and end of the content, and the value of a `VARINT`.
    """
    tag, body = varint(content, place, end)
    wire = tag & 7
    if tag < 8:
        raise ClaimError("a field has the number 0")
    if wire == LENGTH:
        length, body = varint(content, body, end)
        return tag >> 3, wire, body, body + length, 0
    if wire == VARINT:
        value, stop = varint(content, body, end)
        return tag >> 3, wire, body, stop, value
    if wire in FIXED_BYTES:
        return tag >> 3, wire, body, body + FIXED_BYTES[wire], 0
    raise ClaimError(f"a field has wire type {wire}, which is not supported")


def signed(value: int | bytes) -> int:
    """Return the value of a field as a signed 64-bit integer.

    Raises:
        ClaimError: If it is not a number.
    """
    if isinstance(value, bytes):
        raise ClaimError("holds bytes where a number should be; it is damaged")
    return value - (1 << 64) if value >= 1 << 63 else value


def length_delimited(number: int, body: bytes | bytearray) -> bytes:
    """Return an encoded field with a length, for messages and strings."""
    return encoded(number << 3 | LENGTH) + encoded(len(body)) + body
