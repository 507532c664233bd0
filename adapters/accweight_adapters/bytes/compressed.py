"""Undoing compression without being fooled: nothing grows beyond the size that was promised.

zstd and deflate are undone piece by piece up to that size and no further. Blosc allocates what a
buffer claims, so its header has to say just the size that the shape of the array asks for.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Final

import numpy as np

from accweight_adapters.bytes.varint import varint
from accweight_adapters.bytes.zip import MOST_EXPANSION, SLACK_BYTES
from accweight_adapters.untrusted import ClaimError
from accweight_core.errors import MissingLibraryError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGEST_BLOCK: Final = 1 << 17
"""Bytes that one block of zstd can make."""

PIECE_BYTES: Final = 1 << 15
"""Bytes that are given to and taken from zstd at a time. Small pieces lie in memory that is used
again: 16 MiB of weights take 16 ms this way, and 34 ms where they are asked for at once."""

BLOSC_HEADER_BYTES: Final = 16
BLOSC_EXPANSION: Final = 1 << 10
"""Times by which the codecs inside blosc shrink at most, deflate more than the others."""

SIZE_BYTES: Final = 5
"""Bytes that the size of a block of snappy, 32 bits, takes at most."""

LZ_COPY_MOST: Final = 64
"""Bytes that one element of snappy makes at most, but for plain ones."""

Stored = bytes | memoryview
"""Bytes as they are stored, or as another codec has left them."""

Decoder = Callable[[Stored, int], Stored]
"""Undoes compression: stored bytes and the size they must have then."""


def unpacked_zstd(raw: Stored, most: int) -> memoryview:
    """Return what a frame of zstd holds, if that is at most `most` bytes.

    Raises:
        ClaimError: If it is more, the frame is damaged, or something follows it. (Of two frames
            TensorStore reads the first alone.)
    """
    frame, rest, size = zstd.ZstdDecompressor(), memoryview(raw), 0
    out = np.empty(min(most, 2 * len(raw)) + PIECE_BYTES, np.uint8)  # weights need no more
    try:
        while not frame.eof and size <= most:
            given = rest[: PIECE_BYTES if frame.needs_input else 0]
            rest = rest[len(given) :]
            piece = frame.decompress(given, PIECE_BYTES)
            if len(out) < size + len(piece):
                out.resize(2 * len(out), refcheck=False)
            out[size : size + len(piece)] = np.frombuffer(piece, np.uint8)
            size += len(piece)
            if frame.needs_input and not rest:
                raise ClaimError("a frame of zstd is cut short")
    except zstd.ZstdError as error:
        raise ClaimError(f"a frame of zstd is damaged ({error})") from None
    if size > most:
        raise ClaimError(f"a frame of zstd makes more than the {most} bytes that are expected")
    if rest or frame.unused_data:
        raise ClaimError("something stands behind a frame of zstd; it is damaged")
    return out[:size].data


def of_blosc(raw: Stored, size_bytes: int) -> bytes:
    """Return the `size_bytes` bytes that a buffer of blosc holds.

    Raises:
        ClaimError: If it claims another size, or is damaged.
        MissingLibraryError: If the library is not installed.
    """
    claimed, stored = (int.from_bytes(raw[i : i + 4], "little") for i in (4, 12))
    if len(raw) < BLOSC_HEADER_BYTES or stored != len(raw) or claimed != size_bytes:
        raise ClaimError(
            f"a chunk of blosc claims {claimed} bytes from {stored}; "
            f"it has {len(raw)}, and {size_bytes} are expected"
        )
    try:
        from numcodecs import blosc
    except ImportError:
        raise MissingLibraryError("numcodecs", "jax", "undoing compression by Blosc") from None
    try:
        return bytes(blosc.decompress(raw))
    except (RuntimeError, ValueError) as error:
        raise ClaimError(f"something compressed in it is damaged ({error})") from None


def of_deflate(raw: Stored, size_bytes: int) -> bytes:
    """Return the `size_bytes` bytes that a stream of zlib or gzip holds, by its header."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(raw, size_bytes + 1)
    except zlib.error as error:
        raise ClaimError(f"a chunk is damaged ({error})") from None


DECODERS: Final[dict[str, tuple[Decoder, int]]] = {
    "zstd": (unpacked_zstd, LARGEST_BLOCK // 4),
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
