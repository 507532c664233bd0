"""The world changes under a run: an error that names the file, or the figures of one version."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from distributed import LocalCluster
from safetensors.numpy import save_file
from thorough import sampled

import accweight_core as aw
from accweight_core.errors import FormatError, SourceError
from accweight_core.io import stamp
from accweight_core.readers import reader_named
from accweight_core.runs import describing
from accweight_core.schema import Description

Array = npt.NDArray[np.float32]
Change = Callable[[Path, Path], None]

NAMES = [f"layer{n:02}.weight" for n in range(12)]


def weights(seed: int) -> dict[str, Array]:
    chance = np.random.default_rng(seed)
    return {name: chance.standard_normal((40, 50)).astype(np.float32) for name in NAMES}


def as_safetensors(path: Path, state: dict[str, Array]) -> Path:
    save_file(state, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def as_compressed(path: Path, state: dict[str, Array]) -> Path:
    np.savez_compressed(path.with_suffix(".npz"), **state)  # type: ignore[arg-type]
    return path.with_suffix(".npz")


def in_place(old: Path, new: Path) -> None:
    with old.open("r+b") as file:
        file.write(new.read_bytes())
        file.truncate()


def in_place_at_the_old_time(old: Path, new: Path) -> None:
    state = old.stat()
    in_place(old, new)
    os.utime(old, ns=(state.st_atime_ns, state.st_mtime_ns))


def by_rename(old: Path, new: Path) -> None:
    new.replace(old)


def by_rename_at_the_old_time(old: Path, new: Path) -> None:
    state = old.stat()
    os.utime(new, ns=(state.st_atime_ns, state.st_mtime_ns))
    new.replace(old)


def gone(old: Path, new: Path) -> None:
    old.unlink()


Save = Callable[[Path, dict[str, Array]], Path]
RUNS = [(as_safetensors, 4), (as_safetensors, 70), (as_compressed, 4)]
"""Stretches of files, of which 64 are kept open, and values that a function loads."""

CHANGED = r"changed since|cannot be read"
CHANGES = (in_place, in_place_at_the_old_time, by_rename, by_rename_at_the_old_time, gone)
ENGINES_AND_CHANGES = [("threads", change) for change in CHANGES]
for name in ("processes", "dask"):
    ENGINES_AND_CHANGES += [(name, in_place_at_the_old_time), (name, by_rename)]

CASES = [(*run, *change) for run in RUNS for change in ENGINES_AND_CHANGES]
BEFORE, HALFWAY = list(sampled(CASES, 2)), list(sampled(CASES[::-1], 4))


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        yield pool


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of one process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def workers(request: pytest.FixtureRequest, engine: str) -> dict[str, Any]:
    """The arguments that choose an engine."""
    if engine == "processes":
        return {"executor": request.getfixturevalue("processes")}
    if engine == "dask":
        return {"engine": "dask", "scheduler": request.getfixturevalue("scheduler")}
    return {}


def written(folder: Path, save: Save, steps: int) -> list[Path]:
    folder.mkdir()
    return [save(folder / f"step_{step}", weights(step)) for step in range(steps)]


@pytest.mark.parametrize(("save", "steps", "engine", "change"), BEFORE)
def test_a_file_that_changes_before_its_first_read_is_an_error(
    tmp_path: Path,
    save: Save,
    change: Change,
    steps: int,
    workers: dict[str, Any],
) -> None:
    paths = written(tmp_path / "run", save, steps)
    run = aw.open_run(tmp_path / "run")
    change(paths[2], save(tmp_path / "new", weights(99)))

    with pytest.raises((FormatError, SourceError), match=CHANGED) as told:
        aw.analyze(run, **workers)

    assert str(told.value).startswith(f"{paths[2]}: ")


@pytest.mark.parametrize(("save", "steps", "engine", "change"), HALFWAY)
def test_a_file_that_changes_halfway_is_an_error_and_the_same_command_ends_right(
    tmp_path: Path,
    save: Save,
    change: Change,
    steps: int,
    workers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("accweight_core.pictures.packing.PACK_TEXELS", 3000)
    monkeypatch.setattr("accweight_core.jobs.engines.tasks.LEAST_BYTES", 1000)
    paths = written(tmp_path / "run", save, steps)
    new, out = save(tmp_path / "new", weights(99)), tmp_path / "run.accw"
    fired = []

    def change_halfway(done: int, total: int) -> None:
        if done > total / 3 and not fired:
            fired.append(done)
            change(paths[2], new)

    with pytest.raises(FormatError, match=CHANGED) as told:
        aw.analyze(
            aw.open_run(tmp_path / "run"), out, threads=1, progress=change_halfway,
            picture_budget_bytes=0, **workers,
        )  # fmt: skip
    assert fired
    assert told.value.path == str(paths[2])
    assert not aw.open_analysis(out, unfinished=True).header.complete

    if change is gone:
        save(tmp_path / "run/step_2", weights(99))
    notices: list[str] = []
    run = aw.open_run(tmp_path / "run")
    again = aw.analyze(run, out, picture_budget_bytes=0, notice=notices.append)
    assert any("was written again since" in line and "step_2" in line for line in notices)
    expected = aw.analyze(run)
    np.testing.assert_array_equal(again.values, expected.values)
    assert not (out / "begun.json").exists()


def test_exact_values_of_a_file_that_changes_meanwhile_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = written(tmp_path / "run", as_safetensors, 3)
    analysis = aw.analyze(aw.open_run(tmp_path / "run"))
    analysis.cumulative(NAMES[0])
    in_place(paths[1], as_safetensors(tmp_path / "new", weights(9)))

    with pytest.raises(FormatError, match=r"step_1\.safetensors: changed since"):
        analysis.cumulative(NAMES[0])
    with pytest.raises(FormatError, match=r"step_1\.safetensors: changed since"):
        analysis.trace(NAMES[0], (0, 0))


class Meddling:
    """A reader of safetensors under whose hands files change."""

    name, suffixes = "safetensors", (".safetensors",)

    def __init__(self, meddle: Callable[[int], None]) -> None:
        self.meddle, self.times = meddle, 0

    def recognises(self, path: Path) -> bool:
        return True

    def describe(self, path: Path) -> Description:
        found = reader_named("safetensors").describe(path)
        self.times += 1
        self.meddle(self.times)
        return found


def test_a_file_that_changes_while_it_is_described_is_described_again(tmp_path: Path) -> None:
    path = as_safetensors(tmp_path / "a", {"old": weights(0)[NAMES[0]]})
    new = as_safetensors(tmp_path / "b", {"new": weights(0)[NAMES[0]]})
    reader = Meddling(lambda times: in_place(path, new) if times == 1 else None)

    description, stamps = describing.described_at_once(reader, path)

    assert [tensor.name for tensor in description.tensors] == ["new"]
    assert stamps == {str(path): stamp.stamp_of(path)}


def test_a_file_that_is_written_all_the_time_is_an_error(tmp_path: Path) -> None:
    path = as_safetensors(tmp_path / "a", weights(0))
    reader = Meddling(lambda times: os.utime(path, ns=(times, times)))

    with pytest.raises(FormatError, match="is being written"):
        describing.described_at_once(reader, path)


def test_a_write_right_after_a_file_was_described_changes_its_stamp(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in range(15):  # without waiting, some would be within one tick
        path.write_bytes(b"%2d" % content)
        found = stamp.stamp_of(path)
        if stamp.settle([found]):
            found = stamp.stamp_of(path)
        with path.open("r+b") as file:
            file.write(b"xx")
        assert stamp.stamp_of(path) != found
