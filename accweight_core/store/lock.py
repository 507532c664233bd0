"""A lock that allows one writer per analysis, whatever path leads to it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from accweight_core.errors import AccweightError, StoreError, reason_of
from accweight_core.store.beside import beside, real_place

LOCK = ".lock"

_FLAGS = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
_HELD = (errno.EAGAIN, errno.EACCES)

_ours: set[int] = set()
"""Descriptors of what this process has locked."""


def _let_go() -> None:
    """In a process that was forked, let go of the locks: its parent alone writes.

    Otherwise workers of a training that was killed would hold its locks, and it could not go on.
    Descriptors stay open, on nothing, as what opened them will close them.
    """
    if _ours:
        nothing = os.open(os.devnull, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        for descriptor in _ours:
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
        _ours.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of an analysis, so that no second process writes it.

    Two locks are held: on a file beside the analysis, as its folder may not exist yet, and on the
    folder itself, which may be mounted under another path.

    Raises:
        StoreError: If another process holds the lock, if locking fails, or if an OSError is raised
            within the context.
    """
    if not _can_lock():
        yield
        return
    with ExitStack() as held:
        held.enter_context(_file_locked(path, "lock"))
        folder = _folder(path)
        if folder is not None:
            held.callback(_close, folder)
            _take(path, folder, "lock", if_possible=True)
        with told_in_one_line(path):
            yield


@contextmanager
def locked_by_watcher(path: Path) -> Iterator[None]:
    """Hold the lock of the one watcher that an analysis may have; it writes under `locked`.

    Raises:
        StoreError: If another watcher holds it, or if locking fails.
    """
    if not _can_lock():
        yield
        return
    with _file_locked(path, "watch"):
        yield


def _can_lock() -> bool:
    try:
        import fcntl  # noqa: F401
    except ImportError:  # not on Windows; the lock only prevents user mistakes
        return False
    return True


@contextmanager
def _file_locked(path: Path, what: Literal["lock", "watch"]) -> Iterator[None]:
    """Hold the lock of a file beside an analysis, which is removed afterwards."""
    name = beside(path, what)
    with ExitStack() as held:
        try:
            name.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(name, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
        except OSError as error:
            if name.is_symlink():
                raise _no_lock(path, name) from None
            raise StoreError(f"{path}: cannot be written ({reason_of(error)})") from error
        held.callback(_close, file)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _no_lock(path, name)
        _take(path, file, what)
        if not _is_at(name, file):  # the previous holder removed this file: it locks nothing
            raise _is_held(path, what)
        held.callback(_remove, name, file)
        yield


@contextmanager
def told_in_one_line(path: Path) -> Iterator[None]:
    """Turn an OSError while an analysis is written into a StoreError.

    Raises:
        StoreError: If an OSError is raised within the context.
    """
    try:
        yield
    except AccweightError:
        raise
    except OSError as error:
        raise StoreError(
            f"{_concerned(path, error)}: cannot be written ({reason_of(error)}); what is "
            "finished is kept, and the same command continues the analysis"
        ) from error


def _concerned(path: Path, error: OSError) -> Path:
    """Return the file in the error if it is outside the folder of the analysis, else `path`."""
    named = Path(os.fsdecode(error.filename)) if error.filename else path
    is_ours = real_place(path).parent in (real_place(named), *real_place(named).parents)
    return path if is_ours else named


def _folder(path: Path) -> int | None:
    """Return a descriptor of the analysis folder, None if it does not exist yet."""
    try:
        return os.open(real_place(path), os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _FLAGS)
    except OSError:
        return None


def _take(
    path: Path, descriptor: int, what: Literal["lock", "watch"], *, if_possible: bool = False
) -> None:
    """Lock a file or a folder; with `if_possible`, ignore that a file system cannot."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _ours.add(descriptor)
    except OSError as error:
        if error.errno in _HELD:
            raise _is_held(path, what, by_us=_is_ours(descriptor)) from None
        if not if_possible:
            raise StoreError(f"{path}: cannot be locked ({reason_of(error)})") from error


def _close(descriptor: int) -> None:
    _ours.discard(descriptor)
    os.close(descriptor)


def _is_ours(descriptor: int) -> bool:
    """Tell whether this process has locked the same file by another descriptor."""
    found = os.fstat(descriptor)
    return any(os.path.samestat(os.fstat(held), found) for held in tuple(_ours))


def _is_at(name: Path, descriptor: int) -> bool:
    """Tell whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.lstat(name), os.fstat(descriptor))
    except OSError:
        return False


def _remove(name: Path, descriptor: int) -> None:
    """Remove the lock file; a file with content is not a lock and stays."""
    if os.fstat(descriptor).st_size == 0 and _is_at(name, descriptor):
        with suppress(OSError):  # a lock file that no process holds does no harm
            name.unlink(missing_ok=True)


def _is_held(path: Path, what: Literal["lock", "watch"], *, by_us: bool = False) -> StoreError:
    if what == "watch":
        return StoreError(f"{path}: another accweight watch writes this analysis; stop it first")
    remedy = (
        "in this program: close() the tracker that has it, or take another name"
        if by_us
        else "wait for it, or stop it"
    )
    return StoreError(f"{path}: another accweight is writing this analysis; {remedy}")


def _no_lock(path: Path, name: Path) -> StoreError:
    return StoreError(f"{path}: cannot be locked, since {name} is not a plain file; remove that")
