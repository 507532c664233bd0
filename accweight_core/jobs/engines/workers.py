"""Workers: an executor, how many it has, and who is told what is worth telling."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

AT_ONCE = 3
"""Tasks under way per worker: one that is walked, and others, so that no worker waits."""

LEAST_AT_ONCE = 8

Notice = Callable[[str], None]
"""Called with a line that is worth telling: where the dashboard is."""


@dataclass(frozen=True)
class Workers:
    """Who walks tasks.

    Attributes:
        name: What it is called in messages.
        executor: Takes them.
        count: Returns how many there are now.
        notice: Takes lines that are worth telling.
    """

    name: str
    executor: Executor
    count: Callable[[], int]
    notice: Notice

    def most_at_once(self) -> int:
        """Return how many tasks may be under way."""
        return max(LEAST_AT_ONCE, AT_ONCE * self.count())
