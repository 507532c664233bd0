"""The callback of Lightning, in real training, held against Lightning's own checkpoints."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from framework_runs import check_same, measures_of, ran, slow_down
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import accweight_core as aw
from accweight_core.errors import ArgumentValueError, StoreError
from accweight_core.store.analysis_store import Store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pl = pytest.importorskip("pytorch_lightning")

from accweight_adapters.callbacks.lightning import ChangeCallback

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning advises on workers and devices


class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
    """A network under `model` that logs the losses of training and validation."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
        self.fails_at = fails_at

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Return the loss of a batch."""
        if self.global_step == self.fails_at:
            raise RuntimeError("as a batch may")
        loss = nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        self.log("loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        """Log the loss of a batch."""
        self.log("val_loss", nn.functional.cross_entropy(self.model(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.05)


class Saves(pl.Callback):  # type: ignore[misc, name-defined]
    """Saves a checkpoint before training and after the steps of the batches given."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Save the reference."""
        trainer.save_checkpoint(self.folder / "step_0.ckpt")

    def on_train_batch_end(self, trainer: Any, *_rest: Any) -> None:
        """Save a step."""
        if trainer.global_step % self.every == 0:
            trainer.save_checkpoint(self.folder / f"step_{trainer.global_step}.ckpt")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def loader() -> DataLoader[Any]:
    inputs = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs, (inputs.sum(1) > 0).long()), 8)


def fitted(
    callbacks: list[Any], epochs: int = 3, module: Any = None, resume: Path | None = None
) -> Any:
    """Train epochs of four steps; return the trainer."""
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(Module() if module is None else module, loader(), loader(), ckpt_path=resume)
    return trainer


def test_the_page_of_the_docs_tracks_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    ran("lightning", loader=loader())

    analysis = aw.open_analysis("run.accw")
    assert analysis.steps.tolist() == [0, 4, 8, 12]
    assert [layer.name for layer in analysis.layers] == ["0", "2"]
    assert np.isfinite(measures_of(analysis, "loss")).tolist() == [False, True, True, True]


def test_epochs_are_tracked_as_checkpoints_of_lightning_have_them(tmp_path: Path) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", errors="raise")

    trainer = fitted([callback, Saves(tmp_path / "ckpt", 4)])

    analysis = aw.open_analysis(tmp_path / "run.accw")
    check_same(analysis, tmp_path / "ckpt", 0, 4, 8, 12)
    for name in ("loss", "val_loss"):
        values = measures_of(analysis, name)
        assert np.isfinite(values[1:]).all()
        assert len(set(values[1:])) == 3
        assert values[-1] == float(trainer.callback_metrics[name])


def test_steps_are_taken_by_number_and_the_last_one_always(tmp_path: Path) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", every=5, errors="raise")

    fitted([callback, Saves(tmp_path / "ckpt", 1)])

    analysis = aw.open_analysis(tmp_path / "run.accw")
    files = [tmp_path / "ckpt" / f"step_{step}.ckpt" for step in (0, 5, 10, 12)]
    check_same(analysis, files, 0, 5, 10, 12)
    assert np.isfinite(measures_of(analysis, "loss")[1:]).all()


def test_training_that_begins_again_goes_on_with_its_store_if_asked_to(tmp_path: Path) -> None:
    fitted([ChangeCallback(tmp_path / "run.accw", errors="raise")], epochs=1)

    again = ChangeCallback(tmp_path / "run.accw", resume=True, errors="raise")
    fitted([again, Saves(tmp_path / "ckpt", 4)])

    check_same(aw.open_analysis(tmp_path / "run.accw"), tmp_path / "ckpt", 0, 4, 8, 12)


class Watches(pl.Callback):  # type: ignore[misc, name-defined]
    """Notes the last step on disk whenever something has been saved."""

    def __init__(self, store: Path) -> None:
        self.store, self.found = store, list[tuple[int, int]]()

    def on_train_batch_end(self, trainer: Any, *_rest: Any) -> None:
        """Save, and look at the store as it would be if the process were killed now."""
        trainer.save_checkpoint(self.store.parent / "last.ckpt")
        self.found.append((trainer.global_step, int(Store.open(self.store).header.steps[-1])))


