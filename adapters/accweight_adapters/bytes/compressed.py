"""Undoing compression without being fooled: nothing grows beyond the size that was promised.

The libraries at work allocate what a frame claims, so claims are checked before they are called:
every block of zstd makes at most 128 KiB, deflate shrinks by 1032 at most, and the header of
blosc has to say just the size that the shape of the array asks for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

from accweight_adapters.bytes.varint import varint
from accweight_adapters.bytes.zip import MOST_EXPANSION, SLACK_BYTES
from accweight_adapters.untrusted import ClaimError

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
LARGEST_BLOCK: Final = 1 << 17
"""Bytes that one block of zstd can make."""

BLOSC_HEADER_BYTES: Final = 16
BLOSC_EXPANSION: Final = 1 << 10
"""Times by which the codecs inside blosc shrink at most, deflate more than the others."""

SIZE_BYTES: Final = 5
"""Bytes that the size of a block of snappy, 32 bits, takes at most."""

LZ_COPY_MOST: Final = 64
"""Bytes that one element of snappy makes at most, but for plain ones."""

Decoder = Callable[[bytes, int], bytes]
"""Undoes compression: stored bytes and the size they must have then."""


def zstd_bound(raw: bytes) -> int:
    """Return how many bytes a frame of zstd makes at most: what it says, or what its blocks can.

    Raises:
        ClaimError: If it is not a frame, is cut short, or claims more than its blocks can make.
    """
    place, claimed = _zstd_header(raw)
    most, is_last = 0, False
    while not is_last:
        head = int.from_bytes(raw[place : place + 3], "little")
        if place + 3 > len(raw):
            raise ClaimError("a frame of zstd is cut short")
        is_last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
        most += LARGEST_BLOCK if kind == 2 else size
        place += 3 + (1 if kind == 1 else size)
    if place > len(raw) or (claimed or 0) > most:
        raise ClaimError("a frame of zstd is cut short, or claims more than it can hold")
    return most if claimed is None else claimed


def _zstd_header(raw: bytes) -> tuple[int, int | None]:
    """Return where the blocks of a frame begin, and the size it claims to make if it does."""
    if not raw.startswith(ZSTD_MAGIC) or len(raw) < 6:
        raise ClaimError("something in it should be compressed by zstd, and is not")
    flags = raw[4]
    is_single, size_code = flags >> 5 & 1, flags >> 6
    place = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    width = (is_single, 2, 4, 8)[size_code]
    if not width:
        return place, None
    claimed = int.from_bytes(raw[place : place + width], "little") + (256 if width == 2 else 0)
    return place + width, claimed


def unpacked_zstd(raw: bytes, most: int) -> bytes:
    """Return what a frame of zstd holds, if that is at most `most` bytes.

    Raises:
        ClaimError: If it is more, or the frame is damaged.
    """
    if (bound := zstd_bound(raw)) > most:
        raise ClaimError(f"a frame of zstd would make up to {bound} bytes; {most} are expected")
    from numcodecs import zstd  # only who reads such files needs it

    return _undone(zstd.decompress, raw) if bound else b""


def of_zstd(raw: bytes, size_bytes: int) -> bytes:
    """Return the `size_bytes` bytes that a frame of zstd holds."""
    if (bound := zstd_bound(raw)) > size_bytes + LARGEST_BLOCK:
        raise ClaimError(f"a chunk would make {bound} bytes, {size_bytes} are expected")
    return unpacked_zstd(raw, bound)


def of_blosc(raw: bytes, size_bytes: int) -> bytes:
    """Return the `size_bytes` bytes that a buffer of blosc holds."""
    claimed, stored = (int.from_bytes(raw[i : i + 4], "little") for i in (4, 12))
    if len(raw) < BLOSC_HEADER_BYTES or stored != len(raw) or claimed != size_bytes:
        raise ClaimError(
            f"a chunk of blosc claims {claimed} bytes from {stored}; "
            f"it has {len(raw)}, and {size_bytes} are expected"
        )
    from numcodecs import blosc

    return _undone(blosc.decompress, raw)


def of_deflate(raw: bytes, size_bytes: int) -> bytes:
    """Return the `size_bytes` bytes that a stream of zlib or gzip holds, by its header."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, size_bytes + 1)
    except zlib.error as error:
        raise ClaimError(f"a chunk is damaged ({error})") from None


def _undone(decompress: Callable[[bytes], Any], raw: bytes) -> bytes:
    try:
        return bytes(decompress(raw))
    except (RuntimeError, ValueError) as error:
        raise ClaimError(f"something compressed in it is damaged ({error})") from None


DECODERS: Final[dict[str, tuple[Decoder, int]]] = {
    "zstd": (of_zstd, LARGEST_BLOCK // 4),
    "blosc": (of_blosc, BLOSC_EXPANSION),
    "zlib": (of_deflate, MOST_EXPANSION),
    "gzip": (of_deflate, MOST_EXPANSION),
}
"""How to undo a compression by its name, and by how much it can shrink at most."""


def most_unpacked(codec: str, stored_bytes: int) -> int:
    """Return how many bytes `stored_bytes` may become."""
    return DECODERS[codec][1] * stored_bytes + SLACK_BYTES


def of_snappy(raw: bytes, most: int) -> bytes:
    """Return what a block of snappy holds, if that is at most `most` bytes.

    Raises:
        ClaimError: If it is damaged, or makes more or less than it says.
    """
    claimed, place = varint(raw, 0, len(raw), SIZE_BYTES, "the size of a block of snappy")
    if claimed > min(most, LZ_COPY_MOST * len(raw)):
        raise ClaimError(f"a block of snappy claims {claimed} bytes, from {len(raw)}")
    out = bytearray()
    while place < len(raw) and len(out) <= claimed:
        tag = raw[place]
        place += 1
        is_literal = tag & 3 == 0
        place = _literal(raw, place, tag >> 2, out) if is_literal else _copy(raw, place, tag, out)
    if len(out) != claimed:
        raise ClaimError("a block of snappy is damaged: it makes another size than it says")
    return bytes(out)


def _literal(raw: bytes, place: int, code: int, out: bytearray) -> int:
    """Append bytes that stand there as they are; return the place behind them."""
    if code >= 60:
        width = code - 59
        code = int.from_bytes(raw[place : place + width], "little")
        place += width
    out += raw[place : place + code + 1]
    return place + code + 1


def _copy(raw: bytes, place: int, tag: int, out: bytearray) -> int:
    """Append bytes that were there before; return the place behind the element."""
    if tag & 3 == 1:
        count, width, high = (tag >> 2 & 7) + 4, 1, tag >> 5 << 8
    else:
        count, width, high = (tag >> 2) + 1, (0, 0, 2, 4)[tag & 3], 0
    back = high + int.from_bytes(raw[place : place + width], "little")
    if not 0 < back <= len(out):
        raise ClaimError("a block of snappy is damaged: it repeats what was never there")
    start = len(out) - back
    for index in range(start, start + count):  # it may repeat what it has just written
        out.append(out[index])
    return place + width
