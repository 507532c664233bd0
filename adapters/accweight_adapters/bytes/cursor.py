"""Sequential reads with checks: every length is compared with the bytes that are left.

`Cursor` reads bytes in memory, `FileCursor` an open file, seeking over what is not needed.
"""

from __future__ import annotations

import io
import struct
from typing import IO, Any, Literal

from accweight_adapters.bytes.varint import varint
from accweight_adapters.untrusted import ClaimError, check_reach

ByteOrder = Literal["little", "big"]


class Cursor:
    """A position in bytes in memory, advanced by every read.

    Attributes:
        size_bytes: Number of bytes.
        place: Current position.
        what: Name of the bytes in messages.
    """

    def __init__(self, content: bytes, what: str) -> None:
        self.size_bytes = len(content)
        self.place = 0
        self.what = what
        self._number = f"a number in {what}"
        self._content = content

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            ClaimError: If there are fewer.
        """
        end = self.place + count
        if count < 0 or end > self.size_bytes:
            raise ClaimError(f"{self.what} ends too early; it is damaged or cut short")
        piece = self._content[self.place : end]
        self.place = end
        return piece

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def number(self, width: int, order: ByteOrder = "little") -> int:
        """Return the next `width` bytes as an unsigned integer."""
        return int.from_bytes(self.take(width), order)

    def varint(self) -> int:
        """Return the next varint."""
        (value,) = self.varints(1)
        return value

    def varints(self, count: int) -> list[int]:
        """Return the next `count` varints; each has at least one byte."""
        if count > max(1, self.size_bytes - self.place):
            raise ClaimError(f"{self.what} claims {count} entries, more than fit into it")
        content, place, end, what = self._content, self.place, self.size_bytes, self._number
        found = []
        for _ in range(count):
            value, place = varint(content, place, end, what=what)
            found.append(value)
        self.place = place
        return found


class FileCursor:
    """A position in an open file, advanced by every read and skip.

    Attributes:
        size_bytes: Size of the file.
        order: Byte order of `unpack`, ``<`` or ``>``, as in `struct`.
    """

    def __init__(self, file: IO[bytes], order: Literal["<", ">"] = "<") -> None:
        self.size_bytes = file.seek(0, io.SEEK_END)
        self.order = order
        self._file = file
        file.seek(0)

    @property
    def place(self) -> int:
        """Current position in the file."""
        return self._file.tell()

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            ClaimError: If the file has fewer.
        """
        content = self._file.read(count) if 0 <= count <= self.size_bytes else b""
        if len(content) != count:
            self.check(self._file.tell() - len(content), count)
            raise ClaimError("it has become shorter while it was read")
        return content

    def unpack(self, form: str) -> Any:
        """Return the next number, in a format of `struct`."""
        return struct.unpack(self.order + form, self.take(struct.calcsize(form)))[0]

    def skip(self, count: int, *, is_whole: bool = True) -> int:
        """Skip `count` bytes; return their position.

        Args:
            count: Number of bytes.
            is_whole: Whether all of them must exist; if not, the file may end before.

        Raises:
            ClaimError: If the file has fewer.
        """
        step = min(max(0, count), self.size_bytes)
        start = self._file.seek(step, io.SEEK_CUR) - step  # faster than tell and seek
        if count < 0 or (is_whole and start + count > self.size_bytes):
            self.check(start, count)
        return start

    def check(self, place: int, count: int) -> None:
        """Raise `ClaimError` unless there are `count` bytes from `place`."""
        check_reach(place, count, self.size_bytes)
