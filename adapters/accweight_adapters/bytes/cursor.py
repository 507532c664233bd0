"""Bytes read from the front, each length a claim that is held against what is left.

`Cursor` moves over bytes at hand, `FileCursor` over a file, stepping over what is not needed.
"""

from __future__ import annotations

import io
import struct
from typing import IO, Any, Literal

from accweight_adapters.bytes.varint import varint
from accweight_adapters.untrusted import ClaimError, check_reach

ByteOrder = Literal["little", "big"]


class Cursor:
    """A place in bytes at hand, moving on with everything that is taken.

    Attributes:
        size_bytes: How many bytes there are.
        place: How many of them were taken.
        what: What the bytes are called in messages.
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
            ClaimError: If there are not so many.
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
        """Return the next `width` bytes as a number without a sign."""
        return int.from_bytes(self.take(width), order)

    def varint(self) -> int:
        """Return the next number of variable length."""
        (value,) = self.varints(1)
        return value

    def varints(self, count: int) -> list[int]:
        """Return the next `count` numbers of variable length; each takes a byte at least."""
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
    """A place in an open file, moving on with everything that is taken or passed over.

    Attributes:
        size_bytes: Bytes of the file.
        order: How `unpack` reads numbers: ``<`` or ``>``, as in struct.
    """

    def __init__(self, file: IO[bytes], order: Literal["<", ">"] = "<") -> None:
        self.size_bytes = file.seek(0, io.SEEK_END)
        self.order = order
        self._file = file
        file.seek(0)

    @property
    def place(self) -> int:
        """Where in the file it is."""
        return self._file.tell()

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            ClaimError: If the file does not have so many.
        """
        content = self._file.read(count) if 0 <= count <= self.size_bytes else b""
        if len(content) != count:
            self.check(self._file.tell() - len(content), count)
            raise ClaimError("it has become shorter while it was read")
        return content

    def unpack(self, form: str) -> Any:
        """Return the next number, its form as in struct."""
        return struct.unpack(self.order + form, self.take(struct.calcsize(form)))[0]

    def skip(self, count: int, *, is_whole: bool = True) -> int:
        """Pass over `count` bytes; return where they begin.

        Args:
            count: How many bytes.
            is_whole: Whether they have to be there; else the file may end before.

        Raises:
            ClaimError: If the file does not have so many.
        """
        step = min(max(0, count), self.size_bytes)
        start = self._file.seek(step, io.SEEK_CUR) - step  # quicker than to tell, then seek
        if count < 0 or (is_whole and start + count > self.size_bytes):
            self.check(start, count)
        return start

    def check(self, place: int, count: int) -> None:
        """Raise `ClaimError` unless there are `count` bytes from `place`."""
        check_reach(place, count, self.size_bytes)
