"""Stamps of files, to detect that a file has changed since it was described.

The stamp of a file is taken before its first byte is read and after its last; if both are equal,
all bytes were of one version. Two writes within one tick of the file system's clock give the same
stamp, so `settle` waits for the next tick before a file that was just written is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from accweight_core.errors import FormatError
from accweight_core.remote import is_url, state_of
from accweight_core.schema import Checkpoint, Stamp

TICK_NS = 20_000_000
"""Longer than a tick of the clock for file times on Linux: 1 to 10 ms, by configuration."""


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """Return the stamp of a file, or of a URL as last seen.

    Raises:
        OSError: If it does not exist.
    """
    state = state_of(os.fspath(path))
    return _of(state)._replace(status_ns=0) if is_url(path) else _of(state)


def stamp_of_open(descriptor: int) -> Stamp:
    """Return the stamp of an open file."""
    return _of(os.fstat(descriptor))


def _of(state: os.stat_result) -> Stamp:
    return Stamp(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def stamp_if_there(path: str | os.PathLike[str]) -> Stamp | None:
    """Return the stamp of a file, None if it does not exist."""
    try:
        return stamp_of(path)
    except OSError:
        return None


def stamps_of(checkpoints: Iterable[Checkpoint]) -> dict[str, Stamp]:
    """Return the stamps of all local files of some checkpoints, by path.

    Changes of remote files are detected by their tag when they are read.
    """
    return {
        path: stamp
        for checkpoint in checkpoints
        for path, stamp in checkpoint.stamps.items()
        if not is_url(path)
    }


def settle(stamps: Iterable[Stamp]) -> bool:
    """Wait until another write would change the stamps of these files; return whether it waited."""
    now = time.time_ns()
    newest = max((max(s.changed_ns, s.status_ns) for s in stamps), default=0)
    if not -TICK_NS < now - newest < TICK_NS:  # written long ago, or stamped by another clock
        return False
    time.sleep((TICK_NS - (now - newest)) / 1e9)
    return True


def refuse_changed(stamps: Mapping[str, Stamp]) -> None:
    """Raise if a local file has changed since it was described.

    Raises:
        FormatError: If a file has changed; the message names it and says how.
    """
    for path, described in stamps.items():
        found = stamp_if_there(path)
        if found != described:
            raise changed(path, described, found)


@contextmanager
def held_to(stamps: Mapping[str, Stamp]) -> Iterator[None]:
    """Raise at the end of the context if a file has changed since it was described.

    If a file looks damaged because it has changed, the error says that it has changed.

    Raises:
        FormatError: If a file has changed.
    """
    problem: FormatError | None = None
    try:
        yield
    except FormatError as error:
        problem = error
    refuse_changed(stamps)
    if problem is not None:
        raise problem


def changed(path: str, described: Stamp, found: Stamp | None) -> FormatError:
    """Return the error for a file that has changed since it was described."""
    if found is None:
        how = "it is gone"
    elif (found.device, found.inode) != (described.device, described.inode):
        how = "another file has taken its name"
    elif found.size_bytes != described.size_bytes:
        how = f"it had {described.size_bytes} bytes, it has {found.size_bytes}"
    elif found.changed_ns != described.changed_ns:
        how = "it was written again"
    else:
        how = "its times, names or rights were changed"
    return FormatError(
        path,
        f"changed since it was described ({how}), so what was read of it is not used; "
        "run the command again when nothing writes there",
    )
