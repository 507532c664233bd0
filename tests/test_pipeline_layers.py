"""Checkpoints of DeepSpeed's pipelines: a file per layer, and per part of tensor parallelism."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import accweight_core as aw
from accweight_adapters.torch.reader import TorchReader
from accweight_core.errors import AccweightError, FormatError
from accweight_core.runs.inspection import inspected
from accweight_core.testing import values_of

READER = TorchReader()
HIDDEN = 8
LAYERS = (1, 3, 4, 6)
"""Numbers of layers with weights; functions between them have none, as in Megatron."""

UNIVERSAL = {
    "universal_checkpoint_version": 0.2,
    "vocabulary_parameter_patterns": [r"\d+.word_embeddings.weight"],
    "tp_replicated_parameter_patterns": [
        r"\d+.input_layernorm.weight",
        r"\d+.attention.dense.bias",
    ],
    "parameter_to_average_patterns": [r"^6\.norm\.weight$"],
    "parameter_with_row_parallelism_patterns": [r"\d+.attention.dense.weight"],
    "parameter_with_2_sub_params_cat_dim_0": [r"\d+.mlp.gate_up.weight"],
}


def whole(value: float, dtype: torch.dtype = torch.float32) -> dict[int, dict[str, Tensor]]:
    """Return the state of every layer."""
    gen = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=gen) + value).to(dtype)

    block = {
        "input_layernorm.weight": (HIDDEN,),
        "attention.qkv.weight": (3 * HIDDEN, HIDDEN),
        "attention.dense.weight": (HIDDEN, HIDDEN),
        "attention.dense.bias": (HIDDEN,),
        "mlp.gate_up.weight": (4 * HIDDEN, HIDDEN),
    }
    state = {number: {n: draw(*shape) for n, shape in block.items()} for number in (3, 4)}
    return {
        1: {"word_embeddings.weight": draw(32, HIDDEN)},
        **state,
        6: {"norm.weight": draw(HIDDEN)},
    }


def cut(name: str, value: Tensor, part: int, parts: int) -> Tensor:
    """Return what a rank holds of a tensor."""
    if name.endswith(("layernorm.weight", "norm.weight", "dense.bias")):
        return value.clone()
    if name.endswith("dense.weight"):
        return value.chunk(parts, 1)[part].clone()
    if name.endswith("gate_up.weight"):
        return torch.cat([half.chunk(parts)[part] for half in value.chunk(2)])
    return value.chunk(parts)[part].clone()


def write_step(folder: Path, step: int, parts: int = 1, **beside: Any) -> Path:
    """Write what `PipelineEngine.save_checkpoint` writes at a step."""
    home = folder / f"global_step{step}"
    home.mkdir(parents=True)
    for layer, state in whole(float(step), beside.pop("dtype", torch.float32)).items():
        for part in range(parts):
            path = home / f"layer_{layer:02d}-model_{part:02d}-model_states.pt"
            torch.save({name: cut(name, value, part, parts) for name, value in state.items()}, path)
    for part in range(parts):
        settings = {
            "module": None,
            "optimizer": None,
            "lr_scheduler": {"last_batch_iteration": step},
            "skipped_steps": 0,
            "global_steps": step,
            "global_samples": 8 * step,
            "mp_world_size": parts,
            "args": argparse.Namespace(lr=1e-3),
            **beside,
        }
        torch.save(settings, home / f"mp_rank_{part:02d}_model_states.pt")
        state = {"optimizer_state_dict": {"fp32": [torch.ones(9)]}, "ds_version": "0.9.5"}
        torch.save(state, home / f"bf16_zero_pp_rank_0_mp_rank_{part:02d}_optim_states.pt")
    (folder / "latest").write_text(home.name)
    (folder / "zero_to_fp32.py").write_text("pass\n")
    return home


def check(home: Path, step: float) -> None:
    """Fail unless a folder is read as the whole model, in the order of its layers."""
    (first, *_) = sorted(home.glob("layer_*"))
    found = {tensor.name: values_of(tensor) for tensor in READER.describe(first).tensors}
    expected = {f"{n}.{name}": v for n, s in whole(step).items() for name, v in s.items()}
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value.numpy())


def test_the_layers_of_a_step_are_one_checkpoint(tmp_path: Path) -> None:
    for step in (100, 200, 1000):
        write_step(tmp_path, step)

    found = inspected(tmp_path)

    assert found.run is not None
    assert found.run.steps == (100, 200, 1000)
    assert found.left_out == ()
    assert found.format == "DeepSpeed pipeline checkpoint, 4 layers"
    names = [layer.name for layer in found.layers]
    assert names[:2] == ["1.word_embeddings", "3.input_layernorm"]
    check(tmp_path / "global_step200", 200)


def test_layers_without_the_number_of_a_part_are_read(tmp_path: Path) -> None:
    for step in (1, 2):
        for path in write_step(tmp_path, step).glob("layer_*"):
            path.rename(path.with_name(path.name.replace("-model_00", "")))

    assert tuple(aw.open_run(tmp_path).steps) == (1, 2)
    check(tmp_path / "global_step2", 2)


def test_tags_without_a_number_are_ordered_by_the_steps_inside(tmp_path: Path) -> None:
    for step, tag in ((30, "a"), (20, "b"), (10, "c")):
        write_step(tmp_path, step).rename(tmp_path / tag)

    assert tuple(aw.open_run(tmp_path).steps) == (10, 20, 30)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_are_joined_as_the_file_says(tmp_path: Path, parts: int) -> None:
    home = write_step(tmp_path, 100, parts, universal_checkpoint_info=UNIVERSAL)

    check(home, 100)
    (first, *_) = sorted(home.glob("layer_*"))
    assert READER.describe(first).format.endswith(f", 4 layers in {parts} parts")


def test_averaged_parts_are_averaged_also_in_bfloat16(tmp_path: Path) -> None:
    told = {"universal_checkpoint_info": UNIVERSAL, "dtype": torch.bfloat16}
    home = write_step(tmp_path, 1, 2, **told)
    torch.save(
        {"norm.weight": torch.full((HIDDEN,), 3.0, dtype=torch.bfloat16)},
        home / "layer_06-model_00-model_states.pt",
    )
    torch.save(
        {"norm.weight": torch.full((HIDDEN,), 5.0, dtype=torch.bfloat16)},
        home / "layer_06-model_01-model_states.pt",
    )

    (first, *_) = sorted(home.glob("layer_*"))
    found = {tensor.name: tensor for tensor in READER.describe(first).tensors}

    np.testing.assert_array_equal(values_of(found["6.norm.weight"]), np.full(HIDDEN, 4.0))


def test_a_run_in_parts_is_analysed(tmp_path: Path) -> None:
    for step in (1, 2):
        write_step(tmp_path, step, 2, universal_checkpoint_info=UNIVERSAL)

    analysis = aw.analyze(tmp_path, out=tmp_path / "run.accw")

    np.testing.assert_allclose(analysis.cumulative("3.attention.dense.weight"), 1, rtol=1e-6)


def problem(source: Path) -> str:
    with pytest.raises(AccweightError) as caught:
        aw.open_run(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parts_without_rules_are_refused_in_one_line_per_step(tmp_path: Path) -> None:
    for step in (1, 2):
        write_step(tmp_path, step, 2)

    text = problem(tmp_path)

    assert "cut into 2 parts for tensor parallelism" in text
    assert "no file beside them says along which axes" in text


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    home = write_step(tmp_path, 1, 2, universal_checkpoint_info=UNIVERSAL)
    (home / "layer_04-model_01-model_states.pt").unlink()

    assert "'layer_04-model_01-model_states.pt' is missing" in problem(tmp_path)


def test_a_damaged_layer_is_named(tmp_path: Path) -> None:
    for step in (1, 2):
        home = write_step(tmp_path, step)
    path = home / "layer_04-model_00-model_states.pt"
    path.write_bytes(path.read_bytes()[:500])

    assert path.name in problem(tmp_path)


def test_layer_files_that_are_named_one_by_one_are_one_checkpoint(tmp_path: Path) -> None:
    home = write_step(tmp_path, 5)

    run = aw.series_of(sorted(home.iterdir()))

    assert [len(series.placed) for series in run] == [1]


def test_another_layer_alone_says_what_to_name(tmp_path: Path) -> None:
    home = write_step(tmp_path, 5)

    with pytest.raises(FormatError, match=r"name its folder, or layer_01-model_00"):
        READER.describe(home / "layer_03-model_00-model_states.pt")


@pytest.mark.parametrize("pattern", ["(a+)+$", "[a-z]*", "x{9999}", 5, ["b|c"]])
def test_rules_that_are_more_than_names_and_numbers_are_refused(
    tmp_path: Path, pattern: Any
) -> None:
    rules = UNIVERSAL | {"tp_replicated_parameter_patterns": [pattern]}
    home = write_step(tmp_path, 5, 2, universal_checkpoint_info=rules)

    with pytest.raises(FormatError, match="rules for joining its parts"):
        READER.describe(home / "layer_01-model_00-model_states.pt")


def test_tensors_of_several_uneven_matrices_are_listed_and_not_joined(tmp_path: Path) -> None:
    uneven = [
        {"patterns": [r"\d+.attention.qkv.weight"], "shape": [(8, 8, 8), 8], "partition_dim": 0}
    ]
    rules = UNIVERSAL | {"parameter_with_sub_params": uneven}
    home = write_step(tmp_path, 5, 2, universal_checkpoint_info=rules)

    tensors = READER.describe(home / "layer_01-model_00-model_states.pt").tensors

    refused = {tensor.name for tensor in tensors if tensor.refusal}
    assert refused == {"3.attention.qkv.weight", "4.attention.qkv.weight"}


def test_parts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    home = write_step(tmp_path, 5, 2, universal_checkpoint_info=UNIVERSAL)
    path = home / "layer_03-model_01-model_states.pt"
    state = torch.load(path)
    state["attention.dense.weight"] = torch.zeros(HIDDEN + 1, 4)
    torch.save(state, path)

    with pytest.raises(FormatError, match=r"'3.attention.dense.weight' do not fit together"):
        READER.describe(home / "layer_01-model_00-model_states.pt")
