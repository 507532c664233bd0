"""Pause Python's garbage collector while many long-lived objects are created.

The collector scans all live objects repeatedly while their number grows. The descriptions of ten
checkpoints of 20,000 tensors have 400,000 objects, none of them garbage, and scanning took half of
the time to open them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the collector in a context or a decorated function, unless it is already off."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
