"""A tracker that writes into a store: same numbers and pictures as files, and nothing is lost."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch

import accweight_core as aw
from accweight_core.analysis.figures import layers
from accweight_core.analysis.tensorboard import write_events
from accweight_core.errors import MismatchError, StoreError
from accweight_core.live import recording, rooms, writing
from accweight_core.reports.content import content_of
from accweight_core.store.analysis_store import Store

Weights = dict[str, torch.Tensor]

SHAPES = {
    "conv.weight": (8, 4, 3, 3),
    "conv.bias": (8,),
    "fc.weight": (300, 200),
    "fc.bias": (300,),
    "head.weight": (9, 300),
}
"""Pictures in packs, and one with coarser levels."""


def weights_at(step: int, **changes: float) -> Weights:
    generator = torch.Generator().manual_seed(step)
    return {n: torch.randn(shape, generator=generator) for n, shape in SHAPES.items()} | {
        name: torch.full(SHAPES[name], value) for name, value in changes.items()
    }


def tracked(path: Path, steps: range, **options: Any) -> aw.ChangeTracker:
    """Track steps, each written before the next, and leave the store open."""
    tracker = aw.ChangeTracker(path, errors="raise", **options)
    return tracked_on(tracker, steps)


def tracked_on(tracker: aw.ChangeTracker, steps: range) -> aw.ChangeTracker:
    for step in steps:
        tracker.update(weights_at(step), step=step, loss=step / 4)
        tracker.flush()
    return tracker


def pictures_of(store: Store | None) -> Iterator[tuple[str, np.ndarray]]:
    assert store is not None
    for index, parameter in enumerate(store.header.parameters):
        for level in store.header.plan(index).levels:
            for plane in ("mean", "max") if level else ("mean",):
                name = f"{parameter.name}, {level}, {plane}"
                yield name, store.picture(index, level, plane, slice(None))


def assert_same(one: aw.Analysis, other: aw.Analysis) -> None:
    """Same steps, numbers and pictures, bit for bit."""
    assert one.steps.tolist() == other.steps.tolist()
    assert one.values.tobytes() == other.values.tobytes()
    assert one.header.picture_bases == other.header.picture_bases
    for (name, ours), (_, theirs) in zip(
        pictures_of(one.store), pictures_of(other.store), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes(), name


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.fixture
def expected(tmp_path: Path) -> aw.Analysis:
    """Seven steps, tracked in one go."""
    tracked(tmp_path / "expected.accw", range(7)).close()
    return aw.open_analysis(tmp_path / "expected.accw")


# --- the same as from files


def test_a_store_has_the_numbers_and_pictures_of_files(
    expected: aw.Analysis, tmp_path: Path
) -> None:
    checkpoints = [weights_at(step) for step in range(7)]

    assert_same(expected, aw.analyze(checkpoints, tmp_path / "files.accw"))
    assert expected.header.measures["loss"].tolist() == [step / 4 for step in range(7)]
    assert not any(np.isnan(p).all(axis=(1, 2)).any() for _, p in pictures_of(expected.store))


@pytest.mark.parametrize("budget", [20_000, 0])
def test_pictures_fit_their_budget(tmp_path: Path, budget: int) -> None:
    tracked(tmp_path / "a.accw", range(3), picture_budget_bytes=budget).close()

    bases = aw.open_analysis(tmp_path / "a.accw").header.picture_bases
    planned = [weights_at(step) for step in range(recording.PLANNED_STEPS)]
    files = aw.analyze(planned, tmp_path / "b.accw", picture_budget_bytes=budget)
    assert bases == files.header.picture_bases


def test_pictures_become_coarser_with_the_number_of_steps(tmp_path: Path) -> None:
    tracked(tmp_path / "a.accw", range(18), picture_budget_bytes=5_000_000).close()

    analysis = aw.open_analysis(tmp_path / "a.accw")
    files = aw.analyze(
        [weights_at(step) for step in range(18)],
        tmp_path / "b.accw",
        picture_budget_bytes=5_000_000 * 18 // 32,
    )
    assert max(analysis.header.picture_bases) == 2
    assert analysis.header.picture_bases == files.header.picture_bases
    for (name, ours), (_, theirs) in zip(
        pictures_of(analysis.store), pictures_of(files.store), strict=True
    ):
        assert ours[16:].tobytes() == theirs[16:].tobytes(), name
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)


# --- when the writer is slower than training


@pytest.mark.parametrize("catches_up", [False, True])
def test_a_writer_that_falls_behind_leaves_out_pictures_and_no_numbers(
    tmp_path: Path,
    expected: aw.Analysis,
    catches_up: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(writing, "WAITING_BYTES", 0)
    tracker = tracked(tmp_path / "a.accw", range(2))
    assert tracker._outlets.recorder is not None
    writer = tracker._outlets.recorder._writer
    released, write, join = Event(), writer._write, Thread.join

    def slow(step: Any) -> None:
        assert released.wait(60)
        write(step)

    monkeypatch.setattr(writer, "_write", slow)
    for step in range(2, 7):
        tracker.update(weights_at(step), step=step, loss=step / 4)
    if catches_up:
        released.set()
        tracker.flush()
    monkeypatch.setattr(Thread, "join", lambda thread: (released.set(), join(thread)))
    tracker.close()
    monkeypatch.undo()

    analysis = aw.open_analysis(tmp_path / "a.accw")
    assert analysis.store is not None
    assert analysis.store.holds_state
    assert analysis.values.tobytes() == expected.values.tobytes()
    for name, picture in pictures_of(analysis.store):
        missing = np.isnan(picture).all(axis=(1, 2)).tolist()
        assert missing == [False] * 4 + [True] * 2 + [False], name
    said = [[text.get_text() for text in analysis.plot.layers(at).texts] for at in (5, 6)]
    assert [layers.LEFT_OUT in texts for texts in said] == [True, False]
    (run,) = content_of([analysis], None, "")["runs"]
    assert [[image["step"] for image in one["images"]] for one in run["pictures"]] == [
        [2, 3, 6]
    ] * 3
    assert write_events(analysis, tmp_path / "events").pictures == 5 * 3
    (message,) = caplog.messages
    assert "writing is slower than training, so that the pictures of some steps are" in message


def test_small_steps_that_come_faster_than_they_are_written_keep_their_pictures(
    tmp_path: Path, expected: aw.Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracked(tmp_path / "a.accw", range(1))
    assert tracker._outlets.recorder is not None
    writer = tracker._outlets.recorder._writer
    released, write = Event(), writer._write
    monkeypatch.setattr(writer, "_write", lambda step: (released.wait(60), write(step)))

    for step in range(1, 7):
        tracker.update(weights_at(step), step=step, loss=step / 4)
    released.set()
    tracker.close()

    assert_same(aw.open_analysis(tmp_path / "a.accw"), expected)


# --- stopping and going on


@pytest.mark.parametrize("stopped", [1, 2, 5])
def test_a_store_is_continued_bit_for_bit(
    tmp_path: Path, expected: aw.Analysis, stopped: int
) -> None:
    tracked(tmp_path / "a.accw", range(stopped)).close()

    tracked(tmp_path / "a.accw", range(stopped, 7), resume=True).close()

    assert_same(aw.open_analysis(tmp_path / "a.accw"), expected)


def test_a_tracker_goes_on_after_it_was_closed(tmp_path: Path, expected: aw.Analysis) -> None:
    tracker = tracked(tmp_path / "a.accw", range(3))
    tracker.close()

    tracked_on(tracker, range(3, 7)).close()

    assert_same(aw.open_analysis(tmp_path / "a.accw"), expected)


def test_steps_that_the_store_has_are_skipped_when_training_is_repeated(
    tmp_path: Path, expected: aw.Analysis
) -> None:
    tracked(tmp_path / "a.accw", range(5)).close()

    tracked(tmp_path / "a.accw", range(3, 7), resume=True).close()

    assert_same(aw.open_analysis(tmp_path / "a.accw"), expected)


def behind(out: Path, monkeypatch: pytest.MonkeyPatch, states: int) -> None:
    """Leave a store of five steps whose last ones have no state, as of a writer that was killed."""
    tracker = tracked(out, range(states))
    tracker.flush()
    monkeypatch.setattr(recording.Recorder, "_carry", lambda recorder: None)
    tracked_on(tracker, range(states, 5)).close()
    monkeypatch.undo()


@pytest.mark.parametrize("states", [1, 3])
def test_steps_whose_state_was_left_out_are_measured_again_from_an_earlier_one(
    tmp_path: Path, expected: aw.Analysis, monkeypatch: pytest.MonkeyPatch, states: int
) -> None:
    behind(tmp_path / "a.accw", monkeypatch, states)

    tracked(tmp_path / "a.accw", range(states - 1, 7), resume=True).close()

    assert_same(aw.open_analysis(tmp_path / "a.accw"), expected)


def test_steps_whose_state_was_left_out_are_never_jumped_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind(tmp_path / "a.accw", monkeypatch, 3)

    tracker = aw.ChangeTracker(tmp_path / "a.accw", resume=True, errors="raise")
    tracker.update(weights_at(4), step=4)
    with pytest.raises(StoreError, match=r"up to 4, but the state .* is of an earlier one"):
        tracker.update(weights_at(5), step=5)
    tracker.close()

    assert aw.open_analysis(tmp_path / "a.accw").steps.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("saved_at", [3, 5])
def test_a_store_without_state_is_continued_from_that_of_the_tracker(
    tmp_path: Path, expected: aw.Analysis, saved_at: int
) -> None:
    first = tracked(tmp_path / "a.accw", range(saved_at), keep_state=False)
    state = first.state_dict()
    tracked_on(first, range(saved_at, 5)).close()

    later = aw.ChangeTracker(tmp_path / "a.accw", resume=True, errors="raise")
    with pytest.raises(StoreError, match=r"up to 4, but not the state .* load_state_dict"):
        later.update(weights_at(5), step=5)
    tracked_on(later.load_state_dict(state), range(saved_at, 7)).close()

    assert_same(aw.open_analysis(tmp_path / "a.accw"), expected)


def test_what_cannot_be_continued_is_refused_at_once(tmp_path: Path) -> None:
    tracked(tmp_path / "a.accw", range(2)).close()
    aw.analyze([weights_at(0), weights_at(1)], tmp_path / "b.accw", keep_state=True)

    (tmp_path / "model.pt").write_bytes(b"weights")

    for resume in (False, True):
        with pytest.raises(StoreError, match=r"model\.pt: is there already, and no analysis"):
            aw.ChangeTracker(tmp_path / "model.pt", resume=resume)
    with pytest.raises(StoreError, match="exists already; resume=True continues it"):
        aw.ChangeTracker(tmp_path / "a.accw")
    with pytest.raises(StoreError, match="holds an analysis of checkpoints"):
        aw.ChangeTracker(tmp_path / "b.accw", resume=True)
    other = aw.ChangeTracker(tmp_path / "a.accw", resume=True, errors="raise")
    with pytest.raises(StoreError, match="another accweight is writing"):
        aw.ChangeTracker(tmp_path / "a.accw", resume=True)
    with pytest.raises(MismatchError, match="cannot be reset"):
        other.reset()
    with pytest.raises(MismatchError, match="is missing at step 2"):
        other.update({"fc.weight": torch.zeros(2, 2)}, step=2)
    other.close()


def test_a_second_tracker_in_a_program_is_told_to_close_the_first(tmp_path: Path) -> None:
    first = tracked(tmp_path / "a.accw", range(2))

    with pytest.raises(StoreError, match=r"in this program: close\(\) the tracker that has it"):
        aw.ChangeTracker(tmp_path / "a.accw", resume=True)

    first.close()
    tracked(tmp_path / "a.accw", range(2, 4), resume=True).close()


def test_a_tracker_that_nobody_has_any_more_releases_its_store(tmp_path: Path) -> None:
    """As the one of a cell of a notebook whose name was given to something else."""
    tracker = tracked(tmp_path / "a.accw", range(2))
    tracker.update(weights_at(2), step=2)
    thread = tracker._outlets.recorder._writer._thread  # type: ignore[union-attr]

    del tracker
    gc.collect()

    assert thread is not None
    thread.join(60)
    tracked(tmp_path / "a.accw", range(3, 4), resume=True).close()
    assert aw.open_analysis(tmp_path / "a.accw").steps.tolist() == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_copy_of_the_tracker_in_a_forked_process_writes_nothing_and_waits_for_nothing(
    tmp_path: Path,
) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_tracker_store import *
tracker = tracked(Path({str(tmp_path / "a.accw")!r}), range(2))
if not os.fork():
    tracker.update(weights_at(2), step=2)
    tracker.flush()
    tracker.close()
    sys.exit()
os.wait()
tracked_on(tracker, range(2, 4)).close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )

    assert done.returncode == 0, done.stderr
    assert "was forked from the one that writes, and writes nothing" in done.stderr
    assert aw.open_analysis(tmp_path / "a.accw").steps.tolist() == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_that_outlive_a_trainer_do_not_hold_its_store(
    tmp_path: Path, expected: aw.Analysis
) -> None:
    code = f"""
