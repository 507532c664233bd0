"""Random access to a file through one small buffer.

The file is read and not mapped: if it is truncated meanwhile, that is an error here, where access
to a mapping would kill the process.
"""

from __future__ import annotations

import io
from typing import IO, Final

from accweight_adapters.untrusted import ClaimError, check_reach

WINDOW_BYTES: Final = 1 << 12
"""Bytes per read: enough for descriptions and names, without the values between them."""


class FileWindow:
    """An open file with random access, never beyond its end.

    Attributes:
        size_bytes: Bytes of the file.
    """

    def __init__(self, file: IO[bytes], least_bytes: int = WINDOW_BYTES) -> None:
        self.size_bytes = file.seek(0, io.SEEK_END)
        self._file = file
        self._least_bytes = least_bytes
        self._base = self._end = 0
        self._block = b""

    def check(self, place: int, count: int) -> None:
        """Raise `ClaimError` unless there are `count` bytes from `place`."""
        check_reach(place, count, self.size_bytes)

    def read(self, place: int, count: int) -> bytes:
        """Return `count` bytes from `place`.

        Raises:
            ClaimError: If some are missing.
        """
        if place < self._base or count < 0 or place + count > self._end:
            self.check(place, count)
            self._fill(place, count)
        first = place - self._base
        content = self._block[first : first + count]
        if len(content) < count:
            raise ClaimError("it has become shorter while it was read")
        return content

    def around(self, place: int, count: int) -> tuple[bytes, int]:
        """Return a buffer with `count` bytes at `place` (fewer at the end), and its position."""
        if place < self._base or place + count > self._end:
            self._fill(place, min(count, max(0, self.size_bytes - place)))
        return self._block, place - self._base

    def fault(self, place: int, problem: str) -> ClaimError:
        """Return the error for damage at an offset of the file."""
        return ClaimError(f"{problem} (byte {place})")

    def _fill(self, place: int, count: int) -> None:
        """Fill the buffer with at least `count` bytes from `place`, unless the file has shrunk."""
        if self._base <= place and place + count <= self._end:
            return
        self._file.seek(place)
        count = max(self._least_bytes, count)
        block = self._file.read(count)
        while 0 < len(block) < count and (more := self._file.read(count - len(block))):
            block += more  # unbuffered reads may be partial
        self._block, self._base, self._end = block, place, place + len(block)
