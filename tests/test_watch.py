"""Watching: checkpoints are measured as a job writes them, with the bits of analysing all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import accweight_core as aw
from accweight_core.cli import app
from accweight_core.errors import FormatError, MissingLibraryError, SourceError, StoreError
from accweight_core.jobs import changes, following, watching
from accweight_core.jobs.following import follow
from accweight_core.jobs.looks import Look
from accweight_core.jobs.settling import Complete, Settling
from accweight_core.jobs.watching import Watcher
from accweight_core.runs.search import Broken
from accweight_core.runs.selection import Selection
from accweight_core.store.lock import locked_by_watcher

COUNT = 6
MINUTES_NS = 120_000_000_000


def weights(step: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the weights of a network at a step, always the same ones."""
    chance = torch.Generator().manual_seed(seed)
    now = {
        "conv.weight": torch.randn((8, 3, 5, 5), generator=chance),
        "fc.weight": torch.randn((60, 40), generator=chance),
        "fc.bias": torch.randn(60, generator=chance),
    }
    for _ in range(step):
        now = {n: t + 0.1 * torch.randn(t.shape, generator=chance) for n, t in now.items()}
    return now


def write(folder: Path, step: int, seed: int = 0) -> Path:
    """Write a checkpoint beside its place, and rename it, as careful trainers do."""
    path = folder / f"epoch_{step}.pt"
    partial = folder / f".{path.name}.tmp"
    torch.save({"epoch": step, "state_dict": weights(step, seed)}, partial)
    partial.rename(path)
    return path


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The folder that a job writes to."""
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.accw"


@pytest.fixture
def whole(tmp_path: Path) -> Callable[[int], aw.Analysis]:
    """Return what analyses all steps up to one in one go."""

    def analysed(count: int) -> aw.Analysis:
        folder = tmp_path / f"all_{count}"
        folder.mkdir()
        for step in range(count):
            write(folder, step)
        return aw.analyze(aw.open_run(folder), tmp_path / f"all_{count}.accw", keep_state=True)

    return analysed


def watcher(folder: Path, out: Path, *args: Any, **options: Any) -> Watcher:
    return Watcher(folder, out, *args, **{"settle_s": 0, **options})


def assert_same(found: aw.Analysis | None, whole: aw.Analysis) -> None:
    """Check numbers, warnings and pictures."""
    assert found is not None
    assert found.store is not None
    assert whole.store is not None
    np.testing.assert_array_equal(found.steps, whole.steps)
    np.testing.assert_array_equal(found.values, whole.values)
    assert found.header.warnings == whole.header.warnings
    assert found.maximum == whole.maximum
    for index in range(len(whole.parameters)):
        for level in whole.header.plan(index).levels:
            for plane in ("mean", "max") if level else ("mean",):
                np.testing.assert_array_equal(
                    found.store.picture(index, level, plane, slice(None)),
                    whole.store.picture(index, level, plane, slice(None)),
                )


def test_each_checkpoint_is_measured_as_it_comes(
    job: Path, out: Path, whole: Callable[[int], aw.Analysis]
) -> None:
    follower = watcher(job, out)
    added = [follower.look().added]

    for step in range(COUNT):
        write(job, step)
        added.append(follower.look().added)

    assert added == [(), (0,), (1,), (2,), (3,), (4,), (5,)]
    assert follower.look().added == ()
    assert_same(follower.analysis, whole(COUNT))


def test_a_tracker_of_the_same_run_has_the_same_numbers_and_pictures(
    job: Path, out: Path, tmp_path: Path
) -> None:
    follower = watcher(job, out)
    with aw.ChangeTracker(tmp_path / "live.accw") as tracker:
        for step in range(COUNT):
            write(job, step)
            follower.look()
            tracker.update(weights(step), step=step)

    live = aw.open_analysis(tmp_path / "live.accw")
    assert [p.name for p in live.parameters] == [p.name for p in follower.analysis.parameters]
    assert_same(follower.analysis, live)


def test_checkpoints_may_be_deleted_once_they_are_measured(
    job: Path, out: Path, whole: Callable[[int], aw.Analysis]
) -> None:
    for step in range(COUNT):
        path = write(job, step)
        analysis = watcher(job, out).look().analysis  # a new one each time, as cron starts them
        path.unlink()

    assert_same(analysis, whole(COUNT))


def test_a_run_in_step_folders_whose_old_ones_are_deleted_goes_on(job: Path, out: Path) -> None:
    for step in (500, 1000, 1500):
        folder = job / f"checkpoint-{step}"
        folder.mkdir()
        save_file(weights(step // 500), folder / "model.safetensors")
        analysis = watcher(job, out).look().analysis
        (folder / "model.safetensors").unlink()
        folder.rmdir()

    assert analysis is not None
    assert list(analysis.steps) == [500, 1000, 1500]


@pytest.mark.parametrize(
    ("name", "inside", "is_measured"),
    [
        ("epoch_0.pt", None, True),
        ("epoch=1-step=100.ckpt", 100, True),
        ("checkpoint-500/pytorch_model.bin", None, True),
        ("net_5.pt", None, False),  # what it counts shows beside a second one
        ("seed0.pt", None, False),
        ("ep1_batch900.pt", None, False),
        ("epoch_100.pt", 0, False),
        ("last.pt", 3, False),
        ("best_epoch_3.pt", None, False),
        ("resnet50.pt", 300, False),
    ],
)
def test_a_checkpoint_that_is_alone_is_measured_if_its_step_is_certain(
    job: Path, out: Path, name: str, inside: int | None, is_measured: bool
) -> None:
    path = job / name
    path.parent.mkdir(exist_ok=True)
    told = {} if inside is None else {"global_step": inside}
    torch.save({"state_dict": weights(0), **told}, path)

    look = watcher(job, out).look()

    assert bool(look.added) is is_measured
    assert look.waits_for == f"a second checkpoint in {job}"


def test_a_checkpoint_is_read_after_it_was_unchanged_for_the_settling_time(
    job: Path, out: Path
) -> None:
    now = 0.0
    follower = watcher(job, out, settle_s=5.0, clock=lambda: now)
    for step in (0, 1):
        write(job, step)

    assert follower.look().is_settling
    now = 4.0
    os.utime(job / "epoch_1.pt", ns=(1, 1))  # written again
    assert follower.look().is_settling
    now = 6.0
    assert follower.look().added == (0,)
    assert follower.look().is_settling
    now = 9.5
    assert follower.look().added == (1,)


def test_an_unreadable_file_that_has_gone_since_is_neither_waited_for_nor_told(
    job: Path,
) -> None:
    said: list[str] = []
    path = job / "epoch_1.pt"
    gone = Broken(path, FormatError(str(path), "is empty"))

    found = Settling(0.0, said.append, lambda: 0.0).complete((), [gone])

    assert found == Complete((), is_settling=False, again_s=None)
    assert said == []


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_half_written_checkpoint_is_waited_for(
    job: Path, out: Path, share: float, whole: Callable[[int], aw.Analysis]
) -> None:
    said: list[str] = []
    follower = watcher(job, out, notice=said.append)
    for step in (0, 1, 2):
        path = write(job, step)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    write(job, 3)

    first = follower.look()
    assert (first.added, follower.look().added, said) == ((0, 1), (), [])

    with path.open("ab") as file:
        file.write(content[int(share * len(content)) :])
    assert follower.look().added == (2, 3)
    assert_same(follower.analysis, whole(4))


def test_a_file_that_nobody_completes_is_named_once_and_left_out(job: Path, out: Path) -> None:
    said: list[str] = []
    follower = watcher(job, out, notice=said.append)
    for step in range(4):
        path = write(job, step)
        if step == 2:
            path.write_bytes(path.read_bytes()[:500])
            ago = path.stat().st_mtime_ns - MINUTES_NS
            os.utime(path, ns=(ago, ago))

    added = [follower.look().added for _ in range(3)]

    assert added == [(0, 1, 3), (), ()]
    assert len([line for line in said if "epoch_2.pt" in line and "completed" in line]) == 1


def test_a_folder_of_half_a_checkpoint_is_waited_for(job: Path, out: Path) -> None:
    path = write(job, 0)
    path.write_bytes(path.read_bytes()[:500])

    look = watcher(job, out).look()

    assert look.analysis is None
    assert look.waits_for == f"a checkpoint that can be read in {job}"


def test_a_checkpoint_that_is_deleted_before_it_is_read_costs_nothing_else(
    job: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = watcher(job, out)
    for step in (0, 1):
        write(job, step)
    follower.look()
    doomed = write(job, 2)
    opened = watching.run_of

    def opened_too_late(*args: Any) -> aw.Run:
        run = opened(*args)
        doomed.unlink(missing_ok=True)
        return run

    monkeypatch.setattr(watching, "run_of", opened_too_late)
    look = follower.look()
    write(job, 3)

    assert look.added == ()
    assert isinstance(look.problem, FormatError)
    assert "epoch_2.pt: cannot be read" in str(look.problem)
    assert follower.look().added == (3,)


def test_a_copy_of_the_last_checkpoint_is_no_restart(job: Path, out: Path) -> None:
    said: list[str] = []
    follower = watcher(job, out, notice=said.append)
    for step in range(4):
        path = write(job, step)
        (job / "last.pt").write_bytes(path.read_bytes())
        follower.look()

    assert follower.analysis is not None
    assert list(follower.analysis.steps) == [0, 1, 2, 3]
    assert not [line for line in said if "restarted" in line]
    assert follower.analysis.header.notes == ("last.pt left out: same weights as epoch_1.pt",)


def test_checkpoints_of_the_series_that_was_chosen_are_taken(job: Path, out: Path) -> None:
    for name in ("a", "b"):
        (job / name).mkdir()
    follower = watcher(job, out, Selection(series="b"))
    for step in range(3):
        write(job / "a", step)
        write(job / "b", step, seed=1)
        follower.look()

    assert follower.analysis is not None
    assert {Path(r.path).parent.name for r in follower.analysis.header.checkpoints} == {"b"}


def test_an_analysis_that_was_begun_is_finished_with_its_checkpoints(
    job: Path, out: Path, whole: Callable[[int], aw.Analysis]
) -> None:
    for step in (0, 1):
        write(job, step)

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watcher(job, out, progress=stop, threads=1).look()
    write(job, 2)
    follower = watcher(job, out)

    assert [follower.look().added, follower.look().added] == [(0, 1), (2,)]
    assert_same(follower.analysis, whole(3))


def test_what_a_full_disk_refuses_is_added_when_there_is_room(
    job: Path, small_disk: Path, whole: Callable[[int], aw.Analysis]
) -> None:
    ballast = small_disk / "ballast"
    follower = watcher(job, small_disk / "run.accw")
    for step in (0, 1):
        write(job, step)
    assert follower.look().added == (0, 1)
    left = os.statvfs(small_disk)
    ballast.write_bytes(bytes(left.f_bavail * left.f_bsize - 8192))
    write(job, 2)

    look = follower.look()
    assert isinstance(look.problem, StoreError)
    assert look.again_s == watching.RETRY_S

    ballast.unlink()
    assert follower.look().added == (2,)
    assert_same(follower.analysis, whole(3))


@pytest.mark.parametrize("room", [4096, 12_288, 36_864])
def test_an_analysis_that_a_full_disk_has_interrupted_is_finished_when_there_is_room(
    job: Path, small_disk: Path, whole: Callable[[int], aw.Analysis], room: int
) -> None:
    ballast = small_disk / "ballast"
    left = os.statvfs(small_disk)
    ballast.write_bytes(bytes(left.f_bavail * left.f_bsize - room))
    follower = watcher(job, small_disk / "run.accw")
    for step in range(3):  # the first one begins it alone
        write(job, step)
        assert isinstance(follower.look().problem, StoreError)

    ballast.unlink()
    added = [*follower.look().added, *follower.look().added]

    assert added == [0, 1, 2]
    assert_same(follower.analysis, whole(3))


def test_an_analysis_has_one_watcher(job: Path, out: Path) -> None:
    with (
        locked_by_watcher(out),
        pytest.raises(StoreError, match="another accweight watch writes this analysis"),
    ):
        follow(watcher(job, out), once=True)


def test_what_cannot_be_watched_says_so(
    job: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match="or create it if the job has not begun"):
        Watcher(job / "nowhere", out)
    (job / "file").touch()
    with pytest.raises(SourceError, match="file: is a file, not a folder; watch the one"):
        Watcher(job / "file", out)
    (job / "file").unlink()
    aw.analyze([weights(0), weights(1)], out)
    with pytest.raises(SourceError, match=r"run.accw: is an analysis, not checkpoints"):
        Watcher(out, job / "other.accw")
    with pytest.raises(StoreError, match="without --keep-state"):
        Watcher(job, out)
    monkeypatch.setitem(sys.modules, "watchdog.events", None)
    with pytest.raises(MissingLibraryError, match=r"accweight\[watch\]"):
        follow(watcher(job, job / "other.accw"))


@pytest.mark.parametrize("poll_s", [None, 0.05])
def test_the_loop_is_woken_by_what_is_written(
    job: Path, out: Path, poll_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "GAP_S", 0.0)
    monkeypatch.setattr(following, "REST", 0)
    steps: list[int] = []
    writers: list[Thread] = []

    def write_after(before: Sequence[Thread]) -> None:
        for writer in before:
            writer.join()  # a job writes its steps one after the other
        write(job, len(before))

    def is_done(look: Look) -> bool:
        steps.extend(look.added)
        if len(writers) < 4:
            writers.append(Thread(target=write_after, args=(tuple(writers),)))
            writers[-1].start()
        return len(steps) == 4

    analysis = aw.watch(job, out, settle_s=0, poll_s=poll_s, until=is_done)

    assert steps == [0, 1, 2, 3]
    assert analysis is not None
    assert analysis.steps.tolist() == steps


@pytest.mark.parametrize(("kind", "is_polled"), [("nfs4", True), ("ext4", False)])
def test_folders_of_network_file_systems_are_polled(
    tmp_path: Path, kind: str, is_polled: bool
) -> None:
    device = os.stat(tmp_path).st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    table = tmp_path / "mountinfo"
    table.write_text(f"30 1 0:1 / /proc rw - proc proc rw\n31 1 {place} / / rw - {kind} disk rw\n")

    assert changes.is_on_network(tmp_path, table) is is_polled


# --- the command --------------------------------------------------------------------------------


def accweight(*arguments: object) -> int:
    return app.run(list(map(str, arguments)))


def test_once_adds_what_is_there(job: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once = ("watch", job, "-o", out, "--once", "--settle", "0", "--json")
    write(job, 0)
    assert accweight(*once) == 0
    assert capsys.readouterr() == ("", f"note: waiting for a second checkpoint in {job}\n")

    for steps, is_again in (([0, 1, 2], False), ([0, 1, 2], True), ([0, 1, 2, 3], False)):
        for step in steps[1:]:
            if not (job / f"epoch_{step}.pt").exists():
                write(job, step)
        assert accweight(*once) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["steps"] == steps
        last = "note: nothing is new: no checkpoint comes after step 2, the last one analysed"
        assert (last in shown.err.splitlines()) == is_again
    document = json.loads(shown.out)
    assert document["ranking"][0]["layer"] in ("conv", "fc")


def test_once_does_not_say_that_nothing_is_new_while_a_checkpoint_is_written(
    job: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in range(2):
        write(job, step)
    once = ("watch", job, "-o", out, "--once", "--settle", "0")
    assert accweight(*once) == 0
    (job / "epoch_2.pt").write_bytes((job / "epoch_1.pt").read_bytes()[:999])
    capsys.readouterr()

    assert accweight(*once) == 0

    assert "nothing is new" not in capsys.readouterr().err


def _started(job: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "accweight_core", "watch", str(job), "-o", str(out)]
    return subprocess.Popen([*command, "--settle", "0"], stdout=subprocess.PIPE, text=True)


def test_a_watcher_that_is_killed_goes_on_where_it_was(
    job: Path, out: Path, whole: Callable[[int], aw.Analysis]
) -> None:
    for step in range(3):
        write(job, step)
    killed = _started(job, out)
    assert killed.stdout is not None
    lines = [killed.stdout.readline() for _ in range(3)]
    killed.kill()
    killed.communicate()
    for old in job.glob("*.pt"):
        old.unlink()
    write(job, 3)
    write(job, 4)

    again = _started(job, out)
    assert again.stdout is not None
    lines += [again.stdout.readline() for _ in range(2)]
    again.send_signal(signal.SIGTERM)
    rest, _ = again.communicate()

    assert [line.split(":")[0] for line in lines] == [f"step {step}" for step in range(5)]
    assert again.returncode == 0
    assert "5 checkpoints, steps 0 to 4" in rest
    assert_same(aw.open_analysis(out), whole(5))
