"""An open remote file that reads ahead if it is read sequentially."""

from __future__ import annotations

import io
from collections.abc import Iterable

from accweight_core.remote.files import RemoteFile

LARGEST_AHEAD = 1 << 22
"""Limit of bytes that a read fetches beyond the requested ones."""


class RemoteReader(io.RawIOBase):
    """A remote file, open for reading, that reads ahead if it is read sequentially."""

    is_remote = True

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self.file = file
        self.name = str(file.url)
        self._position = 0
        self._read_to = -1
        self._ahead = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the current offset."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another offset, and return it."""
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.file.size_bytes}
        position = origins[whence] + offset
        if position < 0:
            raise OSError(22, "a position before the beginning")
        self._position = position
        return position

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch (offset, length) ranges that will be read next, in parallel."""
        self.file.expect(ranges)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read the next bytes into `buffer`, and return their number."""
        if self._position != self._read_to:
            self._ahead = 0
        elif self._ahead < LARGEST_AHEAD:
            self._ahead = max(2 * self._ahead, len(buffer))
        raw = self.file.read(self._position, len(buffer), min(self._ahead, LARGEST_AHEAD))
        buffer[: len(raw)] = raw
        self._position = self._read_to = self._position + len(raw)
        return len(raw)
