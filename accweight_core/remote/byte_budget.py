"""A limit on bytes in memory that belong to living objects."""

from __future__ import annotations

import threading
import weakref


class ByteBudget:
    """Counts bytes that belong to objects, until the objects are garbage-collected."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._used_bytes = 0
        self._lock = threading.RLock()  # a finalizer may run while this thread holds it

    def takes(self, owner: object, size_bytes: int) -> bool:
        """Count bytes for the lifetime of `owner`; return False if they exceed the budget."""
        with self._lock:
            if self._used_bytes + size_bytes > self._most_bytes:
                return False
            self._used_bytes += size_bytes
        weakref.finalize(owner, self._give_back, size_bytes)
        return True

    def _give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._used_bytes -= size_bytes
