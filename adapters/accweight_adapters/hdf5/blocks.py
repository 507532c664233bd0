"""The lowest layer of HDF5: addresses, lengths in the file's own width, checksums."""

from __future__ import annotations

import struct
from typing import Final

from accweight_adapters.bytes.source import ByteSource
from accweight_adapters.untrusted import ClaimError, quoted

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
SMALLEST_USER_BLOCK: Final = 512
LARGEST_USER_BLOCK: Final = 1 << 20
SUPERBLOCK_BYTES: Final = 128
MASK: Final = 0xFFFFFFFF


class Cursor:
    """A position in a structure in memory, advanced by every field."""

    def __init__(self, data: bytes, address: int, offset_bytes: int, length_bytes: int) -> None:
        self.data = data
        self.address = address
        self.place = 0
        self._offset_bytes = offset_bytes
        self._length_bytes = length_bytes

    @property
    def left(self) -> int:
        """Number of bytes left."""
        return len(self.data) - self.place

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if not 0 <= count <= self.left:
            raise ClaimError("damaged: a field reaches beyond the structure it is in")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, width: int) -> int:
        """Return the next `width` bytes as an integer."""
        return int.from_bytes(self.take(width), "little")

    def offset(self) -> int | None:
        """Return an address; None for the undefined address."""
        number = self.number(self._offset_bytes)
        return None if number == (1 << 8 * self._offset_bytes) - 1 else number

    def some_offset(self) -> int:
        """Return an address; raise `ClaimError` if it is undefined."""
        address = self.offset()
        if address is None:
            raise ClaimError("damaged: an address is missing")
        return address

    def length(self) -> int:
        """Return a length."""
        return self.number(self._length_bytes)

    def skip_offsets(self, count: int) -> None:
        """Skip addresses."""
        self.take(count * self._offset_bytes)

    def skip_lengths(self, count: int) -> None:
        """Skip lengths."""
        self.take(count * self._length_bytes)

    def part(self, count: int) -> Cursor:
        """Return a cursor over the next `count` bytes."""
        address = self.address + self.place
        return Cursor(self.take(count), address, self._offset_bytes, self._length_bytes)


class Blocks:
    """The blocks of a file by address, relative to the superblock, which may follow a user block.

    Attributes:
        base: Offset of address 0 in the source.
        size_bytes: Bytes from there to the end.
        offset_bytes: Size of an address.
        length_bytes: Size of a length.
        root: Address of the object header of the root group.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.base = _superblock_place(source)
        self.size_bytes = source.size_bytes - self.base
        self.offset_bytes = self.length_bytes = 8
        head = self.cursor(0, min(SUPERBLOCK_BYTES, self.size_bytes))
        head.take(len(SIGNATURE))
        version = head.number(1)
        if version > 3:
            raise ClaimError(f"its superblock has version {version}; known are 0 to 3")
        self.root = self._old(head, version) if version < 2 else self._new(head)

    def _old(self, head: Cursor, version: int) -> int:
        head.take(4)
        self._set_widths(head.number(1), head.number(1))
        head.take(1 + 2 + 2 + 4 + (4 if version else 0))
        head = self._again(head)
        head.skip_offsets(2)
        self._check_end(head)
        head.skip_offsets(2)  # driver information, name of the root group
        return head.some_offset()

    def _new(self, head: Cursor) -> int:
        self._set_widths(head.number(1), head.number(1))
        head.take(1)
        head = self._again(head)
        head.skip_offsets(2)
        self._check_end(head)
        root = head.some_offset()
        checked(head.data[: head.place + 4])
        return root

    def _set_widths(self, offset_bytes: int, length_bytes: int) -> None:
        if offset_bytes not in (2, 4, 8) or length_bytes not in (2, 4, 8):
            raise ClaimError(f"claims addresses of {offset_bytes} and {length_bytes} bytes")
        self.offset_bytes, self.length_bytes = offset_bytes, length_bytes

    def _again(self, head: Cursor) -> Cursor:
        """Return a cursor at the same position that knows the sizes of addresses and lengths."""
        fresh = self.around(head.data, head.address)
        fresh.take(head.place)
        return fresh

    def _check_end(self, head: Cursor) -> None:
        end = head.some_offset()
        if end > self._source.size_bytes:
            raise ClaimError(
                f"cut short: it was {end} bytes long when it was written, it has "
                f"{self._source.size_bytes}; copy it again, or drop this checkpoint"
            )

    def cursor(self, address: int, count: int) -> Cursor:
        """Return the block of `count` bytes at an address."""
        return self.around(self._source.read(self.base + address, count), address)

    def around(self, data: bytes, address: int) -> Cursor:
        """Return a cursor over bytes that were read from an address."""
        return Cursor(data, address, self.offset_bytes, self.length_bytes)

    def signed(self, address: int, count: int, signature: bytes) -> Cursor:
        """Return a cursor over the block at an address, after checking its signature."""
        block = self.cursor(address, count)
        found = block.take(len(signature))
        if found != signature:
            raise ClaimError(
                f"damaged: expected {quoted(signature.decode())} at byte {self.base + address}, "
                f"found {quoted(found.decode('latin1'))}"
            )
        return block


def _superblock_place(source: ByteSource) -> int:
    """Return the offset of the superblock: 0, or a power of two after a user block."""
    place = 0
    while place + len(SIGNATURE) <= source.size_bytes and place <= LARGEST_USER_BLOCK:
        if source.read(place, len(SIGNATURE)) == SIGNATURE:
            return place
        place = max(SMALLEST_USER_BLOCK, 2 * place)
    raise ClaimError("not an HDF5 file: it has no signature")


def checked(block: bytes) -> bytes:
    """Return a block without its trailing checksum.

    Raises:
        ClaimError: If it does not match.
    """
    content, stored = block[:-4], int.from_bytes(block[-4:], "little")
    if lookup3(content) != stored:
        raise ClaimError("damaged: one of its structures does not match its checksum")
    return content


def lookup3(data: bytes) -> int:
    """Return Bob Jenkins' lookup3 hash of `data`, which HDF5 uses as its checksum."""
    a = b = c = 0xDEADBEEF + len(data) & MASK
    if not data:
        return c
    whole = (len(data) - 1) // 12 * 12  # the last 1 to 12 bytes are mixed differently
    for x, y, z in struct.iter_unpack("<3I", data[:whole]):
        a, b, c = _mixed(a + x & MASK, b + y & MASK, c + z & MASK)
    x, y, z = struct.unpack("<3I", data[whole:].ljust(12, b"\0"))
    return _finished(a + x & MASK, b + y & MASK, c + z & MASK)


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 32 - bits) & MASK


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = (a - c & MASK) ^ _rotated(c, bits)
        c = c + b & MASK
        a, b, c = b, c, a
    return a, b, c


def _finished(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - _rotated(b, bits) & MASK
        a, b, c = b, c, a
    return b
