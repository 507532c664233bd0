"""What torch.save wrote, inside another file: a stretch of it, seen as a file of its own.

Distributed checkpoints string many small archives together, and Stable-Baselines3 keeps one in
a zip. Where a stretch is not compressed, its tensors are stretches of the outer file.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterable
from dataclasses import replace
from typing import IO, cast

from accweight_adapters.torch.container import Archive, Stretch, read_archive
from accweight_adapters.untrusted import ClaimError
from accweight_core.remote import expect, is_remote

BUFFER_BYTES = 4096
"""Read ahead: the directory of a small archive, without the weights of a large one."""


class Window(io.RawIOBase):
    """A stretch of a file that reads like a file of its own."""

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
        """Return the position inside the stretch."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move inside the stretch."""
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        position = origins[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, "a position before the beginning")  # as of a file
        self._position = position
        return position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what follows; return how many bytes there were."""
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
        """Tell the file which (offset, length) ranges of the stretch will be read next."""
        expect(self._file, [(self._stretch.offset + at, length) for at, length in ranges])

    @property
    def _size(self) -> int:
        return self._stretch.size_bytes


def archive_within(file: IO[bytes], stretch: Stretch) -> Archive:
    """Read everything but the weights of an archive that lies in a stretch of `file`.

    Returns:
        The archive, its storages where they lie in the outer file.
    """
    size_bytes = file.seek(0, io.SEEK_END)
    end = stretch.offset + stretch.size_bytes
    if end > size_bytes:
        raise ClaimError(f"it ends at byte {size_bytes}, but a part of it reaches to byte {end}")
    window = io.BufferedReader(Window(file, stretch), BUFFER_BYTES)
    archive = read_archive(cast("IO[bytes]", window))
    storages = {
        key: Stretch(stretch.offset + inner.offset, inner.size_bytes)
        for key, inner in archive.storages.items()
    }
    return replace(archive, storages=storages)
