"""One writer at a time, and a store that is there as a whole while another takes its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accweight_core.errors import StoreError, reason_of

LOCK = ".lock"


def recover(path: Path) -> None:
    """Bring back a store whose replacement was interrupted halfway."""
    if is_aside(path):
        aside_of(path).rename(path)


def is_aside(path: Path) -> bool:
    """Tell whether a store has lost its name to one that has not taken it yet."""
    return not path.exists() and aside_of(path).exists()


def aside_of(path: Path) -> Path:
    """Return where a store lies while another takes its place."""
    return path.with_name(f".{path.name}.replaced")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a second process from writing the same analysis.

    Raises:
        StoreError: If another process is writing it.
    """
    try:
        import fcntl
    except ImportError:  # not on this system; the lock guards a mistake, not correctness
        yield
        return
    name = path.with_name(f".{path.name}{LOCK}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = name.open("w")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({reason_of(error)})") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino != name.stat().st_ino:
                raise OSError  # the one before us removed this file: it is not the lock any more
        except OSError:
            raise StoreError(
                f"{path}: another accweight is writing this analysis; wait for it, or stop it"
            ) from None
        try:
            yield
        finally:
            name.unlink(missing_ok=True)
