"""Write files in a thread of their own, so that threads that compute do not wait for a disk.

Writes are done one after the other, in the order in which they were given. What waits is bounded
in bytes. After one has failed, none of those behind it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

MOST_WAITING_BYTES = 16 << 20
"""Bytes that may wait to be written, except that a single write may be larger."""


class WriteQueue:
    """Writes that wait for a thread to do them."""

    def __init__(self) -> None:
        """Create it empty; the thread starts with the first write."""
        self._thread = ThreadPoolExecutor(1, "write")
        self._changed = Condition()
        self._waiting_bytes = 0
        self._error: Exception | None = None

    def put(self, size_bytes: int, write: Callable[[], object]) -> None:
        """Have something written; wait for room if too much is waiting.

        Args:
            size_bytes: Memory that is held until it is written.
            write: Writes it; what it writes must not be changed meanwhile.

        Raises:
            Exception: What an earlier write has raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._has_room(size_bytes))
            if self._error:
                raise self._error
            self._waiting_bytes += size_bytes
        self._thread.submit(self._do, size_bytes, write)

    def _has_room(self, size_bytes: int) -> bool:
        more = self._waiting_bytes + size_bytes
        return not self._waiting_bytes or more <= MOST_WAITING_BYTES

    def _do(self, size_bytes: int, write: Callable[[], object]) -> None:
        try:
            if self._error is None:
                write()
        except Exception as error:  # raised where the next write is given, or the end awaited
            self._error = error
        finally:
            with self._changed:
                self._waiting_bytes -= size_bytes
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until all that was put before is written.

        Raises:
            Exception: What one of the writes has raised.
        """
        self._thread.submit(lambda: None).result()
        if self._error:
            raise self._error

    def close(self) -> None:
        """Write what waits, without raising, and end the thread."""
        self._thread.shutdown()
