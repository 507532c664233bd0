"""What lies among the tensors and is not the model: optimizer state, losses, copies, constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import accweight_core as aw
from accweight_core.errors import MismatchError, UnsupportedDtypeError
from accweight_core.runs.training_state import weights_alone
from accweight_core.schema import Description, Hints, Role, StoredTensor

Shapes = Mapping[str, tuple[int, ...]]

NET: Shapes = {"fc1.weight": (4, 3), "fc1.bias": (4,), "fc2.weight": (2, 4)}


def kept(shapes: Shapes, *others: Shapes) -> tuple[list[str], tuple[str, ...]]:
    """Return the names that are left of tensors of these shapes, and the notes."""
    tensors = tuple(
        StoredTensor(name, aw.schema.HiddenValues(lambda: None, "float32", shape))
        for part in (shapes, *others)
        for name, shape in part.items()
    )
    found = weights_alone(Description("any", tensors))
    return [tensor.name for tensor in found.tensors], found.notes


def renamed(rename: Callable[[str], str], shapes: Shapes = NET) -> Shapes:
    return {rename(name): shape for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("others", "named"),
    [
        ({"optimizer.state.0.exp_avg": (4, 3), "optimizer.step": ()}, "'optimizer'"),
        ({"opt_state.0.mu.fc1.weight": (4, 3)}, "'opt_state'"),
        ({"lr_scheduler.last": (1,)}, "'lr_scheduler'"),
        ({"optimizer.param_groups.0.lr": (2, 1)}, "'optimizer'"),
        ({"optimizer_gen.state.0.exp_avg": (4, 3)}, "'optimizer_gen'"),
        ({"opt.0.nu.fc1.weight": (4, 3), "opt.count": ()}, "'opt'"),
        ({"opt.0.trace.fc1.weight": (4, 3)}, "'opt'"),
        (renamed(lambda name: f"optimizer.{name}"), "'optimizer'"),
        (renamed(lambda name: f"velocity.{name}"), "'velocity.fc1.weight'"),
        ({"exp_avg_sq.fc2.weight": (2, 4)}, "'exp_avg_sq.fc2.weight'"),
        ({"rng.key": (2,)}, "'rng'"),
        ({"history.loss": (30,), "history.accuracy": (30,)}, "'history'"),
        ({"fc1.weight.exp_avg": (4, 3)}, "'fc1.weight.exp_avg'"),
        (renamed(lambda name: f"{name}.momentum_buffer"), "'fc1.weight.momentum_buffer'"),
        (renamed(lambda name: f"moment1.{name}"), "'moment1.fc1.weight'"),
        (renamed(lambda name: f"Moment_1_{name}"), "'Moment_1_fc1.weight'"),
        ({**renamed(lambda n: f"m.{n}"), **renamed(lambda n: f"v.{n}")}, "'m.fc1.weight'"),
        ({**renamed(lambda n: f"mu.{n}"), **renamed(lambda n: f"nu.{n}")}, "'mu.fc1.weight'"),
    ],
)
def test_what_an_optimizer_keeps_is_left_out_with_one_note(others: Shapes, named: str) -> None:
    names, notes = kept(NET, others)

    assert names == list(NET)
    assert len(notes) == 1
    assert notes[0].startswith(f"left out {named}")
    assert notes[0].endswith(": training state, not weights")


@pytest.mark.parametrize(
    "shapes",
    [
        {"q.weight": (4, 4), "k.weight": (4, 4), "v.weight": (4, 4), "m.weight": (4, 4)},
        {**NET, "m.fc1.weight": (4, 3), "m.fc2.weight": (2, 4), "v.fc1.weight": (4, 3)},
        {"optimal.weight": (4, 3), "option.weight": (4, 3), "scaler.weight": (3,)},
        {"momentum.weight": (4, 3), "encoder.weight": (5, 3)},
        {"velocity": (3,), "fc.weight": (4, 3)},
        {"ema.weight": (4, 3), "fc.weight": (2, 2)},
        {"lossless.weight": (4, 3), "loss_head.weight": (4, 3), "fc.weight": (2, 2)},
        {"act.alpha": (1,), "act.weight": (4, 3)},
        {"act.alpha": (1,), "act.b1.weight": (4, 3), "act.a1.weight": (4, 3)},
        {"alpha": (), "fc.weight": (4, 3)},
        {"optimizer_head.weight": (4, 3), "optimizer_head.bias": (4,), "head.weight": (4, 3)},
        {"optimizer.weight": (4, 3), "optimizer.bias": (4,), "fc.weight": (4, 3)},
        {"scheduler.fc.weight": (4, 3), "task.fc.weight": (4, 3), "out.weight": (2, 4)},
        {"opt.conv.weight": (4, 3, 3, 3), "sar.conv.weight": (4, 2, 3, 3)},
        {"mu.0.weight": (4, 3), "nu.0.weight": (4, 3), "pi.0.weight": (4, 3)},
        {"mu.0.weight": (4, 3), "nu.0.weight": (4, 3), "0.weight": (4, 3), "2.weight": (2, 4)},
        {"velocity.fc.weight": (4, 3), "fc.weight": (4, 3), "out.weight": (2, 4)},
        {"velocity.fc.weight": (4, 3), "position.fc.weight": (4, 3)},
        {"momentum.0.weight": (4, 3), "energy.0.weight": (4, 3)},
        {"avg.conv.weight": (4, 3), "max.conv.weight": (4, 3), "fc.weight": (2, 4)},
        {"avg.conv.weight": (4, 3), "max.conv.weight": (4, 3)},
        {"swa_0.q.weight": (4, 4), "swa_1.q.weight": (4, 4), "full_0.q.weight": (4, 4)},
        {"swa_0.q.weight": (4, 4), "0.q.weight": (4, 4), "1.q.weight": (4, 4)},
        {"shadow.fc.weight": (4, 3), "light.fc.weight": (4, 3)},
        {"shadow.fc.weight": (4, 3), "fc.weight": (4, 3), "out.weight": (2, 4)},
        {"history_encoder.weight": (4, 3), "history.0.weight": (4, 3)},
    ],
)
def test_layers_that_only_sound_like_training_state_stay(shapes: Shapes) -> None:
    names, notes = kept(shapes)

    assert names == list(shapes)
    assert notes == ()


@pytest.mark.parametrize("rename", [lambda n: f"ema.{n}", lambda n: f"model_ema.module.{n}",
                                    lambda n: "model_ema." + n.replace(".", "")])  # fmt: skip
def test_an_averaged_copy_beside_the_model_is_left_out(rename: Callable[[str], str]) -> None:
    names, notes = kept(NET, renamed(rename), {rename("x").partition(".")[0] + ".decay": ()})
    alone, no_notes = kept(renamed(rename))

    assert names == list(NET)
    assert [note.partition(": ")[2] for note in notes] == [
        "an averaged copy beside the model itself"
    ]
    assert alone == list(renamed(rename))
    assert no_notes == ()


@pytest.mark.parametrize(
    ("others", "first"),
    [
        (renamed(lambda name: f"model.{name}"), "ema"),
        (renamed(lambda name: f"model.{name}"), "model_ema"),
        ({**renamed(lambda name: f"encoder.{name}"), "head.weight": (3, 2)}, "encoder_ema"),
        ({**renamed(lambda name: f"model.{name}"), "vae.conv.weight": (3, 2)}, "swa"),
        ({**NET, "fc1.norm.running_mean": (4,), "steps": ()}, "avg"),
    ],
)
def test_a_copy_holds_all_of_the_model_or_of_the_part_it_is_named_after(
    others: Shapes, first: str
) -> None:
    names, notes = kept(others, renamed(lambda name: f"{first}.{name}"))

    assert names == list(others)
    assert notes == (f"left out '{first}': an averaged copy beside the model itself",)


def test_what_a_file_calls_the_model_is_kept_whatever_its_names() -> None:
    shapes = {**NET, **renamed(lambda n: f"ema.{n}"), **renamed(lambda n: f"optimizer.{n}")}
    values = {n: aw.schema.HiddenValues(lambda: None, "float32", s) for n, s in shapes.items()}
    tensors = tuple(StoredTensor(name, value) for name, value in values.items())

    found = weights_alone(Description("any", tensors, is_model=True))

    assert found.tensors == tensors
    assert len(weights_alone(Description("any", tensors)).tensors) == len(NET)


@pytest.mark.parametrize("first", ["criterion", "loss_fn", "train_loss", "loss"])
def test_a_loss_beside_the_model_is_left_out(first: str) -> None:
    names, notes = kept(renamed(lambda n: f"model.{n}"), {f"{first}.weight": (10,)})

    assert names == [f"model.{name}" for name in NET]
    assert notes == (f"left out '{first}': the loss, not the model",)


def test_the_scale_of_an_adapter_is_a_constant() -> None:
    matrices = {"up.lora_up.weight": (4, 2), "up.lora_down.weight": (2, 4)}

    names, notes = kept(matrices, {"up.alpha": ()})

    assert names == list(matrices)
    assert notes == (
        "left out 'up.alpha': constants that scale the matrices beside them, not trained",
    )


def test_what_readers_call_optimizer_state_is_no_weight() -> None:
    values = aw.schema.HiddenValues(lambda: None, "float32", (2,))
    state = StoredTensor("state.a", values, Hints(role=Role.OPTIMIZER))
    description = Description("any", (StoredTensor("fc.weight", values), state))

    found = weights_alone(description)

    assert [tensor.name for tensor in found.tensors] == ["fc.weight"]
    assert found.notes == ("left out 'state': training state, not weights",)
    assert weights_alone(Description("any", (state,))).tensors == (state,)


def test_a_run_says_once_what_was_left_out_of_all_its_checkpoints(tmp_path: Path) -> None:
    for epoch in range(3):
        weights = {name: torch.full(shape, float(epoch)) for name, shape in NET.items()}
        state = {f"optimizer.{name}": torch.ones(shape) for name, shape in NET.items()}
        save_file(weights | state, tmp_path / f"epoch_{epoch}.safetensors")

    run = aw.open_run(tmp_path)

    assert [p.name for p in run.parameters] == ["fc1.weight", "fc1.bias", "fc2.weight"]
    assert run.notes == ("3 checkpoints: left out 'optimizer': training state, not weights",)


def with_counter(folder: Path) -> Path:
    for epoch in range(3):
        arrays = {
            "fc.weight": np.full((2, 3), epoch, np.float32),
            "bn.running_mean": np.full(2, epoch, np.float32),
            "bn.num_batches_tracked": np.array(epoch),
            "attn.relative_position_index": np.arange(4).reshape(2, 2),
        }
        np.savez(folder / f"epoch_{epoch}.npz", **arrays)
    return folder


def test_a_counter_is_no_quantised_weight_where_buffers_are_asked_for(tmp_path: Path) -> None:
    source = with_counter(tmp_path)

    analysis = aw.analyze(source, roles=("weight", "buffer"))

    names = [p.name for p in analysis.header.parameters]
    assert sorted(names) == ["bn.running_mean", "fc.weight"]
    (note,) = analysis.header.notes
    assert "and 1 more: whole numbers (counters, indices, masks), not weights" in note
    assert aw.analyze(source).header.notes == ()


def test_a_run_with_no_buffers_but_counters_says_so(tmp_path: Path) -> None:
    source = with_counter(tmp_path)
    run = aw.open_run(source, skip=["*mean"])

    with pytest.raises(MismatchError, match=r"no parameter has the role buffer.*whole numbers"):
        aw.analyze(run, roles=("buffer",))


def test_quantised_weights_are_still_refused(tmp_path: Path) -> None:
    for epoch in range(2):
        np.savez(tmp_path / f"epoch_{epoch}.npz", **{"fc.weight": np.ones((2, 2), np.int8)})

    with pytest.raises(UnsupportedDtypeError, match="no known scale"):
        aw.analyze(tmp_path)


@pytest.mark.parametrize("unit", ["optimizer_", "lora_.", ".a1.", "exp_avg.", "a", "ema_", "loss_"])
def test_long_names_stay(unit: str) -> None:
    long = unit * (100_000 // len(unit))
    shapes: Shapes = {f"{long}-.alpha": (), f"{long}.weight": (4, 3), "x.alpha": (), **NET}

    names, _ = kept(shapes)

    assert {*NET, f"{long}.weight"} <= {*names}
