"""Varints: seven bits per byte, lowest first; the high bit marks that more bytes follow.

Protobuf, LevelDB tables, snappy and OCDBT all use them.
"""

from __future__ import annotations

from typing import Final

from accweight_adapters.untrusted import ClaimError

MOST_BYTES: Final = 10
"""Most bytes of a 64-bit varint."""

A_NUMBER: Final = "a number in it"


def varint(
    content: bytes, place: int, end: int, most: int = MOST_BYTES, what: str = A_NUMBER
) -> tuple[int, int]:
    """Return the varint at `place` and the position after it.

    Overlong encodings are accepted and bits beyond the 64th are kept: the caller checks the value
    against what it describes.

    Args:
        content: Bytes that contain it.
        place: Its position.
        end: Latest end, at most the length of `content`.
        most: Most bytes.
        what: Its name in messages.

    Raises:
        ClaimError: If it does not end before `end`, or takes more than `most` bytes.
    """
    if place < end and (byte := content[place]) < 128:  # most have one byte
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
    """Return a non-negative number as a varint."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    content.append(value)
    return bytes(content)
