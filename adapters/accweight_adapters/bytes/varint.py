"""Numbers of variable length: seven bits in a byte, the lowest first; a high bit says: more follow.

Protobuf, the tables of LevelDB, snappy and OCDBT all write them alike.
"""

from __future__ import annotations

from typing import Final

from accweight_adapters.untrusted import ClaimError

MOST_BYTES: Final = 10
"""Bytes that 64 bits take at most."""

A_NUMBER: Final = "a number in it"


def varint(
    content: bytes, place: int, end: int, most: int = MOST_BYTES, what: str = A_NUMBER
) -> tuple[int, int]:
    """Return the number at `place` and the place behind it.

    Longer forms than needed are read as well, and bits beyond the 64th are kept: a number is a
    claim, and who asks for it holds it against what there is.

    Args:
        content: What it lies in.
        place: Where it begins.
        end: Where it has to end at the latest, not beyond `content`.
        most: How many bytes it may take.
        what: What it is called in the message.

    Raises:
        ClaimError: If it does not end before `end`, or takes more than `most` bytes.
    """
    if place < end and (byte := content[place]) < 128:  # most are lengths and tags of one byte
        return byte, place + 1
    value = shift = 0
    for index in range(place, min(end, place + most)):
        byte = content[index]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, index + 1
        shift += 7
    raise ClaimError(f"{what} is not terminated; it is damaged or cut short")


def encoded(value: int) -> bytes:
    """Return a number, which is not negative, as `varint` reads it."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)
