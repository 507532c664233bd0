"""Read LevelDB's sorted tables of keys and values, the format of TensorFlow indexes.

A footer points to an index block, which lists the other blocks; within a block, each key shares a
prefix with the one before. Every block has a checksum, and may be compressed with snappy.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Final

from accweight_adapters.bytes.compressed import of_snappy
from accweight_adapters.bytes.varint import varint
from accweight_adapters.untrusted import ClaimError, check_not_empty

FOOTER_BYTES: Final = 48
MAGIC: Final = (0xDB4775248B80FB57).to_bytes(8, "little")
TRAILER_BYTES: Final = 5
CHECKSUM_DELTA: Final = 0xA282EAD8
PLAIN, SNAPPY = 0, 1
LARGEST_BLOCK: Final = 1 << 26
"""Most bytes of a block; writers end one after 256 KiB, or after a larger value."""

MOST_BYTES: Final = 1 << 28
"""Most bytes of all blocks and keys: shared prefixes let a small file expand a lot."""


def is_table(file: IO[bytes]) -> bool:
    """Tell whether a file ends like such a table."""
    size_bytes = file.seek(0, io.SEEK_END)
    if size_bytes < FOOTER_BYTES:
        return False
    file.seek(size_bytes - len(MAGIC))
    return file.read(len(MAGIC)) == MAGIC


def entries_of(file: IO[bytes]) -> dict[bytes, bytes]:
    """Return all keys and values of a table, in order.

    Raises:
        ClaimError: If it is damaged or truncated, or another format.
    """
    return dict(_Table(file).entries())


class _Table:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size_bytes = file.seek(0, io.SEEK_END)
        self._left = MOST_BYTES

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        check_not_empty(self._size_bytes)
        if not is_table(self._file):
            raise ClaimError("does not end as an index of TensorFlow; it is cut short or damaged")
        self._file.seek(self._size_bytes - FOOTER_BYTES)
        footer = self._file.read(FOOTER_BYTES - len(MAGIC))
        _, place = _handle(footer, 0)
        index, _ = _handle(footer, place)
        last = b""
        for _, handle in self._block(*index):
            for key, value in self._block(*_handle(handle, 0)[0]):
                if last and key <= last:
                    raise ClaimError("its keys are not in order; it is damaged")
                last = key
                yield key, value

    def _block(self, offset: int, size: int) -> list[tuple[bytes, bytes]]:
        """Return the entries of a block."""
        end = offset + size + TRAILER_BYTES
        if end > self._size_bytes or size > LARGEST_BLOCK:
            raise ClaimError(f"a block should reach to byte {end}, it has {self._size_bytes}")
        self._file.seek(offset)
        raw = self._file.read(size + TRAILER_BYTES)
        if _checksum(raw[: size + 1]) != int.from_bytes(raw[size + 1 :], "little"):
            raise ClaimError(f"the block at byte {offset} is damaged: its checksum differs")
        if raw[size] not in (PLAIN, SNAPPY):
            raise ClaimError(f"the block at byte {offset} has unsupported compression")
        content = raw[:size] if raw[size] == PLAIN else of_snappy(raw[:size], LARGEST_BLOCK)
        self._count(len(content))
        return list(self._parsed(content))

    def _parsed(self, content: bytes) -> Iterator[tuple[bytes, bytes]]:
        restarts = int.from_bytes(content[-4:], "little")
        end = len(content) - 4 - 4 * restarts
        if len(content) < 4 or end < 0:
            raise ClaimError("a block of its index is damaged")
        place, key = 0, b""
        while place < end:
            shared, place = varint(content, place, end)
            added, place = varint(content, place, end)
            size, place = varint(content, place, end)
            if shared > len(key) or place + added + size > end:
                raise ClaimError("a block of its index is damaged: an entry does not fit")
            key = key[:shared] + content[place : place + added]
            place += added
            self._count(len(key))
            yield key, content[place : place + size]
            place += size

    def _count(self, size_bytes: int) -> None:
        self._left -= size_bytes
        if self._left < 0:
            raise ClaimError(f"its index expands to more than {MOST_BYTES} bytes")


def _handle(content: bytes, place: int) -> tuple[tuple[int, int], int]:
    """Return offset and size of a block, and the position after them."""
    offset, place = varint(content, place, len(content))
    size, place = varint(content, place, len(content))
    return (offset, size), place


def _checksum(content: bytes) -> int:
    """Return the checksum of a block, masked because files may contain checksums of checksums."""
    import google_crc32c

    value: int = google_crc32c.value(content)
    return ((value >> 15 | value << 17) + CHECKSUM_DELTA) & 0xFFFFFFFF
