"""Readers: the one door through which files of any framework enter.

A reader does two things: it tells from a few bytes whether a file is its own, and it
*describes* a checkpoint (names, shapes, byte ranges, step) without loading weights. Readers
are found through the entry-point group ``accweight.readers``; a broken plug-in is a warning,
never a crash. `accweight_core.testing.ReaderContract` holds the rules that each must keep.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from accweight_core.errors import FormatError, SourceError, reason_of
from accweight_core.schema import Description

GROUP = "accweight.readers"
LFS_MAGIC = b"version https://git-lfs"


@runtime_checkable
class Reader(Protocol):
    """Turns one file, or one folder, into a description of a checkpoint.

    Paths may stand for URLs (`accweight_core.remote`). They have the names, `open("rb")`, `stat`,
    `is_file`, `iterdir` and the like of `pathlib.Path`, and no file descriptor; what is opened
    later, to load hidden values, is opened through the same path.
    """

    name: str
    """Short name, as given to ``--reader``."""

    suffixes: tuple[str, ...]
    """Endings of files that are worth a look, lower case with the dot; a hint, not a proof.
    An empty one stands for names that have none. A reader of folders may also have `marks`:
    whole names of files that make the folder they lie in a checkpoint (`marks_of`).
    """

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` is this format, by content, reading a few bytes at most.

        Never raises for unreadable content: that is a `False`.
        """
        ...

    def describe(self, path: Path) -> Description:
        """Describe the checkpoint at `path` without reading weights or running anything in it.

        Raises:
            FormatError: If the file is truncated, corrupt, unsafe or lies about itself.
        """
        ...


@cache
def readers() -> dict[str, Reader]:
    """Return the installed readers by name."""
    found: dict[str, Reader] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            reader = point.load()()
            if not isinstance(reader, Reader):
                raise TypeError("it lacks name, suffixes, recognises or describe")
            found[point.name] = reader
        except Exception as error:  # a plug-in may fail in any way; the others must go on
            warnings.warn(f"reader {point.name!r} cannot be used: {error}", stacklevel=2)
    return found


def reader_named(name: str) -> Reader:
    """Return the reader of that name.

    Raises:
        SourceError: If there is none; the message lists those there are.
    """
    try:
        return readers()[name]
    except KeyError:
        known = ", ".join(readers()) or "none"
        raise SourceError(f"no reader is called {name!r}; installed readers: {known}") from None


def reader_for(path: Path) -> Reader | None:
    """Return the reader that recognises `path` by its content, or None.

    Readers whose suffixes match are asked first, so that a clear case costs one look.
    """
    suffix = path.suffix.lower()
    ordered = sorted(readers().values(), key=lambda reader: suffix not in reader.suffixes)
    return next((reader for reader in ordered if _recognised(reader, path)), None)


def _recognised(reader: Reader, path: Path) -> bool:
    try:
        return reader.recognises(path)
    except Exception as error:  # one plug-in must not keep the others from reading a file
        warnings.warn(f"reader {reader.name!r} failed on {path.name}: {error}", stacklevel=3)
        return False


def marks_of(reader: Reader) -> tuple[str, ...]:
    """Return the whole names of files that make their folder a checkpoint of this reader."""
    marks: tuple[str, ...] = getattr(reader, "marks", ())
    return marks


def unrecognised(path: Path) -> FormatError:
    """Return the error for a file that no reader recognises, with the likeliest reason."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        return FormatError(path, f"cannot be read ({reason_of(error)}); {_remedy(path)}")
    if not head:
        return FormatError(path, "the file is empty (0 bytes); was the save interrupted?")
    if head.startswith(LFS_MAGIC):
        return FormatError(
            path, "this is a Git LFS pointer, not the file itself; fetch it with: git lfs pull"
        )
    known = ", ".join(sorted({s for reader in readers().values() for s in reader.suffixes if s}))
    return FormatError(
        path,
        f"no reader recognises its content (formats known: {known}){_kind_of(head)}; "
        f"if you are sure of the format, name it with --reader, or {_remedy(path)}",
    )


def _kind_of(head: bytes) -> str:
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return ", it is a page of HTML, such as servers send where they want a login"
    return ""


def _remedy(path: Path) -> str:
    return f"leave it out with --exclude '{path.name}'"
