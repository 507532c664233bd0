"""Changes in a folder: the file system tells of them, or the folder is listed at intervals.

Network file systems do not tell what other machines write, so that their folders are listed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from accweight_core.errors import MissingLibraryError, reason_of

if TYPE_CHECKING:
    from watchdog.events import FileSystemEventHandler
    from watchdog.observers.api import BaseObserver

POLL_S = 10.0
"""Seconds between two listings, by default."""

MOUNTS = Path("/proc/self/mountinfo")
"""Where Linux lists its file systems: device (major:minor), and after a dash the type."""

NETWORK = ("9p", "afs", "beegfs", "ceph", "cifs", "fuse", "gpfs", "lustre", "nfs", "smb", "wekafs")
"""Beginnings of the types of file systems that others may write to without being told here."""

READING = ("opened", "closed_no_write")
"""Events of files that are only read, as accweight does itself."""


@contextmanager
def woken_by_changes(
    folder: Path, poll_s: float | None, notice: Callable[[str], None]
) -> Iterator[Event]:
    """Return an event that is set whenever something in a folder or below has changed.

    Args:
        folder: The folder.
        poll_s: Seconds between two listings; None to be told by the file system if it does.
        notice: Called with a line if the folder is listed although nobody asked for it.

    Raises:
        MissingLibraryError: If watchdog is not installed.
    """
    try:
        from watchdog.events import FileSystemEventHandler
    except ImportError:
        raise MissingLibraryError("watchdog", "watch", "following a folder") from None
    woken = Event()

    class Waking(FileSystemEventHandler):
        """Sets the event."""

        def on_any_event(self, event: Any) -> None:
            """Set the event unless a file was only read."""
            if event.event_type not in READING:
                woken.set()

    observer = _started(folder, poll_s, notice, Waking())
    try:
        yield woken
    finally:
        observer.stop()
        observer.join()


def _started(
    folder: Path,
    poll_s: float | None,
    notice: Callable[[str], None],
    handler: FileSystemEventHandler,
) -> BaseObserver:
    """Return an observer of a folder that runs."""
    from watchdog.observers import Observer
    from watchdog.observers.polling import PollingObserver

    if poll_s is None and not is_on_network(folder):
        observer = Observer()
        observer.schedule(handler, str(folder), recursive=True)
        try:
            observer.start()
            return observer
        except OSError as error:  # as many folders are watched as the system allows
            notice(f"{folder} is listed every {POLL_S:g} s, as watching failed: {reason_of(error)}")
    polling = PollingObserver(timeout=POLL_S if poll_s is None else poll_s)
    polling.schedule(handler, str(folder), recursive=True)
    polling.start()
    return polling


def is_on_network(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Tell whether a folder is on a file system that others write to over a network."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not on this system
        return False
    for line in lines:
        mount, _, rest = line.partition(" - ")
        if mount.split()[2:3] == [wanted]:
            return rest.startswith(NETWORK)
    return False
