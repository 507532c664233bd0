"""Workers: an executor, its number of workers, and where messages go."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

AT_ONCE = 3
"""Tasks in flight per worker: one running and others queued, so that no worker idles."""

LEAST_AT_ONCE = 8

Notice = Callable[[str], None]
"""Called with a message for the user, such as the address of the dashboard."""


@dataclass(frozen=True)
class Workers:
    """Workers that run tasks.

    Attributes:
        name: Name in messages.
        executor: The executor.
        count: Returns the current number of workers.
        notice: Called with messages for the user.
    """

    name: str
    executor: Executor
    count: Callable[[], int]
    notice: Notice

    def most_at_once(self) -> int:
        """Return how many tasks may be in flight."""
        return max(LEAST_AT_ONCE, AT_ONCE * self.count())
