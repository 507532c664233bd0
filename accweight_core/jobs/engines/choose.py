"""Choose the workers: threads of this process, a dask cluster, or the caller's executor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from accweight_core.arguments import brief, is_one_of
from accweight_core.errors import ArgumentTypeError, EngineError
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
    """Yield the workers, or None for threads of this process.

    Args:
        engine: "threads" or "dask".
        scheduler: Address of a dask scheduler; None to start a cluster on this machine.
        executor: An executor to use instead; it is not shut down.
        threads: Number of workers, if it is to be set or cannot be found out.
        notice: Called with messages for the user.

    Raises:
        ArgumentTypeError: If the executor has no `submit`, or the scheduler is not text.
        EngineError: If the arguments contradict each other, or no scheduler answers.
        MissingLibraryError: If dask.distributed is not installed.
    """
    if not is_one_of(engine, ENGINES):
        raise EngineError(f"there is no engine {brief(engine)}; engines: {', '.join(ENGINES)}")
    if not isinstance(scheduler, str | None):
        raise ArgumentTypeError(
            f"scheduler must be an address such as 'tcp://host:8786', got {brief(scheduler)}"
        )
    if scheduler and engine != "dask":
        raise EngineError(f"{scheduler}: a scheduler needs --engine dask")
    if executor is not None and engine != "threads":
        raise EngineError(f"an executor and the engine {engine!r} were given; give one of them")
    if executor is not None:
        if not callable(getattr(executor, "submit", None)):
            raise ArgumentTypeError(
                f"executor must have submit(), as in concurrent.futures, got {brief(executor)}"
            )
        count = threads or getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        yield Workers(type(executor).__name__, executor, lambda: count, notice)
    elif engine == "dask":
        with dask_workers(scheduler, threads, notice) as workers:
            yield workers
    else:
        yield None
