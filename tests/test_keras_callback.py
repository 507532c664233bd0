"""The callback of Keras, in real training, held against files that Keras saves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_models  # before Keras: it chooses the backend
import numpy as np
import pytest
from framework_runs import check_same, measures_of, ran, slow_down

import accweight_core as aw
from accweight_core.store.analysis_store import Store

with keras_models.quiet():
    keras = pytest.importorskip("keras")

from accweight_adapters.callbacks.keras import ChangeCallback

pytestmark = pytest.mark.filterwarnings("ignore")  # of what Keras does itself

X = np.random.default_rng(0).random((32, 4), np.float32)
Y = X.sum(1, keepdims=True)


class Saves(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
    """Saves the model before training and after every batch."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        folder.mkdir()

    def on_train_begin(self, logs: Any = None) -> None:
        """Save the reference."""
        self.model.save(self.folder / "net_0.keras")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save a step."""
        self.model.save(self.folder / f"net_{int(self.model.optimizer.iterations)}.keras")


def network() -> Any:
    """Return a model that is not built yet."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    layers = keras.layers.Dense(6, "relu"), keras.layers.BatchNormalization(), keras.layers.Dense(1)
    model = keras.Sequential(layers)
    model.compile("adam", "mse", metrics=["mae"])
    return model


def fitted(model: Any, *callbacks: Any, epochs: int = 3) -> Any:
    """Train epochs of four batches; return the history."""
    options = {"batch_size": 8, "verbose": 0, "shuffle": False}
    return model.fit(
        X, Y, epochs=epochs, validation_data=(X, Y), callbacks=list(callbacks), **options
    )


def files(folder: Path, *steps: int) -> list[Path]:
    return [folder / f"net_{step}.keras" for step in steps]


def test_the_page_of_the_docs_tracks_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    ran("keras", x=X, y=Y)

    analysis = aw.open_analysis("run.accw")
    assert analysis.steps.tolist() == [0, 4, 8, 12]
    assert np.isfinite(measures_of(analysis, "mae")).tolist() == [False, True, True, True]


def test_epochs_are_tracked_as_files_of_keras_have_them(tmp_path: Path) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", errors="raise")

    history = fitted(network(), callback, Saves(tmp_path / "files")).history

    analysis = aw.open_analysis(tmp_path / "run.accw")
    check_same(analysis, files(tmp_path / "files", 0, 4, 8, 12), 0, 4, 8, 12)
    for name in ("loss", "mae", "val_loss"):
        assert measures_of(analysis, name)[1:] == history[name]


def test_steps_are_taken_by_number_and_the_last_one_always(tmp_path: Path) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", every=5, errors="raise")

    fitted(network(), callback, Saves(tmp_path / "files"))

    analysis = aw.open_analysis(tmp_path / "run.accw")
    check_same(analysis, files(tmp_path / "files", 0, 5, 10, 12), 0, 5, 10, 12)
    assert np.isfinite(measures_of(analysis, "loss")[1:]).all()


class Watches(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
    """Notes the last step on disk after every epoch."""

    def __init__(self, store: Path) -> None:
        super().__init__()
        self.store, self.found = store, list[int]()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the store as it would be if the process were killed now."""
        self.found.append(int(Store.open(self.store).header.steps[-1]))


def test_the_store_is_at_most_the_epoch_behind_that_a_loaded_model_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch)
    watches = Watches(tmp_path / "run.accw")

    fitted(network(), ChangeCallback(tmp_path / "run.accw", errors="raise"), watches)

    assert all(step >= 4 * epoch for epoch, step in enumerate(watches.found))


def test_a_loaded_model_goes_on_as_if_training_had_never_stopped(tmp_path: Path) -> None:
    whole = ChangeCallback(errors="raise")
    fitted(network(), whole)
    assert whole.tracker is not None

    model = network()
    fitted(model, ChangeCallback(tmp_path / "run.accw", errors="raise"), epochs=2)
    model.save(tmp_path / "last.keras")
    loaded = keras.saving.load_model(tmp_path / "last.keras")
    fitted(loaded, ChangeCallback(tmp_path / "run.accw", errors="raise"), epochs=1)

    analysis, expected = aw.open_analysis(tmp_path / "run.accw"), whole.tracker.analysis()
    assert analysis.steps.tolist() == [0, 4, 8, 12]
    assert analysis.values.tobytes() == expected.values.tobytes()


def test_a_second_fit_goes_on_with_the_same_callback(tmp_path: Path) -> None:
    callback, model = ChangeCallback(tmp_path / "run.accw", errors="raise"), network()

    fitted(model, callback, epochs=2)
    fitted(model, callback, epochs=1)

    assert aw.open_analysis(tmp_path / "run.accw").steps.tolist() == [0, 4, 8, 12]


class Interrupts(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
    """Ends training like Ctrl-C, of which Keras tells callbacks nothing."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Interrupt the second batch of each epoch."""
        if batch == 1:
            raise KeyboardInterrupt


def test_a_fit_that_was_interrupted_does_not_hold_its_store(tmp_path: Path) -> None:
    """As in a notebook, which keeps the callback for its traceback."""
    interrupted = ChangeCallback(tmp_path / "run.accw", every=1, errors="raise")
    with pytest.raises(KeyboardInterrupt):
        fitted(network(), interrupted, Interrupts())

    fitted(network(), ChangeCallback(tmp_path / "run.accw", resume=True, errors="raise"))

    assert interrupted.tracker is not None
    assert aw.open_analysis(tmp_path / "run.accw").steps.tolist() == [0, 1, 2, 4, 8, 12]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(gradient_accumulation_steps=3),
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()),
    ],
    ids=["accumulated", "scaled"],
)
def test_a_step_is_a_batch_whatever_the_optimizer_counts(optimizer: Callable[[], Any]) -> None:
    callback, model = ChangeCallback(errors="raise"), network()
    model.compile(optimizer(), "mse")

    fitted(model, callback, epochs=1)
    fitted(model, callback, epochs=1)

    assert callback.tracker is not None
    assert callback.tracker.analysis().steps.tolist() == [0, 4, 8]


def test_the_best_weights_restored_at_the_end_are_no_step(tmp_path: Path) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", every=100, errors="raise")
    best = keras.callbacks.EarlyStopping("mae", mode="max", restore_best_weights=True, patience=9)

    fitted(network(), best, callback, Saves(tmp_path / "files"))

    analysis = aw.open_analysis(tmp_path / "run.accw")
    check_same(analysis, files(tmp_path / "files", 0, 12), 0, 12)
