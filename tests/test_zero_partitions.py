"""DeepSpeed: ZeRO stage 3, with parts on every rank; experts in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import write_safetensors
from torch import Tensor

import accweight_core as aw
from accweight_adapters.torch.reader import TorchReader
from accweight_core.errors import AccweightError, FormatError
from accweight_core.runs.inspection import inspected
from accweight_core.schema import Extent
from accweight_core.testing import values_of

READER = TorchReader()
FIRST = "zero_pp_rank_0_mp_rank_00_model_states.pt"


def state(value: float) -> dict[str, Tensor]:
    """Return weights of odd sizes, a frozen one and a buffer among them."""
    gen = torch.Generator().manual_seed(0)
    shapes = {"embed.weight": (7, 3), "fc.weight": (5, 3), "fc.bias": (5,), "base.weight": (3, 3)}
    found = {name: torch.randn(*shape, generator=gen) + value for name, shape in shapes.items()}
    return found | {"scale": torch.full((2,), 2.0)}


def parts_of(value: Tensor, ranks: int) -> list[Tensor]:
    """Return what each rank keeps of a parameter, padded as DeepSpeed does."""
    share = -(-value.numel() // ranks)
    flat = torch.cat([value.flatten(), torch.full((share * ranks - value.numel(),), 77.0)])
    return list(flat.reshape(ranks, share))


def write_step(folder: Path, step: int, ranks: int = 2, groups: int = 1) -> Path:
    """Write what `DeepSpeedEngine.save_checkpoint` writes for ZeRO 3 at a step."""
    home = folder / f"global_step{step}"
    home.mkdir(parents=True)
    weights = state(float(step))
    trained = [name for name in weights if name not in ("base.weight", "scale")]
    for rank in range(ranks):
        module = {name: torch.empty(0) for name in weights} | {"scale": weights["scale"]}
        states = {
            "module": module,
            "buffer_names": ["scale"],
            "param_shapes": [{name: weights[name].shape for name in trained}],
            "frozen_param_shapes": {"base.weight": weights["base.weight"].shape},
            "frozen_param_fragments": {
                "base.weight": parts_of(weights["base.weight"], ranks)[rank].clone()
            },
            "shared_params": {},
            "global_steps": step,
            "ds_version": "0.14.0",
        }
        torch.save(states, home / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
        cut = [parts_of(weights[name], ranks)[rank] for name in trained]
        flat = [torch.cat(cut[at::groups] if groups == 1 else [cut[at]]) for at in range(groups)]
        if groups > 1:
            flat = [cut[0], torch.cat(cut[1:])]
        optimizer: dict[str, Any] = {
            "zero_stage": 3,
            "partition_count": ranks,
            "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(9)}}},
            "fp32_flat_groups": flat,
        }
        saved = {"optimizer_state_dict": optimizer, "ds_config": {}, "ds_version": "0.14.0"}
        torch.save(saved, home / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    (folder / "latest").write_text(home.name)
    return home


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_parts_are_joined_without_their_padding(tmp_path: Path, ranks: int, groups: int) -> None:
    path = write_step(tmp_path, 5, ranks, groups) / FIRST

    found = {tensor.name: values_of(tensor) for tensor in READER.describe(path).tensors}

    expected = state(5.0)
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value.numpy())


def test_the_parts_of_a_single_rank_are_byte_ranges(tmp_path: Path) -> None:
    tensors = READER.describe(write_step(tmp_path, 5, ranks=1) / FIRST).tensors

    assert all(isinstance(tensor.values, Extent) for tensor in tensors)


def test_folders_of_steps_are_a_run(tmp_path: Path) -> None:
    for step in (100, 200, 1000):
        write_step(tmp_path, step)

    found = inspected(tmp_path)
    analysis = aw.analyze(tmp_path, out=tmp_path / "run.accw")

    assert found.run is not None
    assert found.run.steps == (100, 200, 1000)
    assert found.format == "DeepSpeed ZeRO 3 checkpoint, 2 ranks"
    assert found.left_out == ()
    np.testing.assert_allclose(analysis.cumulative("fc.weight"), 900, rtol=1e-5)


def test_in_a_folder_of_the_trainer_they_are_its_checkpoints(tmp_path: Path) -> None:
    for step in (100, 200):
        write_step(tmp_path / f"checkpoint-{step}", step)

    assert tuple(aw.open_run(tmp_path).steps) == (100, 200)


def test_beside_the_weights_themselves_they_are_training_state(tmp_path: Path) -> None:
    for step in (100, 200):
        write_step(tmp_path / f"checkpoint-{step}", step)
        weights = {name: value.bfloat16() for name, value in state(float(step)).items()}
        write_safetensors(tmp_path / f"checkpoint-{step}" / "model.safetensors", weights)

    found = inspected(tmp_path)

    assert [Path(c.path).name for c in found.opened.checkpoints] == ["model.safetensors"] * 2
    assert {left.reason for left in found.left_out} == {"training state, not weights"}


@pytest.mark.parametrize("prefix", ["", "bf16_"])
@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1)])
def test_a_missing_file_of_values_is_named(
    tmp_path: Path, lost: tuple[int, ...], prefix: str
) -> None:
    home = write_step(tmp_path, 5)
    for path in home.glob("bf16_*"):
        path.rename(path.with_name(path.name.replace("bf16_", prefix)))
    for rank in lost:
        (home / f"{prefix}zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").unlink()
    name = f"{prefix * (len(lost) < 2)}zero_pp_rank_{lost[0]}_mp_rank_00_optim_states.pt"

    with pytest.raises(AccweightError, match=f"'{name}' is missing"):
        aw.open_run(tmp_path)


def test_another_rank_says_what_to_name(tmp_path: Path) -> None:
    home = write_step(tmp_path, 5)

    with pytest.raises(FormatError, match="name its folder, or zero_pp_rank_0"):
        READER.describe(home / FIRST.replace("rank_0_mp", "rank_1_mp"))


def test_flat_arrays_that_are_too_short_are_named(tmp_path: Path) -> None:
    home = write_step(tmp_path, 5)
    path = home / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    saved = torch.load(path)
    saved["optimizer_state_dict"]["fp32_flat_groups"] = [torch.ones(3)]
    torch.save(saved, path)

    with pytest.raises(FormatError, match="too few elements"):
        READER.describe(home / FIRST)


# Mixtures of experts


def write_mixture(folder: Path, step: int) -> Path:
    """Write what DeepSpeed writes for a model with two experts in its first layer."""
    home = folder / f"global_step{step}"
    home.mkdir(parents=True)
    module = {"fc.weight": torch.full((3, 2), float(step)), "gate.weight": torch.ones(2, 2)}
    torch.save({"module": module, "global_steps": step}, home / "mp_rank_00_model_states.pt")
    for expert in range(2):
        name = f"moe.deepspeed_moe.experts.deepspeed_experts.{expert}.w.weight"
        weights = {name: torch.full((4, 2), float(step + expert))}
        torch.save(weights, home / f"layer_0_expert_{expert}_mp_rank_00_model_states.pt")
    torch.save({"optimizer": {}}, home / "expp_rank_0_mp_rank_00_optim_states.pt")
    return home


def test_experts_are_part_of_the_model_beside_them(tmp_path: Path) -> None:
    for step in (100, 200):
        write_mixture(tmp_path, step)

    found = inspected(tmp_path)
    tensors = found.opened.checkpoints[1].tensors

    assert found.run is not None
    assert found.run.steps == (100, 200)
    assert found.format == "torch zip, 2 experts beside it"
    assert list(tensors)[:2] == ["fc.weight", "gate.weight"]
    last = tensors["moe.deepspeed_moe.experts.deepspeed_experts.1.w.weight"]
    np.testing.assert_array_equal(values_of(last), np.full((4, 2), 201.0))


def test_an_expert_that_is_damaged_is_named(tmp_path: Path) -> None:
    for step in (100, 200):
        home = write_mixture(tmp_path, step)
    path = home / "layer_0_expert_1_mp_rank_00_model_states.pt"
    path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(AccweightError, match=path.name):
        aw.open_run(tmp_path)
