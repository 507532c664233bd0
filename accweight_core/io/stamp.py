"""Whether a file is still the one that was described: what was described is what is read.

A file is stamped before the first byte of it is read and after the last: if the stamps are the
same, all bytes between were of one version. A write within the same tick of the clock of the file
system as the one before would leave no trace, so a file that was written a moment ago is waited
for (`settle`) before anything is read of it.
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
"""Longer than a tick of the clock that Linux stamps files with: 1 to 10 ms, by configuration."""


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """Return the stamp of a file, or of a URL as it was last looked at.

    Raises:
        OSError: If it is not there.
    """
    state = state_of(os.fspath(path))
    return _of(state)._replace(status_ns=0) if is_url(path) else _of(state)


def stamp_of_open(descriptor: int) -> Stamp:
    """Return the stamp of an open file."""
    return _of(os.fstat(descriptor))


def _of(state: os.stat_result) -> Stamp:
    return Stamp(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def stamp_if_there(path: str | os.PathLike[str]) -> Stamp | None:
    """Return the stamp of a file, None if it is not there."""
    try:
        return stamp_of(path)
    except OSError:
        return None


def stamps_of(checkpoints: Iterable[Checkpoint]) -> dict[str, Stamp]:
    """Return the stamps of all local files of some checkpoints, by path.

    Whoever reads a remote file notices by its tag that it has changed.
    """
    return {
        path: stamp
        for checkpoint in checkpoints
        for path, stamp in checkpoint.stamps.items()
        if not is_url(path)
    }


def settle(stamps: Iterable[Stamp]) -> bool:
    """Wait until the next write of these files changes their stamps; tell whether it had to."""
    now = time.time_ns()
    newest = max((max(s.changed_ns, s.status_ns) for s in stamps), default=0)
    if not -TICK_NS < now - newest < TICK_NS:  # of long ago, or of a clock that is not ours
        return False
    time.sleep((TICK_NS - (now - newest)) / 1e9)
    return True


def refuse_changed(stamps: Mapping[str, Stamp]) -> None:
    """Raise if a local file is not what it was when it was described.

    Raises:
        FormatError: If one is not; names it, and says in what it differs.
    """
    for path, described in stamps.items():
        found = stamp_if_there(path)
        if found != described:
            raise changed(path, described, found)


@contextmanager
def held_to(stamps: Mapping[str, Stamp]) -> Iterator[None]:
    """Raise, when a block ends, unless files are what they were when they were described.

    What looks damaged because it has changed is said to have changed.

    Raises:
        FormatError: If one is not.
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
    """Return the error for a file that has changed under a run."""
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
