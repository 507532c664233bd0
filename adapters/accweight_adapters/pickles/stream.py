"""The bytes of a pickle: every read is checked against the end first, and long strings are skipped.

A plain file allocates the length that a hostile opcode claims before it reads. Arrays in a pickle
are long strings; skipping them keeps describing a checkpoint from loading it.
"""

from __future__ import annotations

import io
from typing import IO, Final

from accweight_adapters.untrusted import ClaimError

FIRST_BYTES: Final = 1 << 12
LARGEST_BYTES: Final = 1 << 16
"""Bytes per read: few at first, as small pickles lie before large storages."""

LONGEST_LINE: Final = 1 << 12
"""Longest line that is returned; longer ones are skipped."""


OPERATIONS_ALLOWED: Final = 1 << 17
"""Operations of a compressed pickle however small; a network of 1000 tensors takes 50,000."""

OPERATIONS_PER_BYTE: Final = 2
MOST_OPERATIONS: Final = 1 << 23
"""Operations of a compressed pickle however large, some gigabytes of objects."""


def most_operations(stored_bytes: int) -> int:
    """Return how many operations a compressed pickle may have, by its compressed size.

    Deflate packs a thousand operations into a byte, so a few kilobytes could make gigabytes of
    objects; names and numbers of real networks take more than a byte for each.
    """
    return min(OPERATIONS_ALLOWED + OPERATIONS_PER_BYTE * stored_bytes, MOST_OPERATIONS)


LINE_COST: Final = 64
"""What a line counts for, where the number of bytes is limited."""


class PickleStream:
    """Forward reads from a file, from its current position.

    Attributes:
        size_bytes: End of the file.
    """

    def __init__(
        self, file: IO[bytes], most_read: int | None = None, most_operations: int | None = None
    ) -> None:
        """Begin at the position of a file.

        Args:
            file: The file.
            most_read: Most bytes to return, not counting those skipped: compressed files may hold
                a hundred times their size.
            most_operations: Most operations of all pickles in the stream; each makes an object of
                a hundred bytes or so.
        """
        self._file = file
        self._left = most_read
        self._operations_left = most_operations
        start = file.tell()
        self.size_bytes = file.seek(0, io.SEEK_END)
        file.seek(start)
        self._buffer = b""
        self._at = 0
        self._end = start  # of the buffer, in the file

    @property
    def position(self) -> int:
        """Offset in the file of the next byte."""
        return self._end - len(self._buffer) + self._at

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            ClaimError: If some are missing.
        """
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = self._at + count
        piece = self._buffer[self._at : end]
        self._at = end
        if self._left is not None:
            self._left -= count
            if self._left < 0:
                raise ClaimError("has far more settings and text than weights; it is damaged")
        return piece

    @property
    def counts_operations(self) -> bool:
        """Whether their number is limited."""
        return self._operations_left is not None

    def count_operation(self) -> None:
        """Count an operation of a pickle.

        Raises:
            ClaimError: If it is one too many.
        """
        if self._operations_left is not None:
            self._operations_left -= 1
            if self._operations_left < 0:
                raise ClaimError("its pickle has more parts than are searched for weights")

    def skip(self, count: int) -> int:
        """Pass over `count` bytes; return the offset of the first.

        Raises:
            ClaimError: If some are missing.
        """
        start = self.position
        self._check(start + count)
        if self._at + count <= len(self._buffer):
            self._at += count
        else:
            self.seek(start + count)
        return start

    def seek(self, position: int) -> None:
        """Continue at another offset."""
        self._file.seek(position)
        self._buffer, self._at, self._end = b"", 0, position

    def line(self) -> tuple[int, int, bytes | None]:
        """Return offset, length and content of a line, without its end; no content if it is long.

        Raises:
            ClaimError: If it does not end.
        """
        start = self.position
        if self._left is not None:
            self._left -= LINE_COST
        kept = bytearray()
        while True:
            stop = self._buffer.find(b"\n", self._at)
            last = len(self._buffer) if stop < 0 else stop
            if len(kept) <= LONGEST_LINE:
                kept += self._buffer[self._at : min(last, self._at + LONGEST_LINE + 1)]
            self._at = last
            if stop >= 0:
                self._at += 1
                length = self.position - 1 - start
                return start, length, bytes(kept) if length <= LONGEST_LINE else None
            self._fill(1)

    def _check(self, end: int) -> None:
        if end > self.size_bytes:
            raise ClaimError(
                f"its pickle is cut short: it should reach to byte {end}, "
                f"the file has {self.size_bytes}"
            )

    def _fill(self, count: int) -> None:
        """Fill the buffer with at least `count` bytes from the current position."""
        start = self.position
        self._check(start + count)
        wanted = max(count, min(LARGEST_BYTES, max(FIRST_BYTES, 2 * len(self._buffer))))
        self._file.seek(start)
        block = self._file.read(min(wanted, self.size_bytes - start))
        while len(block) < count and (more := self._file.read(count - len(block))):
            block += more  # unbuffered reads may be partial
        self._buffer, self._at, self._end = block, 0, start + len(block)
        if len(block) < count:
            raise ClaimError("its pickle has become shorter while it was read")
