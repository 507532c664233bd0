"""Loss, accuracy and the like beside the weights: which numbers count, and where they go."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import small
from hypothesis import given
from hypothesis import strategies as st
from onnx import load, save
from onnx_models import floats, node
from onnx_models import saved as saved_onnx
from safetensors.torch import save_file
from test_torch_reader import rezipped

from accweight_adapters.measures import MAX_MEASURES, RECENT, measures_in, number_or_text
from accweight_adapters.onnx.reader import OnnxReader
from accweight_adapters.safetensors_reader import SafetensorsReader
from accweight_adapters.torch.reader import TorchReader

FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


def measures_of(path: Path, content: object, *, is_zip: bool = True) -> dict[str, float]:
    """Write what a training script saves, and return the measures found in it."""
    torch.save(content, path / "a.pt", _use_new_zipfile_serialization=is_zip)
    return dict(TorchReader().describe(path / "a.pt").measures)


# Which keys count


@pytest.mark.parametrize(
    "key",
    ["loss", "val_loss", "valLoss", "train-loss", "train/loss", "test.acc", "acc1", "best_acc",
     "best_top1", "Accuracy", "accuracies", "train_losses", "error_rate", "F1", "f1_score",
     "F1Score", "macro F1", "roc_auc", "mAP", "mAP50", "mAP50-95", "metrics/mAP50(B)", "mIoU",
     "IoU", "PSNR", "ppl", "perplexity", "BLEU-4", "rougeL", "rmse", "MSELoss", "r2",
     "mean_reward", "episode_rewards", "best_metric", "kl_loss", "alpha_loss", "depth_error",
     "loss_box", "train_loss_epoch", "lr", "current_lr", "learning_rate", "learningRate",
     "learning_rates", "grad_norm", "gradient_norm", "best_loss_so_far"],
)  # fmt: skip
def test_keys_that_name_a_quality_of_the_training_count(key: str) -> None:
    assert measures_in({key: 0.25}) == {key: 0.25}


@pytest.mark.parametrize(
    "key",
    ["epoch", "global_step", "seed", "batch_size", "weight_decay", "dropout", "momentum", "eps",
     "betas", "loss_weight", "loss_scale", "kl_coef", "loss_alpha", "score_threshold", "map_size",
     "num_errors", "n_errors", "target_score", "acc_time", "loss_fn_margin", "base_lr", "min_lr",
     "lr_decay", "lr_milestones", "warmup_lr", "max_grad_norm", "clip_grad_norm", "final_lr",
     "glossary", "access", "blossom", "mapping", "weights", "wall_time", "", "_", "...", "損失"],
)  # fmt: skip
def test_counters_and_settings_do_not_count(key: str) -> None:
    assert measures_in({key: 0.25}) == {}


@pytest.mark.parametrize(
    "key", ["best_acc_epoch", "acc_steps", "best_loss_iter", "precision", "best_score_idx"]
)
def test_whole_numbers_under_keys_that_end_in_a_counter_do_not_count(key: str) -> None:
    assert measures_in({key: 16}) == {}
    assert measures_in({key: 0.5}) == {key: 0.5}


@pytest.mark.parametrize(
    "value",
    [True, None, "0.5", "cross_entropy", b"\1", 10**400, 1j, [],
     ["returns", "log_returns"], [[0.5]], [True, False], {0.5}],
    ids=repr,
)  # fmt: skip
def test_values_that_are_no_numbers_do_not_count(value: object) -> None:
    assert measures_in({"loss": value}) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_a_measure(value: float) -> None:
    for content in ({"loss": value}, {"loss": [value] * 3}):
        (found,) = measures_in(content).values()

        assert str(found) == str(value)


def test_whole_numbers_are_measures_too() -> None:
    measures = measures_in({"best_acc": 0, "episode_reward": 200, "score": -3})

    assert measures == {"best_acc": 0.0, "episode_reward": 200.0, "score": -3.0}
    assert all(type(value) is float for value in measures.values())


def test_of_a_history_the_last_finite_value_counts() -> None:
    content = {
        "losses": [0.9, 0.5, 0.25],
        "val_losses": (0.9, 0.5, math.nan),
        "test_acc": [0.9, None, None],  # not evaluated every epoch
        "nan_loss": [1.0, *[math.nan] * RECENT],
        "class_acc": [0.9, 0.8, 0.7],
        "lr_steps": [30, 60],
    }

    measures = measures_in(content)

    assert math.isnan(measures.pop("nan_loss"))
    assert measures == {"losses": 0.25, "val_losses": 0.5, "test_acc": 0.9}


def test_mappings_are_searched_one_level_deep_and_no_deeper() -> None:
    content = {
        "metrics": {"val_acc": 0.9, "epoch": 3, "deeper": {"loss": 1.0}},
        "loss": {"train": 0.3, "val": 0.4, "alpha": 2.0, "gamma": 1.0},
        "history": {"loss": [3.0, 2.0]},
        "info": {"train": 0.5, 3: 0.5},
    }

    assert measures_in(content) == {
        "metrics.val_acc": 0.9,
        "loss.train": 0.3,
        "loss.val": 0.4,
        "history.loss": 2.0,
    }


@pytest.mark.parametrize(
    "content",
    [
        {"config": {"learning_rate": 0.1}},
        {"args": {"lr": 0.1}},
        {"hyper_parameters": {"lr": 0.1}},
        {"train_cfg": {"loss": 0.1}},
        {"loss_weights": {"mse_loss": 0.1}},
        {"optimizer_state_dict": {"lr": 0.1}},
        {"optG": {"lr": 0.1}},
        {"lr_schedulers": {"lr": 0.1}},
        {"lrs": {"_last_lr": [0.1], "base_lrs": [0.1]}},
        {"sgd": {"param_groups": [{"weight_decay": 0.1}], "lr": 0.1}},
        {"sgd": {"param_groups": [{"lr": 0.1}, {"lr": 0.2}]}},
        {"sgd": {"param_groups": 3}},
        {"scaler": {"loss": 0.1}},
    ],
    ids=str,
)
def test_settings_and_the_state_of_optimizers_are_not_searched(content: dict[str, Any]) -> None:
    assert measures_in(content) == {}


def test_the_rate_that_all_groups_of_an_optimizer_have_is_the_learning_rate(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW([{"params": [p]} for p in model.parameters()], 0.02)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}

    assert measures_of(tmp_path, state) == {"learning_rate": 0.02}
    assert measures_of(tmp_path, {**state, "lr": 0.5}) == {"lr": 0.5}


def test_there_is_a_limit() -> None:
    measures = measures_in({f"loss_{number}": 0.5 for number in range(1000)})

    assert list(measures) == [f"loss_{number}" for number in range(MAX_MEASURES)]


def test_one_mapping_named_many_times_is_searched_once() -> None:
    shared = {"loss": 0.5}

    assert measures_in({"a": shared, "b": shared}) == {"a.loss": 0.5}


@pytest.mark.parametrize("key", ["loss\n", "loss\x1b[2J", "loss " + "x" * 2000])
def test_names_that_cannot_be_shown_do_not_count(key: str) -> None:
    assert measures_in({key: 0.5}) == {}


KEYS = st.sampled_from(["loss", "val_acc", "metrics", "lr", "epoch"]) | st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, JSON))
def test_anything_gives_numbers_by_name(content: Mapping[str, Any]) -> None:
    measures = measures_in(content, number_or_text)

    assert all(type(value) is float for value in measures.values())
    assert all(name.isprintable() for name in measures)


# Files


@FORMATS
def test_torch_files_say_how_the_training_went(tmp_path: Path, is_zip: bool) -> None:
    content = {
        "epoch": 3,
        "loss": 0.125,
        "best_acc": torch.tensor(0.75),
        "val_loss": np.float64(0.5),
        "bleu": np.float32(0.25),
        "metrics": {"val_acc": 0.9, "train_losses": [torch.tensor(2.0), torch.tensor(1.0)]},
        "model_state_dict": small(1),
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
    }

    measures = measures_of(tmp_path, content, is_zip=is_zip)

    assert measures == {
        "loss": 0.125,
        "best_acc": 0.75,
        "val_loss": 0.5,
        "bleu": 0.25,
        "metrics.val_acc": 0.9,
        "metrics.train_losses": 1.0,
        "learning_rate": 0.1,
    }


@FORMATS
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8"])
def test_a_loss_saved_as_a_tensor_is_read(tmp_path: Path, dtype: str, is_zip: bool) -> None:
    values = torch.tensor([1, 3, 200], dtype=getattr(torch, dtype))
    content = {"loss": values[1], "top_score": values[2].clone(), "model": small()}

    measures = measures_of(tmp_path, content, is_zip=is_zip)

    assert measures == {"loss": 3.0, "top_score": 200.0}


@pytest.mark.parametrize(
    ("dtype", "raw"),
    [("float32", struct.pack(">f", 3)), ("int16", b"\0\3"), ("bfloat16", struct.pack(">f", 3)[:2])],
)
def test_a_loss_of_a_big_endian_machine_is_read(tmp_path: Path, dtype: str, raw: bytes) -> None:
    path = tmp_path / "a.pt"
    torch.save({"loss": torch.tensor(7, dtype=getattr(torch, dtype)), "model": small()}, path)
    big = {"byteorder": b"big", "data/0": raw}
    rezipped(path, lambda name, content: big.get(name.partition("/")[2], content))

    assert TorchReader().describe(path).measures == {"loss": 3.0}


@pytest.mark.parametrize(
    "loss",
    [
        torch.tensor([1.0, 2.0]),
        torch.tensor(1.0, device="meta"),
        torch.tensor(True),
        torch.tensor(1 + 1j),
        torch.tensor(3.0, dtype=torch.float8_e5m2),
        np.array([1.0]),
    ],
    ids=["vector", "meta", "bool", "complex", "float8", "array"],
)
def test_tensors_that_are_no_real_number_do_not_count(tmp_path: Path, loss: object) -> None:
    assert measures_of(tmp_path, {"loss": loss, "model": small()}) == {}


def test_the_parameters_of_a_model_are_no_measures(tmp_path: Path) -> None:
    state = {"fc.weight": torch.ones(3, 4), "score": torch.tensor(2.0)}
    content = {"model": state, "ema_model": {name: value + 1 for name, value in state.items()}}

    for found in (measures_of(tmp_path, content), measures_of(tmp_path, state)):
        assert found == {}


def test_a_damaged_loss_is_no_reason_to_refuse_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"loss": torch.tensor(0.5), "model": small()}, path)
    rezipped(path, lambda name, content: b"" if name.endswith("data/0") else content)

    description = TorchReader().describe(path)

    assert len(description.tensors) == 2
    assert description.measures == {}


def test_the_metadata_of_safetensors_says_how_the_training_went(tmp_path: Path) -> None:
    metadata = {"loss": " 0.25 ", "val_acc": "9e-1", "lr": ".5", "best_acc_epoch": "7",
                "format": "pt", "score": "nan", "error": "1_0", "f1": "1" * 60}  # fmt: skip
    save_file(small(), tmp_path / "a.safetensors", metadata)

    measures = SafetensorsReader().describe(tmp_path / "a.safetensors").measures

    assert math.isnan(measures.pop("score"))
    assert measures == {"loss": 0.25, "lr": 0.5, "val_acc": 0.9}


def test_measures_of_safetensors_are_sorted_since_the_library_writes_them_by_chance(
    tmp_path: Path,
) -> None:
    names = [f"loss_{letter}" for letter in "abcdefghijkl"]
    save_file(small(), tmp_path / "a.safetensors", dict.fromkeys(reversed(names), "1"))

    assert list(SafetensorsReader().describe(tmp_path / "a.safetensors").measures) == names


def test_the_index_counts_more_than_the_shards_it_lists(tmp_path: Path) -> None:
    state = small()
    names = dict(zip(state, ("model-00001-of-00002", "model-00002-of-00002"), strict=True))
    for name, stem in names.items():
        noted = {"loss": "9", f"{name}_acc": "0.5"}
        save_file({name: state[name]}, tmp_path / f"{stem}.safetensors", noted)
    index = tmp_path / "model.safetensors.index.json"
    weight_map = {name: f"{stem}.safetensors" for name, stem in names.items()}
    metadata = {"total_size": 60, "loss": 0.5, "metrics": {"ppl": 7}}
    index.write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))

    measures = SafetensorsReader().describe(index).measures

    assert measures == {
        "fc.bias_acc": 0.5,
        "fc.weight_acc": 0.5,
        "loss": 0.5,
        "metrics.ppl": 7.0,
    }


def test_the_metadata_of_onnx_says_how_the_training_went(tmp_path: Path) -> None:
    path = saved_onnx(tmp_path, [node("MatMul", "x w")], {"w": floats(3, 4)})
    model = load(path)
    for key, value in (("val_loss", "0.5"), ("epoch", "3"), ("task", "loss")):
        model.metadata_props.add(key=key, value=value)
    save(model, path)

    assert OnnxReader().describe(path).measures == {"val_loss": 0.5}
