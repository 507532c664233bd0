"""Background loading: only the current requests, most urgent first.

The whole list of requests is replaced when the camera or the time changes, so that nothing is read
that is no longer needed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Loader(Generic[Key, Value]):
    """Threads that compute values for requests."""

    def __init__(
        self,
        read: Callable[[Key], Value],
        arrived: Callable[[], object] = lambda: None,
        *,
        threads: int = 1,
        most_waiting: int = 256,
    ) -> None:
        """Start the threads.

        Args:
            read: Reads one value; called on a thread of the loader.
            arrived: Called on that thread when a value or an error is available.
            threads: Number of threads.
            most_waiting: Values waiting to be taken at which reading pauses.
        """
        self._read = read
        self._arrived = arrived
        self._most = most_waiting
        self._requests: deque[Key] = deque()
        self._under_way: set[Key] = set()
        self._values: deque[tuple[Key, Value]] = deque()
        self._failed: dict[Key, Exception] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name="accweight loader", daemon=True)
            for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def request(self, keys: Iterable[Key]) -> None:
        """Replace all requests by these, in order; failed ones are not repeated."""
        with self._changed:
            waiting = self._under_way.union(key for key, _ in self._values)
            self._requests = deque(
                key for key in keys if key not in waiting and key not in self._failed
            )
            self._changed.notify_all()

    def take(self) -> tuple[Key, Value] | None:
        """Return the next value, or None."""
        with self._changed:
            if not self._values:
                return None
            self._changed.notify_all()
            return self._values.popleft()

    @property
    def idle(self) -> bool:
        """Whether no request is pending, in progress, or waiting to be taken."""
        with self._changed:
            return not (self._requests or self._under_way or self._values)

    @property
    def failures(self) -> dict[Key, Exception]:
        """Failed requests and their errors."""
        with self._changed:
            return dict(self._failed)

    def close(self) -> None:
        """Stop after the reads in progress."""
        with self._changed:
            self._closed = True
            self._requests.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._requests or len(self._values) >= self._most):
                    self._changed.wait()
                if self._closed:
                    return
                key = self._requests.popleft()
                self._under_way.add(key)
            self._finish(key)

    def _finish(self, key: Key) -> None:
        value: Value
        try:
            value = self._read(key)
        except Exception as error:  # shown to the user; the thread must go on after a damaged file
            with self._changed:
                self._failed[key] = error
                self._under_way.discard(key)
        else:
            with self._changed:
                self._under_way.discard(key)
                self._values.append((key, value))
        self._arrived()
