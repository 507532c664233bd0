"""Pickles inside a compressed stream: deflate is read, other compressions are refused by name.

Deflate can be entered at the start of any window that was inflated before, so one tensor is read
without those before it; the other compressions cannot.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, Final, cast

from accweight_adapters.bytes.inflated_file import InflatedFile
from accweight_adapters.bytes.zip import Member
from accweight_adapters.pickles.places import Place, inflated_at
from accweight_adapters.untrusted import ClaimError

ZLIB_OR_GZIP: Final = zlib.MAX_WBITS | 32
HEAD_BYTES: Final = 64
MOST_RATIO: Final = 100
"""Highest compression ratio; weights shrink by about a tenth."""

SMALL_BYTES: Final = 1 << 26
"""Size up to which any ratio is allowed: networks that begin with zeros."""

SLACK_BYTES: Final = 1 << 16
"""Most bytes that are inflated for the first few."""

OTHERS: Final = {
    b"BZh": ("bzip2", "bunzip2 < FILE > NEW"),
    b"\xfd7zXZ\x00": ("xz", "unxz < FILE > NEW"),
    b"\x5d\x00\x00": ("lzma", "unlzma < FILE > NEW"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd < FILE > NEW"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4 < FILE > NEW"),
    b"ZF": ("an old version of joblib", "joblib.dump(joblib.load(PATH), NEW)"),
}
"""Compressions that are not read: their first bytes, name and remedy."""


def is_deflated(head: bytes) -> bool:
    """Tell whether bytes begin like gzip or zlib."""
    return head.startswith(b"\x1f\x8b\x08") or (
        len(head) > 1 and head[0] == 0x78 and int.from_bytes(head[:2], "big") % 31 == 0
    )


def inflated_head(head: bytes) -> bytes:
    """Return the first bytes of what gzip or zlib holds; none if it is neither."""
    if not is_deflated(head):
        return b""
    try:
        return zlib.decompressobj(ZLIB_OR_GZIP).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def refused_packing(head: bytes) -> tuple[str, str] | None:
    """Return name and remedy of a compression that is not read, or None."""
    return next((named for magic, named in OTHERS.items() if head.startswith(magic)), None)


def unpacked_head(head: bytes) -> bytes:
    """Return the first bytes of what another compression holds, as far as that can be told."""
    try:
        if head.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(head, HEAD_BYTES)
        if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
            return lzma.LZMADecompressor().decompress(head, HEAD_BYTES)
    except (OSError, EOFError, ValueError, lzma.LZMAError):
        return b""
    place = head.find(b"\x80")  # the first bytes are stored as they are
    return head[place:] if 0 <= place < HEAD_BYTES else b""


def inflated_file(path: Path, stored_bytes: int) -> tuple[IO[bytes], Place]:
    """Return the content of a file of gzip or zlib, and the place of what lies in it.

    Raises:
        ClaimError: If it is damaged, or would grow more than weights ever do.
    """
    limit = max(SMALL_BYTES, MOST_RATIO * stored_bytes)
    member = Member(path.name, 0, stored_bytes, limit, is_deflated=True, checksum=0)
    place = Place(path, member=member, wbits=ZLIB_OR_GZIP)
    part = inflated_at(path, member, ZLIB_OR_GZIP, path.stat().st_mtime)
    size_bytes = part.whole_bytes(limit)
    if size_bytes > limit:
        raise ClaimError(
            f"would grow from {stored_bytes} to more than {limit} bytes, which no weights do"
        )
    file = io.BufferedReader(InflatedFile(part, size_bytes), 1 << 14)
    return cast("IO[bytes]", file), place
