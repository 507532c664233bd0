"""Bytes by offset, never more than there are: what parsers of hostile files read through.

A parser asks for stretches that a file names. A source answers only inside its bounds, and gives
up when it is asked for far more than it holds, which is how structures that point at each other
in circles end. `FilePart` is a stretch of a file, `InflatedPart` a compressed member of a zip.
"""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import IO, Final, Protocol

from accweight_adapters.bytes.zip import Member
from accweight_adapters.untrusted import ClaimError, check_reach, quoted

LARGEST_READ: Final = 1 << 25
"""Bytes that a description ever needs at once: the longest texts are models of some MB."""

ALLOWANCE_BYTES: Final = 1 << 22
TIMES_READ: Final = 8
LEAST_COST: Final = 64
"""Bytes that a read counts for at least, so that endless tiny ones end as well."""

WINDOW_BYTES: Final = 1 << 21
KEPT_WINDOWS: Final = 2
PIECE_BYTES: Final = 1 << 16


class ByteSource(Protocol):
    """Bytes by offset."""

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        ...

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`.

        Raises:
            ClaimError: If they are not all there, or too many for a description.
        """
        ...


class Allowance:
    """How much may still be read before a description is taken for a circle."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._left = TIMES_READ * size_bytes + ALLOWANCE_BYTES

    def take(self, offset: int, count: int) -> None:
        """Raise `ClaimError` unless `count` bytes at `offset` may be read, and count them."""
        check_reach(offset, count, self._size_bytes)
        if count > LARGEST_READ:
            raise ClaimError(f"claims {count} bytes for one of its structures; it is damaged")
        self._left -= max(count, LEAST_COST)
        if self._left < 0:
            raise ClaimError("damaged: its structures point at each other in circles")


class FilePart:
    """A stretch of an open file, read as if it were a file of its own."""

    def __init__(self, file: IO[bytes], start: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._file = file
        self._start = start
        self._allowance = Allowance(size_bytes)

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`, within the stretch."""
        self._allowance.take(offset, count)
        return self.values(offset, count)

    def values(self, offset: int, count: int) -> bytes:
        """Return the bytes of values, of which there may be many."""
        self._file.seek(self._start + offset)
        content = self._file.read(count)
        if len(content) < count:
            raise ClaimError("it has become shorter since it was described")
        return content


class InflatedPart:
    """A deflated member of a zip by offset, without inflating all of it at once.

    Inflating goes forward only. So its state is kept at the beginning of every window of 2 MiB,
    and reading a stretch begins at the window it lies in.
    """

    def __init__(self, path: Path, member: Member) -> None:
        self.size_bytes = member.size_bytes
        self._path = path
        self._member = member
        self._allowance = Allowance(member.size_bytes)
        self._states = [(zlib.decompressobj(-zlib.MAX_WBITS), 0)]
        self._windows: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`."""
        self._allowance.take(offset, count)
        return self.values(offset, count)

    def values(self, offset: int, count: int) -> bytes:
        """Return the bytes of values, of which there may be many."""
        end, pieces = offset + count, []
        with self._lock:
            while offset < end:
                number, first = divmod(offset, WINDOW_BYTES)
                piece = self._window(number)[first : first + end - offset]
                if not piece:
                    raise ClaimError(f"its member {quoted(self._member.name)} is cut short")
                pieces.append(piece)
                offset += len(piece)
        return b"".join(pieces)

    def _window(self, number: int) -> bytes:
        if number not in self._windows:
            with self._path.open("rb") as file:
                for known in range(min(number, len(self._states) - 1), number + 1):
                    window = self._inflated(file, known)
            while len(self._windows) >= KEPT_WINDOWS:
                del self._windows[next(iter(self._windows))]
            self._windows[number] = window
        return self._windows[number]

    def _inflated(self, file: IO[bytes], number: int) -> bytes:
        """Return a window whose state is known, and keep the state behind it."""
        state, place = self._states[number]
        stream, window = state.copy(), bytearray()
        while len(window) < WINDOW_BYTES and not stream.eof:
            file.seek(self._member.offset + place)
            stored = file.read(min(PIECE_BYTES, self._member.stored_bytes - place))
            try:
                piece = stream.decompress(stored, WINDOW_BYTES - len(window))
            except zlib.error as error:
                name = quoted(self._member.name)
                raise ClaimError(f"its member {name} is damaged ({error})") from None
            place += len(stored) - len(stream.unconsumed_tail)
            window += piece
            if not piece and not stored:
                break
        if number + 1 == len(self._states):
            self._states.append((stream.copy(), place))
        return bytes(window)
