"""Messages in protobuf's wire format, walked field by field without knowing their schema.

A message may lie in a file, with weights in it that nobody wants to read: `fields` looks at the
few bytes in front of each field and steps over its content. Of one that is at hand, `values` gives
the contents as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from accweight_adapters.bytes.varint import encoded, varint
from accweight_adapters.bytes.window import FileWindow
from accweight_adapters.untrusted import ClaimError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types; 3 and 4 were groups, which no format here has."""

FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}

HEAD_BYTES: Final = 20
"""Bytes of a tag and a length at most."""


class Field(NamedTuple):
    """One field of a message that lies in a file.

    Attributes:
        number: Its number in the schema.
        wire: How it is stored.
        start: Where its tag begins.
        body: Where its content begins.
        stop: Where its content ends.
    """

    number: int
    wire: int
    start: int
    body: int
    stop: int


def fields(window: FileWindow, start: int, stop: int) -> Iterator[Field]:
    """Yield the fields of the message between two places of a file; no content is read.

    Raises:
        ClaimError: If one is damaged, or reaches beyond the message.
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
    """Yield number and value of the fields of a message at hand; fixed numbers have no sign.

    Raises:
        ClaimError: If one is damaged, or reaches beyond the message.
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
    """Return what the first bytes of a field say, of which those before `end` are at hand.

    Returns:
        Its number, its wire type, where its content begins and ends, and its value if it is a
        `VARINT`.
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
    raise ClaimError(f"a field has wire type {wire}, which is not read")


def signed(value: int | bytes) -> int:
    """Return the value of a field as a number of 64 bits with a sign.

    Raises:
        ClaimError: If it is not a number.
    """
    if isinstance(value, bytes):
        raise ClaimError("holds bytes where a number should be; it is damaged")
    return value - (1 << 64) if value >= 1 << 63 else value


def length_delimited(number: int, body: bytes | bytearray) -> bytes:
    """Return a field of bytes, as messages and texts are stored."""
    return encoded(number << 3 | LENGTH) + encoded(len(body)) + body
