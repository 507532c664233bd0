"""A bound on bytes that are kept in memory for as long as something else needs them."""

from __future__ import annotations

import threading
import weakref


class ByteBudget:
    """Counts bytes that belong to objects, until these are gone."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._used_bytes = 0
        self._lock = threading.RLock()  # taken again where memory is freed meanwhile

    def takes(self, owner: object, size_bytes: int) -> bool:
        """Count bytes for as long as `owner` lives; tell whether they still fit, else do not."""
        with self._lock:
            if self._used_bytes + size_bytes > self._most_bytes:
                return False
            self._used_bytes += size_bytes
        weakref.finalize(owner, self._give_back, size_bytes)
        return True

    def _give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._used_bytes -= size_bytes
