"""Any executor walks a run as threads of this process do: same bits, same files."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import raw_run
from runs_to_share import assert_same, tree_of, write_run
from web_server import serving

import accweight_core as aw
from accweight_core.errors import EngineError, FormatError, MismatchError, NonFiniteError
from accweight_core.jobs.engines import serialize, tasks, worker
from accweight_core.jobs.engines.tasks import Job
from accweight_core.store.analysis_store import Store

BUDGETS = {"every weight drawn": 1 << 30, "coarse": 400_000, "very coarse": 20_000, "none": 0}


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """Two processes that share nothing with this one but the disk."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    """Two threads that are not ours."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of torch."""
    return write_run(tmp_path_factory.mktemp("torch"), "torch")


@pytest.fixture(autouse=True)
def small_parcels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut runs of a few megabytes into many tasks."""
    monkeypatch.setattr(tasks, "LEAST_BYTES", 200_000)
    monkeypatch.setattr(tasks, "MOST_BYTES", 200_000)


BLOCK = 1 << 14


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_stores_the_bytes_that_threads_store(
    kind: str, budget: int, folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run, options = aw.open_run(folder), {"picture_budget_bytes": budget, "keep_state": True}
    aw.analyze(run, tmp_path / "here.accw", **options)  # type: ignore[arg-type]
    told: list[tuple[int, int]] = []

    there = aw.analyze(
        run,
        tmp_path / "there.accw",
        executor=request.getfixturevalue(kind),
        block_elements=BLOCK,
        progress=lambda done, total: told.append((done, total)),
        **options,  # type: ignore[arg-type]
    )

    assert there.header.complete
    assert_same(tmp_path / "there.accw", tmp_path / "here.accw")
    assert len(told) > 15  # as many tasks
    assert told[-1][0] == told[-1][1] > 5_000_000


def test_without_a_store_the_numbers_are_the_same(folder: Path, processes: Executor) -> None:
    run = aw.open_run(folder)

    there = aw.analyze(run, executor=processes, block_elements=BLOCK)

    np.testing.assert_array_equal(there.values, aw.analyze(run).values)


def test_hidden_values_are_loaded_where_they_are_needed(
    tmp_path: Path, processes: Executor
) -> None:
    run = aw.open_run(write_run(tmp_path / "npz", "npz"))
    aw.analyze(run, tmp_path / "here.accw")
    told: list[str] = []

    aw.analyze(run, tmp_path / "there.accw", executor=processes, notice=told.append)

    assert_same(tmp_path / "there.accw", tmp_path / "here.accw")
    assert told == []


def test_hidden_values_are_found_under_the_names_of_a_map(
    tmp_path: Path, processes: Executor
) -> None:
    chance = np.random.default_rng(0)
    for step in range(4):
        weights = {f"{'body.' * (step > 1)}fc.weight": chance.normal(size=(40, 30))}
        np.savez_compressed(tmp_path / f"epoch_{step}.npz", **weights)
    (tmp_path / "map.toml").write_text('[parameters]\n"body.fc.weight" = "fc.weight"\n')
    run = aw.open_run(tmp_path, map=tmp_path / "map.toml")

    there = aw.analyze(run, executor=processes)

    assert [p.name for p in there.parameters] == ["fc.weight"]
    np.testing.assert_array_equal(there.values, aw.analyze(run).values)


@pytest.mark.parametrize("form", ["memory", "hidden"])
def test_values_that_cannot_be_found_elsewhere_are_walked_here(
    form: str, tmp_path: Path, processes: Executor
) -> None:
    chance = torch.Generator().manual_seed(0)
    states = [{"fc.weight": torch.randn(30, 20, generator=chance)} for _ in range(3)]
    run = aw.open_run(states) if form == "memory" else raw_run(tmp_path, states, "hidden")
    told: list[str] = []

    there = aw.analyze(run, tmp_path / "a.accw", executor=processes, notice=told.append)

    np.testing.assert_array_equal(there.values, aw.analyze(run).values)
    assert len(told) == 1
    assert told[0].startswith("1 parameters are walked here, not by workers: their values are in")


def test_urls_are_read_by_workers_each_byte_once(tmp_path: Path, processes: Executor) -> None:
    write_run(tmp_path / "run", "safetensors")
    aw.analyze(aw.open_run(tmp_path / "run"), tmp_path / "here.accw")
    with serving(tmp_path / "run") as served:
        run = aw.open_run(f"{served.url}/")
        served.forget()

        aw.analyze(run, tmp_path / "there.accw", executor=processes, block_elements=BLOCK)

    theirs, ours = (tree_of(tmp_path / f"{name}.accw") for name in ("here", "there"))
    assert ours.keys() == theirs.keys()
    assert [n for n in ours if ours[n] != theirs[n]] == ["zarr.json"]  # where it came from
    weights = sum(p.elements * 4 for p in run.parameters) * 4
    heads = 2 * 2 * 4 * (64 << 10)  # each process looks at each file, threads at once perhaps
    assert weights <= served.sent_bytes <= weights + heads


def test_a_url_that_changes_on_the_way_is_an_error(tmp_path: Path, processes: Executor) -> None:
    write_run(tmp_path / "run", "safetensors")
    with serving(tmp_path / "run") as served:
        run = aw.open_run(f"{served.url}/")

        os.utime(tmp_path / "run" / "epoch_1.safetensors", (1, 1))

        with pytest.raises(FormatError, match=r"epoch_1.safetensors: has changed since it was"):
            aw.analyze(run, tmp_path / "a.accw", executor=processes)


def test_appending_stores_the_bytes_that_threads_store(
    folder: Path, tmp_path: Path, processes: Executor
) -> None:
    files = sorted(folder.iterdir())
    for name in ("here", "there"):
        aw.analyze(aw.open_run(files[:2]), tmp_path / f"{name}.accw", keep_state=True)
    aw.append(aw.open_run(files), tmp_path / "here.accw")

    aw.append(aw.open_run(files), tmp_path / "there.accw", executor=processes, block_elements=BLOCK)

    assert_same(tmp_path / "there.accw", tmp_path / "here.accw")


def test_strict_names_the_tensor(folder: Path, tmp_path: Path, processes: Executor) -> None:
    run, told = aw.open_run(folder), []
    for executor in (None, processes):
        with pytest.raises(NonFiniteError) as caught:
            aw.analyze(
                run, tmp_path / f"{len(told)}.accw", executor=executor, strict=True, threads=1
            )
        told.append(str(caught.value))

    assert told[0] == told[1]
    assert "parameter 'fc.weight' has 1 non-finite elements at step 0" in told[1]


def test_a_damaged_file_is_the_error_that_it_is_here(tmp_path: Path, processes: Executor) -> None:
    folder = write_run(tmp_path / "run", "safetensors")
    run = aw.open_run(folder)
    os.truncate(folder / "epoch_2.safetensors", 500_000)

    with pytest.raises(FormatError, match=r"epoch_2.safetensors: changed since") as caught:
        aw.analyze(run, tmp_path / "a.accw", executor=processes)

    assert caught.value.path == str(folder / "epoch_2.safetensors")
    assert list((tmp_path / "a.accw").rglob("*.partial")) == []


def stop_at(share: float) -> Callable[[int, int], None]:
    """Return a progress that interrupts when more than a share of the bytes has come back."""

    def progress(done: int, total: int) -> None:
        if done > share * total:
            raise KeyboardInterrupt

    return progress


def test_what_was_stopped_is_continued_by_whoever_comes(
    folder: Path, tmp_path: Path, processes: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = aw.open_run(folder), tmp_path / "there.accw"
    aw.analyze(run, tmp_path / "here.accw")
    finish = Store.finish_parameters

    def stop(store: Store, members: Sequence[int], totals: Any) -> None:
        finish(store, members, totals)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "finish_parameters", stop)
        with pytest.raises(KeyboardInterrupt):
            aw.analyze(run, out, executor=processes, block_elements=BLOCK)
    with pytest.raises(KeyboardInterrupt):
        aw.analyze(run, out, executor=processes, block_elements=BLOCK, progress=stop_at(0.0))
    assert not any(name.endswith(worker.ALIVE) for name in tree_of(out))
    finished = aw.open_analysis(out, unfinished=True).finished()
    assert any(finished)
    assert not all(finished)

    aw.analyze(run, out)

    assert_same(out, tmp_path / "here.accw")


class Twice(Executor):
    """Does everything twice, side by side, and hands out what comes last."""

    def __init__(self) -> None:
        self.under_way = self.most = 0
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Begin."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)

        def work() -> None:
            try:
                copies = [pickle.loads(pickle.dumps(arguments)) for _ in range(2)]
                with ThreadPoolExecutor(2) as pool:
                    results = list(pool.map(lambda copy: fn(*copy), copies))
                with self._lock:
                    self.under_way -= 1
                future.set_result(results[-1])
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work).start()
        return future


@pytest.mark.parametrize("budget", [1 << 30, 20_000])
def test_parcels_that_are_walked_twice_at_once_do_no_harm(
    budget: int, folder: Path, tmp_path: Path
) -> None:
    run = aw.open_run(folder)
    options = {"picture_budget_bytes": budget, "keep_state": True}
    aw.analyze(run, tmp_path / "here.accw", **options)  # type: ignore[arg-type]

    aw.analyze(
        run,
        tmp_path / "there.accw",
        executor=Twice(),
        block_elements=BLOCK,
        **options,  # type: ignore[arg-type]
    )

    assert_same(tmp_path / "there.accw", tmp_path / "here.accw")


def test_a_bounded_number_of_parcels_is_under_way(folder: Path) -> None:
    executor = Twice()

    aw.analyze(aw.open_run(folder), executor=executor, threads=3, block_elements=BLOCK)

    assert 3 <= executor.most <= 3 * 3


def test_a_dead_process_is_one_line_and_the_same_command_continues(
    folder: Path, tmp_path: Path
) -> None:
    run, out = aw.open_run(folder), tmp_path / "there.accw"
    aw.analyze(run, tmp_path / "here.accw")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        victim = pool.submit(os.getpid).result()

        def kill(done: int, total: int) -> None:
            if done > 4_000_000:
                os.kill(victim, signal.SIGKILL)

        with pytest.raises(EngineError) as caught:
            aw.analyze(run, out, executor=pool, block_elements=BLOCK, progress=kill)

    assert str(caught.value).startswith(f"{out}: workers were lost (A process in the process pool")
    assert str(caught.value).endswith("kept, and the same command continues there")
    assert any(aw.open_analysis(out, unfinished=True).finished())
    aw.analyze(run, out)
    assert_same(out, tmp_path / "here.accw")


def a_parcel(folder: Path, **changed: Any) -> tasks.Task:
    """Return a task of the first parameter of a run."""
    run = aw.open_run(folder)
    name = run.parameters[0].name
    tensors = tuple(c.tensors[name] for c in run.checkpoints)
    job = Job("token", None, None, BLOCK, ())
    files = tuple(tasks.File.at(str(file)) for file in folder.iterdir())
    return tasks.Task(replace(job, **changed), (tasks.Slice(0, tensors),), (), files, 1)


def test_a_worker_that_does_not_see_the_output_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"is not the folder that the analysis is written to"):
        worker.run_task(a_parcel(folder, store=str(tmp_path)))


def test_a_worker_that_does_not_see_a_checkpoint_says_so(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    task = a_parcel(tmp_path)
    (tmp_path / "epoch_2.pt").unlink()

    with pytest.raises(EngineError, match=r"epoch_2.pt: the worker on .* does not see"):
        worker.run_task(task)


def test_a_worker_looks_at_the_files_of_every_job_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    see = tasks.File.at
    monkeypatch.setattr(worker.File, "at", lambda path: looked.append(path) or see(path))
    first, second = a_parcel(folder, token="one"), a_parcel(folder, token="two")
    looked.clear()

    for task in (first, first, second):
        worker.run_task(task)

    assert sorted(looked) == sorted([file.path for file in first.files] * 2)


def test_files_that_an_earlier_job_saw_are_looked_at_again(folder: Path) -> None:
    task = a_parcel(folder, token="before")
    worker.run_task(task)
    (folder / "epoch_2.pt").unlink()

    with pytest.raises(EngineError, match=r"epoch_2.pt: the worker on .* does not see"):
        worker.run_task(a_parcel_like(task, token="after"))


def a_parcel_like(task: tasks.Task, **changed: Any) -> tasks.Task:
    return replace(task, job=replace(task.job, **changed))


def test_a_worker_with_other_versions_says_so(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"has numpy .* instead of 0.1, nonesuch missing"):
        worker.run_task(
            a_parcel(folder, versions=(("numpy", "0.1"), ("nonesuch", "2"), ("python", "")))
        )


def test_a_worker_with_another_torch_says_so(folder: Path) -> None:
    with pytest.raises(
        EngineError, match=rf"has torch {re.escape(version('torch'))} instead of 0.1;"
    ):
        worker.run_task(a_parcel(folder, versions=(("torch", "0.1"),)))


def test_a_parcel_of_a_job_that_was_given_up_writes_nothing(folder: Path, tmp_path: Path) -> None:
    run, out = aw.open_run(folder), tmp_path / "a.accw"
    kept: list[tasks.Task] = []

    class Keeping(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *arguments: Any, **options: Any) -> Any:
            kept.append(arguments[0])
            return super().submit(fn, *arguments, **options)

    with Keeping(1) as pool, pytest.raises(KeyboardInterrupt):
        aw.analyze(run, out, executor=pool, progress=stop_at(0.1))
    before = tree_of(out)

    with pytest.raises(EngineError, match="has been given up"):
        worker.run_task(kept[-1])

    assert tree_of(out) == before


def test_a_checkpoint_that_is_not_as_it_was_described_is_an_error(tmp_path: Path) -> None:
    run = aw.open_run(write_run(tmp_path / "npz", "npz"))
    header = aw.analyze(run).header
    serializer = serialize.Serializer("other token", header, run.checkpoints)
    packed = serializer.packed([c.tensors["fc.weight"] for c in run.checkpoints])
    np.savez(tmp_path / "npz" / "epoch_1.npz", other=np.ones(3))

    sent = pickle.loads(pickle.dumps(packed))

    assert sent[0].values.load().shape == (400, 300)
    with pytest.raises(aw.AccweightError, match="has changed since"):
        sent[1].values.load()


def test_what_cannot_be_asked_for_is_one_line(folder: Path, threads: Executor) -> None:
    run = aw.open_run(folder)

    with pytest.raises(EngineError, match="no engine 'spark'; engines: threads, dask"):
        aw.analyze(run, engine="spark")
    with pytest.raises(EngineError, match="tcp://here: a scheduler needs --engine dask"):
        aw.analyze(run, scheduler="tcp://here")
    with pytest.raises(EngineError, match="an executor and the engine 'dask' were given"):
        aw.analyze(run, engine="dask", executor=threads)


def test_mistakes_are_found_before_workers_are_asked(tmp_path: Path) -> None:
    write_run(tmp_path, "torch", checkpoints=1)

    with pytest.raises(MismatchError, match="at least two checkpoints"):
        aw.analyze(aw.open_run(tmp_path), engine="dask", scheduler="tcp://127.0.0.1:1")