import os, signal, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_tracker_store import *
tracker = tracked(Path({str(tmp_path / "a.accw")!r}), range(4))
worker = os.fork()
if not worker:
    os.close(1)
    time.sleep(600)
    os._exit(0)
print(worker, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=False, timeout=300
    )
    try:
        assert done.returncode == -signal.SIGKILL
        tracked(tmp_path / "a.accw", range(4, 7), resume=True).close()
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)

    assert_same(aw.open_analysis(tmp_path / "a.accw"), expected)


TRAINING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_tracker_store import tracked
tracker = tracked(Path(sys.argv[2]), range(4))
if sys.argv[3] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_a_trainer_that_ends_leaves_every_step_behind(
    tmp_path: Path, expected: aw.Analysis, end: str
) -> None:
    path = tmp_path / "a.accw"
    command = [sys.executable, "-c", TRAINING, str(Path(__file__).parent), str(path), end]

    code = subprocess.run(command, check=False).returncode

    assert code == (-signal.SIGKILL if end == "kill" else 0)
    assert aw.open_analysis(path).steps.tolist() == [0, 1, 2, 3]
    tracked(path, range(4, 7), resume=True).close()
    assert_same(aw.open_analysis(path), expected)


# --- disks


@pytest.mark.parametrize("size", ["64k", "3m"])
def test_a_disk_that_is_full_for_a_while_costs_pictures_at_most(
    small_disk: Path, expected: aw.Analysis, caplog: pytest.LogCaptureFixture, size: str
) -> None:
    resize(small_disk, size)
    path = small_disk / "a.accw"

    tracker = tracked_on(aw.ChangeTracker(path), range(5))
    assert tracker.analysis().values.tobytes() == expected.values[:5].tobytes()
    resize(small_disk, "64m")
    tracked_on(tracker, range(5, 7)).close()

    analysis = aw.open_analysis(path)
    assert analysis.values.tobytes() == expected.values.tobytes()
    assert not any(np.isnan(p[-1]).all() for _, p in pictures_of(analysis.store))
    assert len([m for m in caplog.messages if "No space left" in m]) == 1


