"""Decompression with a size limit: no output exceeds the size that the metadata promise.

zstd and deflate are decompressed piecewise up to that size. Blosc allocates the size in its header,
so that must equal the size that the shape of the array requires.
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
"""Most bytes that one zstd block decompresses to."""

PIECE_BYTES: Final = 1 << 15
"""Bytes per call to and from zstd. Small pieces reuse the same memory: 16 MiB of weights take 16
ms, against 34 ms in one call."""

BLOSC_HEADER_BYTES: Final = 16
BLOSC_EXPANSION: Final = 1 << 10
"""Highest compression ratio of the codecs inside Blosc, which is that of deflate."""

SIZE_BYTES: Final = 5
"""Most bytes of the size of a snappy block, which has 32 bits."""

LZ_COPY_MOST: Final = 64
"""Most bytes that one snappy element produces, except literals."""

Stored = bytes | memoryview
"""Bytes as stored, or as another codec has returned them."""

Decoder = Callable[[Stored, int], Stored]
"""Decompresses stored bytes to a given size."""


def unpacked_zstd(raw: Stored, most: int) -> memoryview:
    """Return the content of a zstd frame of at most `most` bytes.

    Raises:
        ClaimError: If it is larger or damaged, or followed by anything else. (TensorStore reads
        only the first of two frames.)
    """
    frame, rest, size = zstd.ZstdDecompressor(), memoryview(raw), 0
    out = np.empty(min(most, 2 * len(raw)) + PIECE_BYTES, np.uint8)  # enough for weights
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
        raise ClaimError("a frame of zstd is followed by other bytes; it is damaged")
    return out[:size].data


def of_blosc(raw: Stored, size_bytes: int) -> bytes:
    """Return the `size_bytes` bytes of a Blosc buffer.

    Raises:
        ClaimError: If its header gives another size, or it is damaged.
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
    """Return the `size_bytes` bytes of a zlib or gzip stream, told apart by the header."""
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
"""Decoder and highest ratio of each codec, by name."""


def most_unpacked(codec: str, stored_bytes: int) -> int:
    """Return the most bytes that `stored_bytes` can decompress to."""
    return DECODERS[codec][1] * stored_bytes + SLACK_BYTES


def of_snappy(raw: bytes, most: int) -> bytes:
    """Return the content of a snappy block of at most `most` bytes.

    Raises:
        ClaimError: If it is damaged, or its size differs from its header.
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
        raise ClaimError("a block of snappy is damaged: its size is not the one in its header")
    return bytes(out)


def _literal(raw: bytes, place: int, code: int, out: bytearray) -> int:
    """Append a literal; return the position after it."""
    if code >= 60:
        width = code - 59
        code = int.from_bytes(raw[place : place + width], "little")
        place += width
    out += raw[place : place + code + 1]
    return place + code + 1


def _copy(raw: bytes, place: int, tag: int, out: bytearray) -> int:
    """Append a copy of earlier output; return the position after the element."""
    if tag & 3 == 1:
        count, width, high = (tag >> 2 & 7) + 4, 1, tag >> 5 << 8
    else:
        count, width, high = (tag >> 2) + 1, (0, 0, 2, 4)[tag & 3], 0
    back = high + int.from_bytes(raw[place : place + width], "little")
    if not 0 < back <= len(out):
        raise ClaimError("a block of snappy is damaged: it copies from before its start")
    start = len(out) - back
    for index in range(start, start + count):  # source and target may overlap
        out.append(out[index])
    return place + width
