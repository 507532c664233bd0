"""Workers of a dask cluster: a running one, or processes on this machine."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from accweight_core.errors import EngineError, MissingLibraryError
from accweight_core.jobs.engines.workers import Notice, Workers

if TYPE_CHECKING:
    from distributed import Client

PATIENCE_S = 30
"""Seconds until a scheduler that does not answer is an error."""

LOOK_S = 2.0
"""Seconds between two counts of the workers, which come and go."""


@contextmanager
def dask_workers(scheduler: str | None, threads: int | None, notice: Notice) -> Iterator[Workers]:
    """Yield the workers of a cluster.

    Args:
        scheduler: Address of its scheduler; None to start a cluster on this machine.
        threads: Processes of that cluster; by default one per processor.
        notice: Called with the address of the dashboard.

    Raises:
        EngineError: If no scheduler answers.
        MissingLibraryError: If dask.distributed is not installed.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingLibraryError("dask.distributed", "cluster", "the engine 'dask'") from None
    if scheduler is None:
        count = threads or os.cpu_count() or 1
        with (
            LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
                preload=[__name__],
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield _workers("dask on this machine", client, notice)
        return
    try:
        client = Client(scheduler, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EngineError(f"{scheduler}: no dask scheduler answers there ({reason})") from None
    with client:
        yield _workers(f"dask at {scheduler}", client, notice)


def dask_setup(worker: object) -> None:
    """Ignore Ctrl-C in a worker process; the process that started the cluster handles it.

    Dask calls this in each process of a cluster on this machine.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _workers(name: str, client: Client, notice: Notice) -> Workers:
    workers = _Counted(lambda: sum(client.nthreads().values()))
    link = client.dashboard_link
    if not link or (client.cluster is not None and find_spec("bokeh") is None):
        link = "none; install bokeh where the scheduler runs: pip install 'accweight[cluster]'"
    notice(f"{name}: {workers()} workers, dashboard: {link}")
    return Workers(name, client.get_executor(pure=False), workers, notice)


class _Counted:
    """Counts the workers, at most once per `LOOK_S`."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._asked = -LOOK_S
        self._known = 0

    def __call__(self) -> int:
        """Return the latest count."""
        if time.monotonic() - self._asked > LOOK_S:
            self._known, self._asked = self._count(), time.monotonic()
        return self._known
