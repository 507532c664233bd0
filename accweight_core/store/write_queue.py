"""Write files in a thread of their own, so that threads that compute do not wait for a disk.

Writes are done one after the other, in the order in which they were given. What waits is bounded
in bytes: beyond that, who gives a write does it, so that many threads are not held up by one disk
or one copy. After a write has failed, none that waits is done.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

MOST_WAITING_BYTES = 32 << 20
"""Bytes that may wait to be written, the ones that are being written among them."""


class WriteQueue:
    """Writes that wait for a thread to do them."""

    def __init__(self) -> None:
        """Create it empty; the thread starts with the first write."""
        self._thread = ThreadPoolExecutor(1, "write")
        self._lock = Lock()
        self._waiting_bytes = 0
        self._error: Exception | None = None

    def put(self, size_bytes: int, write: Callable[[], object]) -> None:
        """Have something written, or write it here and now if too much is waiting.

        Args:
            size_bytes: Memory that is held until it is written.
            write: Writes it; what it writes must not be changed meanwhile.

        Raises:
            Exception: What an earlier write has raised, or this one.
        """
        self._raise_error()
        with self._lock:
            has_room = self._waiting_bytes + size_bytes <= MOST_WAITING_BYTES
            self._waiting_bytes += size_bytes if has_room else 0
        if has_room:
            self._thread.submit(self._do, size_bytes, write)
        else:
            write()

    def then(self, action: Callable[[], object]) -> None:
        """Have something done when all that was put before is written.

        Raises:
            Exception: What one of the writes has raised.
        """
        self._raise_error()
        self._thread.submit(self._do, 0, action)

    def _do(self, size_bytes: int, write: Callable[[], object]) -> None:
        try:
            if self._error is None:
                write()
        except Exception as error:  # raised where the next write is given, or the end awaited
            self._error = error
        finally:
            with self._lock:
                self._waiting_bytes -= size_bytes

    def wait(self) -> None:
        """Wait until all that was put before is written.

        Raises:
            Exception: What one of the writes has raised.
        """
        self._thread.submit(lambda: None).result()
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Write what waits, without raising, and end the thread."""
        self._thread.shutdown()
