"""A crew: an executor, how many workers it has, and to whom it is told what is worth telling."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

from accweight_core.errors import EngineError

AT_ONCE = 3
"""Parcels under way per worker: one that is walked, and others, so that no worker waits."""

LEAST_AT_ONCE = 8

ENGINES = ("threads", "dask")

Notice = Callable[[str], None]
"""Called with a line that is worth telling: where the dashboard is."""


@dataclass(frozen=True)
class Crew:
    """Who walks parcels.

    Attributes:
        name: What it is called in messages.
        executor: Takes them.
        workers: Returns how many it has now.
        notice: Takes lines that are worth telling.
    """

    name: str
    executor: Executor
    workers: Callable[[], int]
    notice: Notice

    def most_at_once(self) -> int:
        """Return how many parcels may be under way."""
        return max(LEAST_AT_ONCE, AT_ONCE * self.workers())


@contextmanager
def crew_of(
    engine: str,
    scheduler: str | None,
    executor: Executor | None,
    threads: int | None,
    notice: Notice,
) -> Iterator[Crew | None]:
    """Yield who walks, None for threads of this process.

    Args:
        engine: "threads" or "dask".
        scheduler: Address of a dask scheduler; a cluster of processes here is begun without.
        executor: An executor to use instead, which stays open.
        threads: How many workers there are, or are to be, if that is not to be found out.
        notice: Takes lines that are worth telling.

    Raises:
        EngineError: If what is asked for cannot be, or no scheduler answers.
        MissingLibraryError: If dask.distributed is not installed.
    """
    if engine not in ENGINES:
        raise EngineError(f"there is no engine {engine!r}; engines: {', '.join(ENGINES)}")
    if scheduler and engine != "dask":
        raise EngineError(f"{scheduler}: a scheduler needs --engine dask")
    if executor is not None and engine != "threads":
        raise EngineError(f"an executor and the engine {engine!r} were given; give one of them")
    if executor is not None:
        count = threads or getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        yield Crew(type(executor).__name__, executor, lambda: count, notice)
    elif engine == "dask":
        from accweight_core.engines.dask_cluster import dask_crew

        with dask_crew(scheduler, threads, notice) as crew:
            yield crew
    else:
        yield None
