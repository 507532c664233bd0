"""A byte range of a file, and the same range as a file object.

For parsers that need a file object (pickles, zips) where their input lies inside another file.
Parsers that read by offset use `source.FilePart`, which also detects cycles.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from accweight_adapters.untrusted import ClaimError
from accweight_core.remote import expect, is_remote


@dataclass(frozen=True, slots=True)
class Stretch:
    """A byte range of a file."""

    offset: int
    size_bytes: int

    @property
    def end(self) -> int:
        """End of the range (exclusive)."""
        return self.offset + self.size_bytes

    def read(self, file: IO[bytes], what: str) -> bytes:
        """Return the bytes, all of which existed when the file was described.

        Raises:
            ClaimError: If the file has become shorter.
        """
        file.seek(self.offset)
        content = file.read(self.size_bytes)
        if len(content) < self.size_bytes:
            raise ClaimError(f"{what} is cut short since it was described")
        return content


class StretchFile(io.RawIOBase):
    """A byte range of a file, as a file object."""

    def __init__(self, file: IO[bytes], stretch: Stretch) -> None:
        super().__init__()
        self._file = file
        self._stretch = stretch
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position inside the range."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move inside the range."""
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        position = origins[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, "a position before the beginning")  # as of a file
        self._position = position
        return position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into `buffer`; return the number of bytes read."""
        count = min(len(buffer), max(0, self._size - self._position))
        self._file.seek(self._stretch.offset + self._position)
        raw = self._file.read(count)
        buffer[: len(raw)] = raw
        self._position += len(raw)
        return len(raw)

    @property
    def is_remote(self) -> bool:
        """Whether every read may cost a request."""
        return is_remote(self._file)

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Announce the (offset, length) ranges that will be read next."""
        expect(self._file, [(self._stretch.offset + at, length) for at, length in ranges])

    @property
    def _size(self) -> int:
        return self._stretch.size_bytes
