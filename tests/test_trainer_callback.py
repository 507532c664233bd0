"""The callback of Hugging Face's Trainer, in real training, held against its checkpoints."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from framework_runs import check_same, measures_of, ran, slow_down

import accweight_core as aw
from accweight_core.store.analysis_store import Store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("accelerate")
    transformers = pytest.importorskip("transformers")
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

from accweight_adapters.callbacks.transformers import ChangeCallback

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's pinned memory, and the like

WORDS = 12
EPOCHS = {"eval_strategy": "epoch", "save_strategy": "epoch", "logging_strategy": "epoch"}


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Rows of words; the first one decides the label."""

    def __init__(self) -> None:
        self.words = torch.randint(0, WORDS, (32, 4), generator=torch.manual_seed(0))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.words)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one row, as the model takes it."""
        return {"input_ids": self.words[index], "labels": (self.words[index, 0] > 5).long()}


def network() -> Any:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=6,
        max_position_embeddings=4,
    )
    return BertForSequenceClassification(config)


def trainer_of(folder: Path, callback: Any, epochs: int = 3, **options: Any) -> Any:
    """Return a Trainer of epochs of four steps, whose first weights are in the folder."""
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=8,
        learning_rate=0.05,
        lr_scheduler_type="constant",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **{"save_strategy": "steps", "save_steps": 1, "logging_steps": 1, **options},
    )
    model = network()
    model.save_pretrained(folder / "checkpoint-0")
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=Rows(),
        eval_dataset=Rows(),
        callbacks=[callback],
    )


def files(folder: Path, *steps: int) -> list[Path]:
    return [folder / f"checkpoint-{step}" / "model.safetensors" for step in steps]


def logged(folder: Path, step: int) -> dict[str, float]:
    """Return the figures that the Trainer logged at a step."""
    state = json.loads((folder / "checkpoint-12" / "trainer_state.json").read_text())
    entries = [entry for entry in state["log_history"] if entry["step"] == step]
    return {name: value for entry in entries for name, value in entry.items()}


def test_the_page_of_the_docs_tracks_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    ran("transformers", model=network(), dataset=Rows())

    analysis = aw.open_analysis("run.accw")
    assert analysis.steps.tolist() == [0, 4, 8, 12]
    assert np.isfinite(measures_of(analysis, "loss")).tolist() == [False, True, True, True]


@pytest.mark.parametrize("is_best_loaded", [False, True])
def test_epochs_are_tracked_as_checkpoints_of_the_trainer_have_them(
    tmp_path: Path, is_best_loaded: bool
) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", errors="raise")
    best = {"metric_for_best_model": "loss", "greater_is_better": True}  # the first is the best
    options = {**EPOCHS, "load_best_model_at_end": True, **best} if is_best_loaded else EPOCHS

    trainer_of(tmp_path / "run", callback, **options).train()

    analysis = aw.open_analysis(tmp_path / "run.accw")
    check_same(analysis, files(tmp_path / "run", 0, 4, 8, 12), 0, 4, 8, 12)
    for name in ("loss", "learning_rate", "eval_loss", "epoch"):
        found = measures_of(analysis, name)[1:]
        assert found == [logged(tmp_path / "run", step)[name] for step in (4, 8, 12)]


class Watches(TrainerCallback):  # type: ignore[misc]
    """Notes the last step on disk whenever a checkpoint was saved."""

    def __init__(self, store: Path) -> None:
        self.store, self.found = store, list[tuple[int, int]]()

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Look at the store as it would be if the process were killed now."""
        self.found.append((state.global_step, int(Store.open(self.store).header.steps[-1])))


def test_the_store_has_all_steps_before_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch)
    watches = Watches(tmp_path / "run.accw")
    callback = ChangeCallback(tmp_path / "run.accw", every=1, errors="raise")

    trainer = trainer_of(tmp_path / "run", callback, epochs=1)
    trainer.add_callback(watches)
    trainer.train()

    assert watches.found == [(step, step - 1) for step in range(1, 5)]


def test_steps_are_taken_by_number_and_the_last_one_always(tmp_path: Path) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", every=5, errors="raise")

    trainer_of(tmp_path / "run", callback).train()

    analysis = aw.open_analysis(tmp_path / "run.accw")
    check_same(analysis, files(tmp_path / "run", 0, 5, 10, 12), 0, 5, 10, 12)
    expected = [logged(tmp_path / "run", step)["loss"] for step in (5, 10, 12)]
    assert measures_of(analysis, "loss")[1:] == expected
    assert "train_runtime" not in analysis.header.measures


def test_steps_before_the_best_model_is_loaded_have_their_own_weights(tmp_path: Path) -> None:
    callback = ChangeCallback(tmp_path / "run.accw", every=100, errors="raise")
    options = {"eval_strategy": "steps", "eval_steps": 5, "save_steps": 5}
    best = {"load_best_model_at_end": True, "greater_is_better": True}
    trainer = trainer_of(
        tmp_path / "run", callback, metric_for_best_model="loss", **options, **best
    )

    trainer.train()

    assert aw.open_analysis(tmp_path / "run.accw").steps.tolist() == [0, 12]


def test_training_that_is_resumed_is_tracked_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = ChangeCallback(errors="raise")
    trainer_of(tmp_path / "whole", whole, **EPOCHS).train()
    assert whole.tracker is not None

    run, store = tmp_path / "run", tmp_path / "run.accw"
    trainer_of(run, ChangeCallback(store, errors="raise"), 2, **EPOCHS).train()
    resumed = trainer_of(run, ChangeCallback(store, errors="raise"), **EPOCHS)
    resumed.train(resume_from_checkpoint=str(run / "checkpoint-8"))

    analysis, expected = aw.open_analysis(store), whole.tracker.analysis()
    assert analysis.steps.tolist() == [0, 4, 8, 12]
    assert analysis.values.tobytes() == expected.values.tobytes()
