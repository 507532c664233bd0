"""Members of a zip: where their bytes are, and how to inflate them within limits.

The directory has two sizes per member, stored and original. Deflate compresses by at most 1032, so
a larger ratio is refused; otherwise inflating stops at the original size. Nothing is extracted to
disk.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

from accweight_adapters.untrusted import ClaimError, quoted
from accweight_core.remote import expect

ZIP_MAGIC: Final = b"PK\x03\x04"
LOCAL_HEADER_BYTES: Final = 30
MOST_EXPANSION: Final = 1032
"""Highest ratio of deflate; a length-distance pair of two bits gives 258 bytes."""

BEGINNING_BYTES: Final = 512
"""Size of the local header, the name and, in NumPy archives, the array header."""

SLACK_BYTES: Final = 4096
PIECE_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a zip.

    Attributes:
        name: Its name.
        offset: Offset of its stored bytes in the file.
        stored_bytes: Number of stored bytes.
        size_bytes: Number of bytes after inflating.
        is_deflated: Whether it is compressed.
        checksum: CRC-32 of the inflated bytes.
    """

    name: str
    offset: int
    stored_bytes: int
    size_bytes: int
    is_deflated: bool
    checksum: int


def first_name(file: IO[bytes]) -> str:
    """Return the name of the first member, even in a truncated zip, or ''."""
    file.seek(0)
    head = file.read(512)
    if not head.startswith(ZIP_MAGIC):
        return ""
    name_bytes = int.from_bytes(head[26:28], "little")
    return head[LOCAL_HEADER_BYTES : LOCAL_HEADER_BYTES + name_bytes].decode("utf-8", "replace")


def member_names(file: IO[bytes]) -> list[str]:
    """Return the names in a zip's directory."""
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()


def members_of(file: IO[bytes], size_bytes: int) -> dict[str, Member]:
    """Return the members of a zip by name, in directory order.

    Raises:
        ClaimError: If the directory is damaged or its sizes are wrong, or a member is unreadable.
    """
    infos = directory_of(file, size_bytes)
    expect(file, [(info.header_offset, BEGINNING_BYTES) for info in infos])
    return {info.filename: member_of(file, info, size_bytes) for info in infos}


def directory_of(
    file: IO[bytes], size_bytes: int, what: str = "member"
) -> Sequence[zipfile.ZipInfo]:
    """Return the entries of the directory of a zip, each name once.

    Args:
        file: The zip.
        size_bytes: Its size.
        what: Name of a member in messages.

    Raises:
        ClaimError: If the directory is damaged, or lists a name twice.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ClaimError(
            f"its zip directory is missing or damaged ({quoted(str(error))}); the file of "
            f"{size_bytes} bytes is probably cut short: copy it again, or drop this checkpoint"
        ) from error
    if len({info.filename for info in infos}) != len(infos):
        raise ClaimError(f"its zip directory lists a {what} twice")
    return infos


def data_offset(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int, what: str) -> int:
    """Return the offset of a member's bytes, from its local header.

    Args:
        file: The zip.
        info: The directory's entry for the member.
        size_bytes: Size of the zip.
        what: Name of a member in messages.

    Raises:
        ClaimError: If the member is missing or incomplete.
    """
    name = quoted(info.filename)
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER_BYTES)
    if len(header) < LOCAL_HEADER_BYTES or not header.startswith(ZIP_MAGIC):
        raise ClaimError(f"its {what} {name} is not where the zip directory says; it is damaged")
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    offset = info.header_offset + LOCAL_HEADER_BYTES + lengths
    if offset + info.compress_size > size_bytes:
        raise ClaimError(
            f"its {what} {name} ends at byte {offset + info.compress_size}, "
            f"but the file has {size_bytes}; it is cut short"
        )
    return offset


def member_of(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int) -> Member:
    """Return the location of a member, stored or deflated, after checking its ratio."""
    name = quoted(info.filename)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ClaimError(f"its member {name} is compressed by method {info.compress_type}")
    if info.flag_bits & 0x2041:
        raise ClaimError(f"its member {name} is encrypted")
    offset = data_offset(file, info, size_bytes, "member")
    is_deflated = info.compress_type == zipfile.ZIP_DEFLATED
    limit = MOST_EXPANSION * info.compress_size + SLACK_BYTES if is_deflated else info.compress_size
    if info.file_size > limit or (not is_deflated and info.file_size != limit):
        raise ClaimError(
            f"its member {name} claims {info.file_size} bytes, "
            f"which {info.compress_size} stored bytes cannot hold"
        )
    return Member(info.filename, offset, info.compress_size, info.file_size, is_deflated, info.CRC)


def content_of(file: IO[bytes], member: Member, most: int) -> bytes:
    """Return the first `most` bytes of a member, with the checksum verified if that is all.

    Raises:
        ClaimError: If its size or checksum differs from the directory.
    """
    wanted = min(most, member.size_bytes)
    content = bytearray()
    for piece in inflated(file, member, max(1, min(PIECE_BYTES, most))):
        content += piece
        if len(content) >= wanted and wanted < member.size_bytes:
            return bytes(content[:wanted])
    return bytes(content)


def inflated(file: IO[bytes], member: Member, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """Yield the bytes of a member piece by piece, up to its size in the directory.

    Args:
        file: The zip.
        member: The member.
        piece_bytes: Stored bytes per read.

    Raises:
        ClaimError: At the end, if size or checksum differ.
    """
    done = checksum = 0
    for piece in _pieces(file, member, piece_bytes):
        done += len(piece)
        checksum = zlib.crc32(piece, checksum)
        if done > member.size_bytes:
            raise ClaimError(f"its member {quoted(member.name)} inflates to more than it says")
        yield piece
    if done != member.size_bytes or checksum != member.checksum:
        raise ClaimError(f"its member {quoted(member.name)} is damaged: size or checksum differ")


def _pieces(file: IO[bytes], member: Member, piece_bytes: int) -> Iterator[bytes]:
    stored = _stored_pieces(file, member, piece_bytes)
    if not member.is_deflated:
        yield from stored
        return
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    for waiting in stored:
        full = True
        while full and not stream.eof:  # more output may be pending after all input
            try:
                piece = stream.decompress(waiting, PIECE_BYTES)
            except zlib.error as error:
                raise ClaimError(f"its member {quoted(member.name)} is damaged ({error})") from None
            waiting, full = stream.unconsumed_tail, len(piece) == PIECE_BYTES
            yield piece


def _stored_pieces(file: IO[bytes], member: Member, piece_bytes: int) -> Iterator[bytes]:
    for start in range(0, member.stored_bytes, piece_bytes):
        file.seek(member.offset + start)
        yield file.read(min(piece_bytes, member.stored_bytes - start))
