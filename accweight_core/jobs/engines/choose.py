"""Which workers walk: threads of this process, a dask cluster, or an executor of the caller."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from accweight_core.errors import EngineError
from accweight_core.jobs.engines.dask_cluster import dask_workers
from accweight_core.jobs.engines.workers import Notice, Workers

ENGINES = ("threads", "dask")


@contextmanager
def workers_for(
    engine: str,
    scheduler: str | None,
    executor: Executor | None,
    threads: int | None,
    notice: Notice,
) -> Iterator[Workers | None]:
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
        yield Workers(type(executor).__name__, executor, lambda: count, notice)
    elif engine == "dask":
        with dask_workers(scheduler, threads, notice) as workers:
            yield workers
    else:
        yield None
