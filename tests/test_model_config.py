"""config.json beside a checkpoint: where it is looked for, what is believed, what is said."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import write_safetensors
from torch import Tensor

import accweight_core as aw
from accweight_adapters.safetensors_reader import SafetensorsReader
from accweight_adapters.torch.reader import TorchReader
from accweight_core.runs.inspection import inspected
from accweight_core.runs.opening import survey
from accweight_core.schema import Axis, Description, Parameter, Split

CONFIG = {"model_type": "gpt2", "n_head": 4, "n_embd": 32, "architectures": ["GPT2LMHeadModel"]}


def gpt2(width: int = 32) -> dict[str, Tensor]:
    """Return the weights of a block of GPT-2, stored (inputs, outputs), and its embedding."""
    shapes = {
        "wte.weight": (50, width),
        "h.0.attn.c_attn.weight": (width, 3 * width),
        "h.0.attn.c_attn.bias": (3 * width,),
        "h.0.attn.c_proj.weight": (width, width),
        "h.0.attn.c_proj.bias": (width,),
    }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def described(folder: Path, config: object, state: Mapping[str, Tensor] | None = None) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    path = write_safetensors(folder / "model.safetensors", state or gpt2())
    return SafetensorsReader().describe(path)


def splits(description: Description) -> dict[str, Split]:
    return {t.name: t.hints.split for t in description.tensors if t.hints.split}


def parameters(source: Path) -> dict[str, Parameter]:
    return {p.name: p for p in aw.open_run(source).parameters}


# ---------------------------------------------------------------- where it is


@pytest.mark.parametrize("beside", [True, False], ids=["beside", "in the folder above"])
def test_a_configuration_is_found_beside_a_checkpoint_and_above_its_folder(
    tmp_path: Path, beside: bool
) -> None:
    for step in (500, 1000):
        write_safetensors(made(tmp_path / f"checkpoint-{step}") / "model.safetensors", gpt2())
        home = tmp_path / f"checkpoint-{step}" if beside else tmp_path
        (home / "config.json").write_text(json.dumps(CONFIG))

    fused = parameters(tmp_path)["h.0.attn.c_attn.weight"]

    assert fused.split is not None
    assert fused.split.heads_of("q") == 4
    assert fused.split.origin == ("config.json: gpt2" if beside else "../config.json: gpt2")


def test_a_configuration_above_a_folder_without_a_number_is_of_something_else(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    path = write_safetensors(made(tmp_path / "best") / "model.safetensors", gpt2())

    assert not splits(SafetensorsReader().describe(path))


def test_shards_and_torch_files_are_read_with_it_alike(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    torch.save(gpt2(), tmp_path / "pytorch_model.bin")
    state = list(gpt2().items())
    places = {}
    for number, part in enumerate((state[:2], state[2:]), start=1):
        name = f"model-{number:05}-of-00002.safetensors"
        write_safetensors(tmp_path / name, dict(part))
        places |= {key: name for key, _ in part}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))

    ours = splits(TorchReader().describe(tmp_path / "pytorch_model.bin"))
    theirs = splits(SafetensorsReader().describe(index))

    assert ours == theirs
    assert len(ours) == 3


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# ---------------------------------------------------------------- what is believed


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({**CONFIG, "n_embd": 64}, "its heads (4 of q, 4 of k, 4 of v) would have 192 outputs"),
        ({**CONFIG, "n_head": 5}, "would have 90 outputs, 'h.0.attn.c_attn.weight' is 32x96"),
    ],
)
def test_a_configuration_of_another_model_is_not_used_and_said(
    tmp_path: Path, config: object, says: str
) -> None:
    description = described(tmp_path, config)

    assert not splits(description)
    assert not any(t.hints.axes for t in description.tensors)
    (note,) = description.notes
    assert note.startswith("config.json: gpt2 is not used, as it does not fit these weights")
    assert says in note


def test_what_does_not_fit_is_left_out_and_named(tmp_path: Path) -> None:
    state = gpt2() | {"h.1.attn.c_attn.weight": torch.ones(32, 48)}

    description = described(tmp_path, CONFIG, state)

    assert len(splits(description)) == 3
    assert (
        "config.json: gpt2 does not fit 'h.1.attn.c_attn.weight'; the heads there are not known"
        in description.notes
    )


@pytest.mark.parametrize(
    "value", [True, -4, 0, 4.0, "4", None, [4], {"n": 4}, 2**80, float("nan")], ids=repr
)
@pytest.mark.parametrize("key", ["n_head", "n_embd"])
def test_what_is_no_count_is_as_good_as_missing(tmp_path: Path, key: str, value: object) -> None:
    assert not splits(described(tmp_path, {**CONFIG, key: value}))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, '{"model_type": "gpt2", "n_head": ' + "9" * 5000 + "}", "\x00"],
    ids=["empty", "cut", "deep", "huge", "binary"],
)
def test_a_damaged_configuration_is_said_and_costs_nothing(tmp_path: Path, text: str) -> None:
    description = described(tmp_path, text)

    assert len(description.tensors) == 5
    assert "config.json is damaged; heads and fused projections are not known from it" in (
        description.notes
    )


@pytest.mark.parametrize("config", [[], 3, {}, {"lr": 0.1}, "x"])
def test_the_configuration_of_something_else_is_passed_over(tmp_path: Path, config: object) -> None:
    assert described(tmp_path, json.dumps(config)).notes == ()


@pytest.mark.parametrize("kind", [3, "", "a\nb", "x" * 500, {"a": 1}])
def test_a_kind_of_model_that_is_no_word_is_refused(tmp_path: Path, kind: object) -> None:
    (note,) = described(tmp_path, {**CONFIG, "model_type": kind}).notes

    assert note.startswith("config.json is not used: it names a model_type ")
    assert "\n" not in note


def test_a_configuration_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    (note,) = described(tmp_path, {**CONFIG, "padding": " " * 4_000_000}).notes

    assert "is not read: it has more than" in note


def test_a_configuration_that_is_no_file_is_passed_over(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", gpt2())
    os.mkfifo(tmp_path / "config.json")

    assert SafetensorsReader().describe(path).notes == ()


def test_the_bias_says_more_than_the_kind_of_model(tmp_path: Path) -> None:
    state = {name: value.T if value.dim() > 1 else value for name, value in gpt2().items()}
    described(tmp_path, CONFIG, {name: value.contiguous() for name, value in state.items()})

    fused = parameters(tmp_path / "model.safetensors")["h.0.attn.c_attn.weight"]

    assert fused.axes == (Axis.OUTPUT, Axis.INPUT)
    assert fused.sections == ("q", "k", "v")
    assert fused.split is not None


def test_parts_of_a_model_have_their_own_heads(tmp_path: Path) -> None:
    config = {
        "model_type": "llava",
        "text_config": {"num_attention_heads": 4, "num_key_value_heads": 1, "hidden_size": 32},
        "vision_config": {"num_attention_heads": 2, "hidden_size": 16},
    }
    state = {
        "language_model.layers.0.self_attn.q_proj.weight": torch.ones(32, 32),
        "language_model.layers.0.self_attn.k_proj.weight": torch.ones(8, 32),
        "vision_tower.layers.0.self_attn.q_proj.weight": torch.ones(16, 16),
    }

    found = splits(described(tmp_path, config, state))

    heads = {name: [split.heads_of(p.name) for p in split.parts] for name, split in found.items()}
    assert heads == dict(zip(sorted(state), ([1], [4], [2]), strict=True))


def test_an_unknown_model_with_a_fused_projection_of_unknown_order_is_left_alone(
    tmp_path: Path,
) -> None:
    config = {"model_type": "mystery", "num_attention_heads": 4, "hidden_size": 32}
    state = {"h.0.attention.query_key_value.weight": torch.ones(96, 32)}

    assert not splits(described(tmp_path, config, state))


def test_adapters_are_matrices_of_their_own(tmp_path: Path) -> None:
    config = {"model_type": "llama", "num_attention_heads": 4, "hidden_size": 32}
    state = {"base_model.model.layers.0.self_attn.q_proj.lora_B.weight": torch.ones(32, 4)}

    assert not splits(described(tmp_path, config, state))


# ---------------------------------------------------------------- tied weights


@pytest.mark.parametrize("equal", [True, False])
def test_two_equal_copies_of_a_tied_weight_count_once(tmp_path: Path, equal: bool) -> None:
    state = gpt2()
    state["lm_head.weight"] = state["wte.weight"].clone() if equal else torch.randn(50, 32)

    description = described(tmp_path, {**CONFIG, "tie_word_embeddings": True}, state)

    assert ("lm_head.weight" in [t.name for t in description.tensors]) != equal
    said = "left out 'lm_head.weight': is 'wte.weight' again (tied by config.json: gpt2)"
    assert (said in description.notes) == equal


def test_an_untied_output_layer_counts_on_its_own(tmp_path: Path) -> None:
    state = gpt2() | {"lm_head.weight": torch.ones(50, 32)}

    description = described(tmp_path, {**CONFIG, "tie_word_embeddings": False}, state)

    assert "lm_head.weight" in [t.name for t in description.tensors]
    assert description.notes == ()


def test_one_place_under_two_names_counts_once_without_a_configuration(tmp_path: Path) -> None:
    state = gpt2()
    state["lm_head.weight"] = state["wte.weight"]
    torch.save(state, tmp_path / "model.pt")

    description = TorchReader().describe(tmp_path / "model.pt")

    assert "lm_head.weight" not in [t.name for t in description.tensors]
    assert description.notes == (
        "left out 'lm_head.weight': is 'wte.weight' again (stored at one place)",
    )


def test_a_run_with_configurations_is_one_run(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        described(tmp_path / f"checkpoint-{step}", CONFIG)
    shutil.copy(tmp_path / "checkpoint-1" / "config.json", tmp_path / "config.json")

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2, 3]


def test_inspect_says_what_tells_axes_and_heads(tmp_path: Path) -> None:
    described(tmp_path, CONFIG)

    document = inspected(tmp_path).to_json()

    told = {p["name"]: p for layer in document["layers"] for p in layer["parameters"]}
    assert told["h.0.attn.c_attn.weight"]["axes_from"] == "bias"
    assert told["h.0.attn.c_proj.weight"]["axes_from"] == "config.json: gpt2"
    assert told["h.0.attn.c_attn.weight"]["sections"] == ["q", "k", "v"]
    assert told["wte.weight"].keys() == {"name", "shape", "dtype", "role", "axes"}
    assert told["h.0.attn.c_attn.weight"]["split"] == {
        "along": "output",
        "groups": 1,
        "parts": [{"name": name, "size": 32, "heads": 4} for name in "qkv"],
        "heads": {"q": 4, "k": 4, "v": 4},
        "from": "config.json: gpt2",
    }
