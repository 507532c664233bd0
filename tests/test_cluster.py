"""A real cluster of dask, with processes: same files as local threads, also when one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import pytest
from distributed import Client, LocalCluster
from distributed.scheduler import KilledWorker
from runs_to_share import assert_same, tree_of, write_run
from test_cli import accweight
from test_imports import run_python
from web_server import Handler, serving

import accweight_core as aw
from accweight_core.errors import EngineError, FormatError
from accweight_core.jobs.engines import dask_cluster, tasks

BLOCK = 1 << 14
PARCEL = 200_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two processes of one thread each."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of safetensors."""
    return write_run(tmp_path_factory.mktemp("safetensors"), "safetensors")


@pytest.fixture(autouse=True)
def small_parcels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut runs of a few megabytes into many tasks."""
    monkeypatch.setattr(tasks, "LEAST_BYTES", PARCEL)
    monkeypatch.setattr(tasks, "MOST_BYTES", PARCEL)


@pytest.mark.parametrize("budget", [1 << 30, 20_000])
def test_a_cluster_stores_the_bytes_that_threads_store(
    budget: int, folder: Path, tmp_path: Path, cluster: LocalCluster
) -> None:
    run = aw.open_run(folder)
    options: Any = {"picture_budget_bytes": budget, "keep_state": True}
    aw.analyze(run, tmp_path / "here.accw", **options)
    told: list[str] = []

    aw.analyze(
        run,
        tmp_path / "there.accw",
        engine="dask",
        scheduler=cluster.scheduler_address,
        block_elements=BLOCK,
        notice=told.append,
        **options,
    )

    assert_same(tmp_path / "there.accw", tmp_path / "here.accw")
    address = cluster.scheduler_address
    assert told[0].startswith(f"dask at {address}: 2 workers, dashboard: http://127.0.0.1:")
    with urlopen(told[0].rpartition(" ")[2]) as page:
        assert b"Dask" in page.read()


def test_the_executor_of_a_client_will_do(folder: Path, cluster: LocalCluster) -> None:
    run = aw.open_run(folder)
    with Client(cluster, set_as_default=False) as client:
        there = aw.analyze(run, executor=client.get_executor())

    assert (there.values == aw.analyze(run).values).all()


def test_errors_of_parcels_arrive(tmp_path: Path, cluster: LocalCluster) -> None:
    folder = write_run(tmp_path / "run", "safetensors")
    run = aw.open_run(folder)
    (folder / "epoch_3.safetensors").write_bytes(b"gone")

    with pytest.raises(FormatError, match=r"epoch_3.safetensors: changed since") as caught:
        aw.analyze(run, tmp_path / "a.accw", engine="dask", scheduler=cluster.scheduler_address)

    assert caught.value.path == str(folder / "epoch_3.safetensors")


def test_the_command_speaks_to_a_scheduler(
    folder: Path, tmp_path: Path, cluster: LocalCluster
) -> None:
    accweight("analyze", folder, "-o", tmp_path / "here.accw")

    answer = accweight(
        "analyze", folder, "-o", tmp_path / "there.accw", "--json",
        "--engine", "dask", "--scheduler", cluster.scheduler_address,
    )  # fmt: skip

    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["out"] == str(tmp_path / "there.accw")
    assert "workers, dashboard: http://127.0.0.1:" in answer.err
    assert_same(tmp_path / "there.accw", tmp_path / "here.accw")


def test_a_worker_killed_in_the_middle_costs_its_parcel_only(
    folder: Path, tmp_path: Path, cluster: LocalCluster
) -> None:
    aw.analyze(aw.open_run(folder), tmp_path / "here.accw", keep_state=True)
    with serving(folder) as served:
        run = aw.open_run(f"{served.url}/")
        weights = sum(p.elements * 4 for p in run.parameters) * 4
        served.forget()
        victim = next(iter(cluster.workers.values())).pid
        killed = threading.Lock()

        def kill(handler: Handler, path: Path) -> bool:
            """Kill one of two busy workers while both wait for weights."""
            if served.sent_bytes > weights // 3 and killed.acquire(blocking=False):
                os.kill(victim, signal.SIGKILL)
            return False

        served.misbehave = kill

        aw.analyze(
            run,
            tmp_path / "there.accw",
            engine="dask",
            scheduler=cluster.scheduler_address,
            block_elements=BLOCK,
            keep_state=True,
        )

        assert killed.locked()
        with pytest.raises(ProcessLookupError):
            os.kill(victim, 0)
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)  # other tests find the cluster as it was
    heads = 2 * 2 * 4 * (64 << 10)  # both processes have looked at four files, twice perhaps
    assert weights <= served.sent_bytes <= weights + heads + 4 * PARCEL
    theirs, ours = (tree_of(tmp_path / f"{name}.accw") for name in ("here", "there"))
    assert ours.keys() == theirs.keys()
    assert [n for n in ours if ours[n] != theirs[n]] == ["zarr.json"]  # where it came from


def test_the_command_begins_a_cluster_and_ends_it(folder: Path, tmp_path: Path) -> None:
    accweight("analyze", folder, "-o", tmp_path / "here.accw")
    command = [sys.executable, "-m", "accweight_core", "analyze", str(folder), "--json"]

    done = subprocess.run(
        [*command, "-o", str(tmp_path / "there.accw"), "--engine", "dask", "--threads", "1"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["out"] == str(tmp_path / "there.accw")
    assert done.stderr.startswith("note: dask on this machine: 1 workers, dashboard: http://127")
    assert len(done.stderr.splitlines()) == 1
    assert_same(tmp_path / "there.accw", tmp_path / "here.accw")


@pytest.mark.parametrize(
    "error",
    [KilledWorker("run_task-1", SimpleNamespace(address="tcp://a:1"), 3), CancelledError()],
    ids=["workers", "scheduler"],
)
def test_workers_or_a_scheduler_that_are_lost_are_one_line(
    error: Exception, folder: Path, tmp_path: Path
) -> None:
    class Lost(Executor):
        """Fails at everything."""

        def submit(self, fn: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    with pytest.raises(EngineError, match=r"a.accw: workers were lost \(.*the same command"):
        aw.analyze(aw.open_run(folder), tmp_path / "a.accw", executor=Lost())


def test_no_scheduler_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "PATIENCE_S", 0.5)

    for address in ("tcp://127.0.0.1:1", "127.0.0.1:1", "nonsense://x"):
        with pytest.raises(EngineError, match=f"^{address}: no dask scheduler answers there"):
            aw.analyze(aw.open_run(folder), engine="dask", scheduler=address)


def test_without_dask_the_error_says_what_to_install(folder: Path) -> None:
    printed = run_python(
        "import accweight_core as aw\n"
        f"run = aw.open_run({str(folder)!r})\n"
        "assert aw.analyze(run, threads=1).header.complete\n"
        "try:\n"
        "    aw.analyze(run, engine='dask')\n"
        "except aw.AccweightError as error:\n"
        "    print(type(error).__name__, error)",
        without=("distributed", "dask"),
    )

    assert printed.strip() == (
        "MissingLibraryError the engine 'dask' needs dask.distributed, which is not installed; "
        "install it with: pip install 'accweight[cluster]'"
    )


def test_threads_import_nothing_of_dask(folder: Path) -> None:
    printed = run_python(
        "import sys\nimport accweight_core as aw\n"
        f"aw.analyze(aw.open_run({str(folder)!r}))\n"
        "print({'dask', 'distributed', 'tornado', 'bokeh'} & set(sys.modules))"
    )

    assert printed.strip() == "set()"
