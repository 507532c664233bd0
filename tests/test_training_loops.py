"""Loops of PyTorch and of JAX as the docs have them, held against checkpoints of the same steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from framework_runs import check_same, measures_of, ran
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import accweight_core as aw
from accweight_core.errors import StepOrderError


class Saving(aw.ChangeTracker):
    """Saves a checkpoint of every step that it takes."""

    def __init__(self, *given: Any, save: Any, **options: Any) -> None:
        super().__init__(*given, errors="raise", **options)
        self._save = save

    def update(self, model: Any, /, step: Any = None, *given: Any, **options: Any) -> Any:
        """Save the weights, and take them."""
        if self.is_due(step, force=bool(options.get("force"))):
            self._save(model, step)
        return super().update(model, step, *given, **options)


def test_a_loop_of_pytorch_is_tracked_as_its_checkpoints_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    inputs = torch.randn(840, 4)
    rows = TensorDataset(inputs, (inputs.sum(1) > 0).long())

    def save(model: nn.Module, step: int) -> None:
        torch.save(model.state_dict(), tmp_path / f"step_{step}.pt")

    def tracker(*given: Any, **options: Any) -> Saving:
        return Saving(*given, save=save, **options)

    monkeypatch.setattr(aw, "ChangeTracker", tracker)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    ran("pytorch", model=model, epochs=2, loader=DataLoader(rows, 8))

    analysis = aw.open_analysis("run.accw")
    files = [tmp_path / f"step_{step}.pt" for step in (0, 100, 200, 210)]
    check_same(analysis, files, 0, 100, 200, 210)
    assert np.isfinite(measures_of(analysis, "loss")).tolist() == [False, True, True, True]


@pytest.mark.filterwarnings("ignore")  # of JAX
def test_a_loop_of_jax_is_tracked_as_its_checkpoints_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serialization = pytest.importorskip("flax.serialization")
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).random((16, 4), np.float32)

    def save(variables: Any, step: int) -> None:
        (tmp_path / f"step_{step}.msgpack").write_bytes(serialization.to_bytes(variables))

    def tracker(*given: Any, **options: Any) -> Saving:
        return Saving(*given, save=save, **options)

    monkeypatch.setattr(aw, "ChangeTracker", tracker)
    ran("jax", x=x, y=x.sum(1, keepdims=True))

    analysis = aw.open_analysis("run.accw")
    check_same(analysis, sorted(tmp_path.glob("step_*.msgpack")), 0, 10, 20, 30)
    assert np.isfinite(measures_of(analysis, "loss")).tolist() == [False, True, True, True]


# --- whether a step is due


def state(step: int) -> dict[str, np.ndarray]:
    return {"fc.weight": np.full((2, 2), step / 4, np.float32)}


def test_a_step_is_due_if_the_update_would_take_it() -> None:
    tracker, due = aw.ChangeTracker(every=4, errors="raise"), []
    for step in range(2, 15):
        if tracker.is_due(step, force=step == 14):
            due.append(step)
            tracker.update(state(step), step, force=True)

    assert due == [2, 4, 8, 12, 14]
    assert tracker.analysis().steps.tolist() == due
    assert not tracker.is_due(14, force=True)


def test_a_schedule_that_fails_is_reported_and_nothing_is_due(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def every(step: int) -> bool:
        raise StepOrderError("as a function may")

    tracker = aw.ChangeTracker(every=every).update(state(0), 0)

    assert not tracker.is_due(1)
    assert "as a function may; this update is left out" in caplog.text
