"""How many files may be open: a limit of the process, which its threads share."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

resource: Any
try:
    import resource
except ImportError:  # not on this system, which has no such limit
    resource = None

MOST_OPEN_FILES = 64
"""Files one worker keeps open; runs have more checkpoints than a process may open files."""

RESERVE = 32
"""Descriptors that are left to everything else: the store, libraries, the caller's own files."""

LEAST = 2
"""Files that a worker has open at the least: two checkpoints are compared."""


def open_files_each(workers: int) -> int:
    """Return how many files each of some workers of this process may keep open.

    The soft limit of the process is raised where that is needed and allowed.
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
    """Return how many descriptors are open now, as far as the system tells."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return RESERVE
