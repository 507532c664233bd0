"""Open local files for reading, and refuse FIFOs, sockets and devices.

A FIFO blocks until another process writes to it, a device may be endless, and system files such as
those in `/proc` report a size of 0 and may be endless, too. Readers open the files that a
checkpoint names with `path.open("rb")`, so `LocalPath` refuses special files there, for all
readers. The type is checked before the file is opened, because opening a device can already have an
effect, and again afterwards, because the path may have been replaced meanwhile.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import IO, Any, cast

from accweight_core.errors import SourceError

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
"""Avoids blocking if a file was replaced by a FIFO; it has no effect on plain files."""


class SpecialFileError(OSError):
    """A path is a FIFO, a socket or a device; `strerror` says which."""


class LocalPath(type(Path())):  # type: ignore[misc]
    """A `pathlib.Path` that refuses to open special files for reading."""

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open the file like `pathlib.Path.open`.

        Raises:
            SpecialFileError: If it is opened for reading, and is a FIFO, a socket or a device.
        """
        if set(mode) == {"r", "b"}:
            return open_local(self, buffering)
        if set(mode) <= {"r", "t"}:
            return io.TextIOWrapper(open_local(self), encoding, errors, newline)
        opened: IO[Any] = super().open(mode, buffering, encoding, errors, newline)
        return opened

    def read_bytes(self) -> bytes:
        """Return the content of the file."""
        with self.open("rb", 0) as file:
            return cast("bytes", file.read())

    def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """Return the content of the file as text."""
        with self.open("r", -1, encoding, errors, newline) as file:
            return cast("str", file.read())


def special_kind(path: Path) -> str:
    """Return the type of a special file, such as "a FIFO"; empty for files and folders."""
    try:
        return kind_of(path.stat().st_mode)
    except (OSError, ValueError):  # missing, or not a valid name
        return ""


def check_not_special(path: Path) -> None:
    """Raise if a path given by the user is a special file.

    Raises:
        SourceError: If it is a FIFO, a socket or a device.
    """
    kind = special_kind(path)
    if kind:
        raise SourceError(f"{path}: it is {kind}, not a file, and is not opened; name a file")


def descriptor_of(path: str | os.PathLike[str]) -> int:
    """Return a descriptor of a local file, opened for reading.

    Raises:
        SpecialFileError: If it is a FIFO, a socket or a device.
        OSError: If it cannot be opened.
    """
    _refuse_special(os.stat(path).st_mode, path)
    descriptor = os.open(path, _FLAGS | _AT_ONCE)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        _refuse_special(mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_local(path: str | os.PathLike[str], buffering: int = -1) -> IO[bytes]:
    """Open a local file for reading bytes.

    Raises:
        SpecialFileError: If it is a FIFO, a socket or a device.
        OSError: If it cannot be opened.
    """
    descriptor = descriptor_of(path)
    try:
        if not os.fstat(descriptor).st_size and os.read(descriptor, 1):
            if not os.fstat(descriptor).st_size:
                problem = "it says that it has no bytes and gives some, as files of the system do"
                raise SpecialFileError(errno.EINVAL, problem, os.fspath(path))
            os.lseek(descriptor, 0, os.SEEK_SET)  # a plain file, written between the two checks
    except BaseException:
        os.close(descriptor)
        raise
    return cast("IO[bytes]", open(descriptor, "rb", buffering))


def _refuse_special(mode: int, path: str | os.PathLike[str]) -> None:
    kind = kind_of(mode)
    if kind:
        raise SpecialFileError(errno.EINVAL, f"it is {kind}, not a file", os.fspath(path))


def kind_of(mode: int) -> str:
    """Return the type of a special file by its mode; empty for files, folders and links."""
    return next((kind for fits, kind in _KINDS if fits(mode)), "")
