"""Open and write the files of an analysis: plain files in plain folders only.

An analysis may come from an untrusted source. A link in it could make accweight read, write or
remove files elsewhere, and a FIFO could block it for ever. So everything but plain files and
folders is refused by name, before it is used. The path of the analysis itself may contain links.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from accweight_core.errors import StoreError, reason_of
from accweight_core.remote.local import kind_of

PARTIAL = ".partial"
"""Suffix of files that are being written; a killed process leaves them behind."""

Write = Callable[[Path, bytes | memoryview], None]
"""`write_whole`; `write_new` for files that are removed if the process is killed; or
`write_beside_others` for files that several processes may write."""

RESERVED_BYTES = 1 << 18
"""Files of so many bytes are given their disk space before they are written."""

FALLOC_FL_KEEP_SIZE = 1
"""The flag of Linux: a file gets space but stays as long as what was written to it."""

_PLAIN = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_READ = os.O_RDONLY | _PLAIN
_WRITE = os.O_WRONLY | os.O_CREAT | _PLAIN


def open_to_read(path: Path) -> io.BufferedReader:
    """Open a file for reading.

    Raises:
        FileNotFoundError: If it does not exist.
        StoreError: If it is not a plain file, or cannot be read.
    """
    try:
        return open(_opened(path, _READ), "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refusal(path, error, "read") from None


def open_to_write(path: Path, *, whole: bool = True) -> io.FileIO:
    """Open a file for writing, unbuffered; create it if it does not exist.

    Args:
        path: The file.
        whole: Whether to truncate it; otherwise its content stays.

    Raises:
        StoreError: If it exists and is not a plain file.
        OSError: If it cannot be written.
    """
    try:
        return open(_opened(path, _WRITE | (os.O_TRUNC if whole else 0)), "wb", buffering=0)
    except OSError as error:
        if _is_elsewhere(path):
            raise _refusal(path, error, "written") from None
        raise


def _opened(path: Path, flags: int) -> int:
    descriptor = os.open(path, flags, 0o666)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise _no_file(path, mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _is_elsewhere(path: Path) -> bool:
    """Tell whether `path` exists and is neither a file nor a folder."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _refusal(path: Path, error: OSError, what: str) -> StoreError:
    """Return the StoreError for a file that cannot be opened."""
    if isinstance(error, StoreError):
        return error
    if _is_elsewhere(path):
        return _no_file(path, os.lstat(path).st_mode)
    return StoreError(f"{path}: cannot be {what} ({reason_of(error)})")


def _no_file(path: Path | str, mode: int) -> StoreError:
    kind = "a link" if stat.S_ISLNK(mode) else kind_of(mode)
    return StoreError(
        f"{path}: is {kind}, where an analysis has plain files and folders; put those in its "
        "place, or analyse the checkpoints again"
    )


def refuse_links(store: Path, name: str) -> None:
    """Raise if a name in an analysis is, or is inside, a link or a special file.

    Args:
        store: Folder of the analysis.
        name: Path within it, with slashes.

    Raises:
        StoreError: If a part of the path is neither a folder nor a plain file.
    """
    here = os.fspath(store)
    for part in name.split("/"):
        here = os.path.join(here, part)
        try:
            mode = os.lstat(here).st_mode
        except OSError:
            return  # opening the file will report that it is missing
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise _no_file(here, mode)


def files_in(folder: Path) -> Iterator[Path]:
    """Yield every file in a folder and its subfolders.

    Raises:
        StoreError: If there is anything but plain files and folders.
        OSError: If a folder cannot be read.
    """
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from files_in(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
        else:
            raise _no_file(entry.path, entry.stat(follow_symlinks=False).st_mode)


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: write a draft and rename it."""
    draft = path.with_name(path.name + PARTIAL)
    _fill(draft, content)
    os.replace(draft, path)


def write_beside_others(path: Path, content: bytes | memoryview) -> None:
    """Write a file like `write_whole`, while other processes may write the same bytes to it.

    Each process has its own draft, so one that is killed or late does not damage a complete file.
    """
    draft = path.with_name(f"{path.name}.{uuid4().hex}{PARTIAL}")
    _fill(draft, content)
    os.replace(draft, path)


def write_new(path: Path, content: bytes | memoryview) -> None:
    """Write a file in place; if the process is killed, the caller removes it on the next run."""
    _fill(path, content)


def _fill(path: Path, content: bytes | memoryview) -> None:
    with open_to_write(path) as file:
        _reserve(file, memoryview(content).nbytes)
        write_all(file, content)


def _reserve(file: io.FileIO, size_bytes: int) -> None:
    """Reserve the disk space of a large file: so it is written in two thirds of the time.

    Without it, ext4 keeps account of every 4 KiB. The size of the file stays 0, and a file system
    that cannot do this is written as it is: `posix_fallocate` would write to every block there.
    """
    reserve = _fallocate() if size_bytes >= RESERVED_BYTES else None
    if reserve is not None:
        reserve(file.fileno(), FALLOC_FL_KEEP_SIZE, 0, size_bytes)


@cache
def _fallocate() -> Any:
    """Return the function of the system; None where there is none."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32:
        return None
    with suppress(OSError, AttributeError):
        function = ctypes.CDLL(None).fallocate
        function.argtypes = ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64
        return function
    return None


def write_all(file: io.FileIO, content: bytes | memoryview) -> None:
    """Write all bytes to an unbuffered file, however many it takes at a time."""
    rest = memoryview(content).cast("B")
    while rest:
        rest = rest[file.write(rest) :]