def test_what_no_disk_takes_can_be_saved_elsewhere(
    small_disk: Path, tmp_path: Path, expected: aw.Analysis, caplog: pytest.LogCaptureFixture
) -> None:
    resize(small_disk, "64k")
    tracker = tracked_on(aw.ChangeTracker(small_disk / "a.accw"), range(7))

    tracker.close()

    assert "7 steps could not be written; mend that and call close() again" in caplog.messages[-1]
    saved = tracker.save(tmp_path / "b.accw")
    assert saved.values.tobytes() == expected.values.tobytes()


# --- where the state is kept


@pytest.mark.parametrize("state_in", ["auto", "memory", "files"])
def test_where_the_state_is_kept_changes_no_bit(
    tmp_path: Path, expected: aw.Analysis, monkeypatch: pytest.MonkeyPatch, state_in: Any
) -> None:
    monkeypatch.setattr(rooms, "MAPPED_BYTES", 0)
    folder = tmp_path / "new"

    tracked(folder / "a.accw", range(3), state_in=state_in).close()
    tracked(folder / "a.accw", range(3, 7), state_in=state_in, resume=True).close()

    assert_same(aw.open_analysis(folder / "a.accw"), expected)
    assert [path.name for path in folder.iterdir()] == ["a.accw"]


def test_a_disk_without_room_for_the_state_keeps_it_in_memory(
    small_disk: Path, expected: aw.Analysis
) -> None:
    tracker = aw.ChangeTracker(small_disk / "a.accw", state_in="files")  # of a megabyte
    resize(small_disk, "128k")

    for step in range(7):
        tracker.update(weights_at(step), step=step)

    assert tracker.analysis().values.tobytes() == expected.values.tobytes()
