"""The contents of git objects that are read: one temporary file for all of a repository.

Git stores objects deflated, mostly as differences to others, so no range of one can be read alone.
Each is unpacked once, whatever number of revisions have it, to a file that has no name and is gone
with the process. Objects of git-lfs are plain files and are read where they are.
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from accweight_core.errors import reason_of
from accweight_core.remote.errors import RemoteError
from accweight_core.remote.local import open_local

POINTER_BYTES = 1024
"""Limit of the size of a pointer of git-lfs, by its specification."""

SPARE_BYTES = 256 << 20
"""Space that is left free in the folder of temporary files."""

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\n(?:.*\n)*?size (?P<size>[0-9]{1,18})\n"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder in a tree, by the id of its object."""

    id: str
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file.

    Attributes:
        tag: Id of the object, or the hash of the large file that it points to.
        size_bytes: Its size.
        path: The large file; None if the content is in the object.
    """

    tag: str
    size_bytes: int
    path: Path | None = None


@dataclass(frozen=True)
class Pointer:
    """What git holds in place of a large file: its hash and size in bytes."""

    oid: str
    size_bytes: int


def pointer_in(content: bytes) -> Pointer | None:
    """Return the pointer of git-lfs that a file of git is; None if it is another file."""
    found = _POINTER.match(content) if len(content) < POINTER_BYTES else None
    return Pointer(found["oid"].decode(), int(found["size"])) if found else None


def large_file(pointer: Pointer, lfs: Path, url: object) -> Path:
    """Return the path of a file that git-lfs keeps.

    Args:
        pointer: The pointer to it.
        lfs: Folder of git-lfs in the repository.
        url: The URL, for messages.

    Raises:
        RemoteError: If it was not fetched, or only a part of it.
    """
    path = lfs / "objects" / pointer.oid[:2] / pointer.oid[2:4] / pointer.oid
    try:
        if path.stat().st_size == pointer.size_bytes:
            return path
    except OSError:
        pass
    raise RemoteError(
        url,
        f"a pointer of git-lfs to {pointer.oid[:12]}... ({pointer.size_bytes:,} bytes), which is "
        "not in the repository; fetch it with: git lfs fetch --all",
        errno.ENOENT,
    )


class Unpacked:
    """Unpacked objects, one after another in a temporary file."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._spans: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def size_of(self, key: str, content: Callable[[], bytes]) -> int:
        """Return the size of an object in bytes, after unpacking it if it is not there yet.

        Raises:
            OSError: If there is no space for it.
        """
        with self._lock:
            if key not in self._spans:
                self._spans[key] = self._written(content())
            return self._spans[key][1]

    def _written(self, content: bytes) -> tuple[int, int]:
        folder = tempfile.gettempdir()
        if shutil.disk_usage(folder).free < len(content) + SPARE_BYTES:
            problem = f"no space to unpack {len(content):,} bytes in {folder}; set TMPDIR"
            raise OSError(errno.ENOSPC, problem)
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="accweight-git-")  # noqa: SIM115
        offset = self._file.seek(0, 2)
        self._file.write(content)
        self._file.flush()
        return offset, len(content)

    def read(self, key: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop` of an unpacked object."""
        with self._lock:
            assert self._file is not None
            self._file.seek(self._spans[key][0] + start)
            return self._file.read(stop - start)


def part_of_file(path: Path, start: int, stop: int, url: object) -> bytes:
    """Return the bytes from `start` to `stop` of a plain file."""
    try:
        with open_local(path, 0) as file:
            file.seek(start)
            return file.read(stop - start)
    except OSError as error:
        raise RemoteError(url, f"cannot be read ({reason_of(error)})") from None
