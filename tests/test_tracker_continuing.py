"""Training that goes on with a store that is not its own, and what else a tracker has to notice."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
import torch

import accweight_core as aw
from accweight_core.errors import MismatchError, StoreError

Weights = dict[str, torch.Tensor]


def trained(seed: int, step: int) -> Weights:
    """Return the weights of a training from some seed, which moves a little at each step."""
    start = torch.Generator().manual_seed(seed)
    moves = torch.Generator().manual_seed(1000 + step)
    shapes = {"a.weight": (40, 30), "b.weight": (5, 40), "b.bias": (5,)}
    return {
        name: torch.randn(shape, generator=start)
        + step * 0.01 * torch.randn(shape, generator=moves)
        for name, shape in shapes.items()
    }


def stored(path: Path, seed: int = 0, steps: int = 4) -> Path:
    with aw.ChangeTracker(path, errors="raise") as tracker:
        for step in range(steps):
            tracker.update(trained(seed, step), step=step)
            tracker.flush()
    return path


def gone_on(path: Path, seed: int, steps: range) -> aw.Analysis:
    with aw.ChangeTracker(path, resume=True) as tracker:
        for step in steps:
            tracker.update(trained(seed, step), step=step)
    return aw.open_analysis(path)


# --- other trainings


@pytest.mark.parametrize("begin", [0, 3])
def test_another_training_in_a_store_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, begin: int
) -> None:
    """At a step of which the store has the weights, these are compared."""
    path = stored(tmp_path / "a.accw")

    found = gone_on(path, 7, range(begin, 7))

    assert found.steps.tolist() == list(range(7))
    [message] = caplog.messages
    assert f"the weights at step {begin} are not those in the store (3 of 3 parameters" in message
    assert "if this is another training, give it another store" in message


def test_another_training_at_a_later_step_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = stored(tmp_path / "a.accw")

    gone_on(path, 7, range(4, 7))

    [message] = caplog.messages
    assert "step 4 does not look like a continuation of step 3" in message
    assert "if this is another training, give it another store" in message


@pytest.mark.parametrize("begin", [0, 2, 3, 4])
def test_the_same_training_goes_on_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, begin: int
) -> None:
    path = stored(tmp_path / "a.accw")

    found = gone_on(path, 0, range(begin, 7))

    expected = aw.open_analysis(stored(tmp_path / "b.accw", steps=7))
    assert found.values.tobytes() == expected.values.tobytes()
    assert not caplog.messages


def test_weights_that_were_rounded_since_are_not_another_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = stored(tmp_path / "a.accw")

    with aw.ChangeTracker(path, resume=True) as tracker:
        tracker.update({n: w.half() for n, w in trained(0, 3).items()}, step=3)

    assert not caplog.messages


def test_a_step_that_is_compared_is_asked_for_once(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.accw")

    with aw.ChangeTracker(path, resume=True) as tracker:
        assert [tracker.is_due(step) for step in range(5)] == [True, False, False, True, True]
        tracker.update(trained(0, 3), step=3)
        assert [tracker.is_due(step) for step in (3, 4)] == [False, True]
        tracker.update(trained(0, 4), step=4)
        assert not tracker.is_due(0)


def test_other_parameters_are_said_at_the_first_update(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.accw")

    tracker = aw.ChangeTracker(path, resume=True, errors="raise")
    with tracker, pytest.raises(MismatchError, match=r"'a\.weight' is missing at step 0"):
        tracker.update({"c.weight": torch.ones(2, 2)}, step=0)


# --- element types


def test_a_change_of_the_element_type_is_noted_as_in_checkpoints(tmp_path: Path) -> None:
    types = [torch.float32, torch.float32, torch.float16, torch.float16, torch.bfloat16]
    steps = [{n: w.to(t) for n, w in trained(0, s).items()} for s, t in enumerate(types)]
    expected = aw.analyze(steps, tmp_path / "files.accw").header.type_changes

    tracker = aw.ChangeTracker(tmp_path / "live.accw", errors="raise")
    for step in (0, 1, 2):
        tracker.update(steps[step], step=step)
    tracker.flush()
    saved = tracker.state_dict()
    tracker.close()
    with aw.ChangeTracker(tmp_path / "live.accw", resume=True, errors="raise") as tracker:
        for step in (3, 4):
            tracker.update(steps[step], step=step)
    in_memory = aw.ChangeTracker(errors="raise").load_state_dict(saved)
    for step in (3, 4):
        in_memory.update(steps[step], step=step)

    assert [change.step for change in expected] == [2, 4]
    assert aw.open_analysis(tmp_path / "live.accw").header.type_changes == expected
    assert in_memory.analysis().header.type_changes == expected
    assert in_memory.save(tmp_path / "saved.accw").header.type_changes == expected


# --- several threads


def test_threads_may_update_one_tracker(tmp_path: Path) -> None:
    tracker = aw.ChangeTracker(tmp_path / "a.accw", errors="raise", picture_budget_bytes=0)

    def update() -> None:
        for _ in range(25):
            tracker.update(trained(0, 0))

    threads = [Thread(target=update) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracker.close()

    assert aw.open_analysis(tmp_path / "a.accw").steps.tolist() == list(range(100))


# --- folders that cannot be written


def test_a_store_that_cannot_be_written_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StoreError, match=r"run\.accw: cannot be written"):
        aw.ChangeTracker(tmp_path / "file" / "run.accw")

    tracker = aw.ChangeTracker(tmp_path / "later" / "run.accw")
    assert not any((tmp_path / "later").iterdir())
    tracker.update(trained(0, 0), step=0).close()
    assert aw.open_analysis(tmp_path / "later" / "run.accw").steps.tolist() == [0]
