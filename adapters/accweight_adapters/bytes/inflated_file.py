"""Compressed bytes as a file object, for parsers that read files."""

from __future__ import annotations

import errno
import io

from accweight_adapters.bytes.source import InflatedPart


class InflatedFile(io.RawIOBase):
    """The content of a compressed file, as a file object."""

    def __init__(self, part: InflatedPart, size_bytes: int) -> None:
        super().__init__()
        self._part = part
        self._size_bytes = size_bytes
        self._position = 0

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
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}
        position = origins[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, "a position before the beginning")  # as of a file
        self._position = position
        return position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into `buffer`; return the number of bytes read."""
        count = min(len(buffer), max(0, self._size_bytes - self._position))
        buffer[:count] = self._part.values(self._position, count)
        self._position += count
        return count
