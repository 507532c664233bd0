"""A remote file as an open file: it seeks, reads, and reads ahead where it is read on and on."""

from __future__ import annotations

import io
from collections.abc import Iterable

from accweight_core.remote.files import RemoteFile

LARGEST_AHEAD = 1 << 22
"""Bytes that a read fetches at most beyond what is asked for."""


class RemoteReader(io.RawIOBase):
    """A remote file, opened for reading; it reads ahead where it is read on and on."""

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
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another position."""
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.file.size_bytes}
        position = origins[whence] + offset
        if position < 0:
            raise OSError(22, "a position before the beginning")
        self._position = position
        return position

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch (offset, length) ranges that will be read next, side by side."""
        self.file.expect(ranges)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what follows; return how many bytes there were."""
        if self._position != self._read_to:
            self._ahead = 0
        elif self._ahead < LARGEST_AHEAD:
            self._ahead = max(2 * self._ahead, len(buffer))
        raw = self.file.read(self._position, len(buffer), min(self._ahead, LARGEST_AHEAD))
        buffer[: len(raw)] = raw
        self._position = self._read_to = self._position + len(raw)
        return len(raw)
