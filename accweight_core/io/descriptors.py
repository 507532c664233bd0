"""Divide the limit of open files of the process among its threads."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

resource: Any
try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None

MOST_OPEN_FILES = 64
"""Limit of files that one worker keeps open; a run may have more checkpoints than that."""

RESERVE = 32
"""Descriptors reserved for everything else: the store, libraries, the caller's own files."""

LEAST = 2
"""Minimum of files per worker, as two checkpoints are compared."""


def open_files_each(workers: int) -> int:
    """Return how many files each worker of this process may keep open.

    Raises the soft limit of the process if needed and allowed.
    """
    if resource is None:
        return MOST_OPEN_FILES
    taken = _in_use()
    wanted = taken + RESERVE + workers * MOST_OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MOST_OPEN_FILES
    free = int(soft) - taken - min(RESERVE, int(soft) // 4)
    return max(LEAST, min(MOST_OPEN_FILES, free // max(workers, 1)))


def _in_use() -> int:
    """Return the number of open descriptors, or an estimate if the system does not list them."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return RESERVE