def test_the_store_is_never_behind_a_checkpoint_that_training_may_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch)
    watches = Watches(tmp_path / "run.accw")

    fitted([ChangeCallback(tmp_path / "run.accw", every=2, errors="raise"), watches], epochs=2)

    assert watches.found == [(step, step - step % 2) for step in range(1, 9)]


@pytest.mark.parametrize("is_stored", [True, False])
def test_training_that_is_resumed_is_tracked_as_if_it_had_never_stopped(
    tmp_path: Path, is_stored: bool
) -> None:
    whole = ChangeCallback(errors="raise")
    fitted([whole])
    assert whole.tracker is not None

    store = tmp_path / "run.accw" if is_stored else None
    fitted([ChangeCallback(store, errors="raise")], 2).save_checkpoint(tmp_path / "last.ckpt")
    resumed = ChangeCallback(store, errors="raise")
    fitted([resumed], 3, resume=tmp_path / "last.ckpt")

    assert resumed.tracker is not None
    analysis, expected = resumed.tracker.analysis(), whole.tracker.analysis()
    assert analysis.steps.tolist() == [0, 4, 8, 12]
    assert analysis.values.tobytes() == expected.values.tobytes()


def test_from_within_an_epoch_lightning_begins_the_data_anew(tmp_path: Path) -> None:
    """It is what the page says of it: if Lightning keeps its place one day, the page is wrong."""

    class Batches(pl.Callback):  # type: ignore[misc, name-defined]
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, _index: int) -> None:
            seen.append((trainer.global_step, float(batch[0][0, 0])))

    seen: list[tuple[int, float]] = []
    fitted([Saves(tmp_path, 2), Batches()], epochs=1)
    whole = dict(seen)
    seen.clear()

    fitted([Batches()], epochs=1, resume=tmp_path / "step_2.ckpt")

    assert seen == [(2, whole[0]), (3, whole[1])]
    assert whole[2] != whole[0]


def test_an_exception_leaves_the_steps_before_it_and_a_store_that_can_go_on(
    tmp_path: Path,
) -> None:
    with pytest.raises(RuntimeError, match="as a batch may"):
        fitted([ChangeCallback(tmp_path / "run.accw")], module=Module(fails_at=6))

    assert aw.open_analysis(tmp_path / "run.accw").steps.tolist() == [0, 4]
    aw.ChangeTracker(tmp_path / "run.accw", resume=True).close()


def test_what_goes_wrong_in_the_tracker_does_not_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_given: object) -> None:
        raise MemoryError

    monkeypatch.setattr("accweight_core.live.batches.measure_step", broken)
    trainer = fitted([ChangeCallback()])

    assert trainer.global_step == 12
    assert any("tracking has stopped" in message for message in caplog.messages)


def test_a_mistake_is_told_before_training(tmp_path: Path) -> None:
    with pytest.raises(ArgumentValueError, match="every must be"):
        ChangeCallback(every="batch")
    fitted([ChangeCallback(tmp_path / "run.accw")], 1)
    module = Module()
    with pytest.raises(StoreError, match="exists already"):
        fitted([ChangeCallback(tmp_path / "run.accw")], 1, module)
    assert module.global_step == 0


def test_a_callback_without_a_store_tracks_a_second_training_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback, module = ChangeCallback(errors="raise"), Module()
    fitted([callback], 3, module)
    first = callback.tracker

    fitted([callback, Saves(tmp_path, 4)], 2, module)

    assert first is not None
    assert callback.tracker is not first
    assert first.analysis().steps.tolist() == [0, 4, 8, 12]
    assert callback.tracker is not None
    check_same(callback.tracker.analysis(), tmp_path, 0, 4, 8)
    assert [m for m in caplog.messages if "training begins again at step 0" in m]


def test_a_trainer_may_have_several(tmp_path: Path) -> None:
    stores = [tmp_path / "epochs.accw", tmp_path / "steps.accw"]

    fitted([ChangeCallback(stores[0]), ChangeCallback(stores[1], every=6)], 3)

    steps = [aw.open_analysis(store).steps.tolist() for store in stores]
    assert steps == [[0, 4, 8, 12], [0, 6, 12]]
