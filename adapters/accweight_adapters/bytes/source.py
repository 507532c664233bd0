"""Random access to bytes within bounds, for parsers of untrusted files.

A source refuses reads outside its bounds, and stops after far more reads than it has bytes, which
is how cyclic structures end. `FilePart` is a range of a file, `InflatedPart` a compressed member of
a zip.
"""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import IO, Final, Protocol

from accweight_adapters.bytes.zip import Member
from accweight_adapters.untrusted import ClaimError, check_reach, quoted

LARGEST_READ: Final = 1 << 25
"""Most bytes that a description reads at once: the longest are model configurations of some MB."""

ALLOWANCE_BYTES: Final = 1 << 22
TIMES_READ: Final = 8
LEAST_COST: Final = 64
"""Least cost of a read, so that endless small reads reach the limit too."""

WINDOW_BYTES: Final = 1 << 21
KEPT_WINDOWS: Final = 2
PIECE_BYTES: Final = 1 << 16


class ByteSource(Protocol):
    """Bytes by offset."""

    @property
    def size_bytes(self) -> int:
        """Number of bytes."""
        ...

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`.

        Raises:
            ClaimError: If some are missing, or they are too many for a description.
        """
        ...


class Allowance:
    """The number of bytes that may still be read before a cycle is assumed."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._left = TIMES_READ * size_bytes + ALLOWANCE_BYTES

    def take(self, offset: int, count: int) -> None:
        """Raise `ClaimError` unless `count` bytes at `offset` may be read; count them."""
        check_reach(offset, count, self._size_bytes)
        if count > LARGEST_READ:
            raise ClaimError(f"claims {count} bytes for one of its structures; it is damaged")
        self._left -= max(count, LEAST_COST)
        if self._left < 0:
            raise ClaimError("damaged: its structures form a cycle")


class FilePart:
    """A range of an open file, as a source."""

    def __init__(self, file: IO[bytes], start: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._file = file
        self._start = start
        self._allowance = Allowance(size_bytes)

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`, within the range."""
        self._allowance.take(offset, count)
        return self.values(offset, count)

    def values(self, offset: int, count: int) -> bytes:
        """Return the bytes of values, without the limits for descriptions."""
        self._file.seek(self._start + offset)
        content = self._file.read(count)
        if len(content) < count:
            raise ClaimError("it has become shorter since it was described")
        return content


class InflatedPart:
    """A deflated member of a zip, with random access.

    Deflate can only be decompressed forwards. So the decompressor's state is kept at the start of
    every window of 2 MiB, and a read starts at its window.
    """

    def __init__(self, path: Path, member: Member, wbits: int = -zlib.MAX_WBITS) -> None:
        """Prepare to inflate; nothing is read yet.

        Args:
            path: The file with the compressed bytes.
            member: Where they are.
            wbits: Their container, for `zlib`; that of zips by default.
        """
        self.size_bytes = member.size_bytes
        self._path = path
        self._member = member
        self._allowance = Allowance(member.size_bytes)
        self._states = [(zlib.decompressobj(wbits), 0)]
        self._windows: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`."""
        self._allowance.take(offset, count)
        return self.values(offset, count)

    def values(self, offset: int, count: int) -> bytes:
        """Return the bytes of values, without the limits for descriptions."""
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

    def whole_bytes(self, most: int) -> int:
        """Return the number of inflated bytes, found by inflating all; stop beyond `most`.

        Raises:
            ClaimError: If it is damaged or cut short.
        """
        size = number = 0
        with self._lock:
            while True:
                window = self._window(number)
                size, number = size + len(window), number + 1
                if size > most:
                    return size
                if len(window) < WINDOW_BYTES:
                    break
            if not self._states[-1][0].eof:
                raise ClaimError("what is compressed in it is cut short")
        return size

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
        """Decompress the window with this number, and keep the state at its end."""
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
