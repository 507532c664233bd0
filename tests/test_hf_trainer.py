"""Runs of Hugging Face's Trainer: real folders, what lies beside the weights, shards, adapters."""

from __future__ import annotations

import json
import os
import shutil
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import small, write_safetensors, write_sharded
from safetensors.torch import load_file
from test_torch_reader import Mischief

import accweight_core as aw
from accweight_adapters.hf_trainer_state import STATE_FILE
from accweight_adapters.lora import with_lora_layers
from accweight_adapters.safetensors_reader import SafetensorsReader
from accweight_adapters.torch.reader import TorchReader
from accweight_core.errors import FormatError, SourceError
from accweight_core.runs.opening import survey
from accweight_core.runs.selection import Selection
from accweight_core.schema import Description, Extent, Kind, Role, StoredTensor
from accweight_core.testing import values_of

DATA = Path(__file__).parent / "data" / "hf_trainer"
INDEX = "pytorch_model.bin.index.json"
ORIGIN = "in file: global_step of trainer_state.json"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a copy of the real run of a whole model."""
    return Path(shutil.copytree(DATA / "full", tmp_path / "run"))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Return a copy of one real checkpoint in shards of torch.save; its index."""
    folder = shutil.copytree(DATA / "sharded" / "checkpoint-2", tmp_path / "checkpoint-2")
    return Path(folder) / INDEX


def written(folder: Path, state: object) -> Path:
    """Write weights and, beside them, what is to be the state of the Trainer."""
    folder.mkdir(parents=True, exist_ok=True)
    text = state if isinstance(state, str) else json.dumps(state)
    (folder / STATE_FILE).write_text(text)
    return write_safetensors(folder / "model.safetensors", small())


def described(folder: Path, state: object) -> Description:
    return SafetensorsReader().describe(written(folder, state))


def problem_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        TorchReader().describe(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- a real run


def test_a_real_run_opens_by_its_folder(run: Path) -> None:
    opened = survey(run)

    assert opened.reader == "safetensors"
    assert [(c.step, c.step_source) for c in opened.checkpoints] == [
        (step, ORIGIN) for step in (2, 4, 6)
    ]
    assert [Path(c.path).parent.name for c in opened.checkpoints] == [
        "checkpoint-2",
        "checkpoint-4",
        "checkpoint-6",
    ]


def test_the_weights_of_a_real_run_are_those_the_library_reads(run: Path) -> None:
    for checkpoint in survey(run).checkpoints:
        expected = load_file(checkpoint.path)

        assert set(checkpoint.tensors) == set(expected)
        for name, tensor in checkpoint.tensors.items():
            np.testing.assert_array_equal(values_of(tensor), expected[name].numpy())


def test_the_figures_of_a_real_run_are_the_last_ones_logged(run: Path) -> None:
    checkpoint = survey(run).checkpoints[1]

    history = json.loads((run / "checkpoint-4" / STATE_FILE).read_text())["log_history"]
    train = next(entry for entry in history if entry["step"] == 4 and "loss" in entry)
    evaluated = next(entry for entry in history if entry["step"] == 4 and "eval_loss" in entry)
    assert checkpoint.measures == {
        "grad_norm": train["grad_norm"],
        "learning_rate": train["learning_rate"],
        "loss": train["loss"],
        "eval_accuracy": evaluated["eval_accuracy"],
        "eval_loss": evaluated["eval_loss"],
        "epoch": train["epoch"],
    }


def test_the_best_checkpoint_and_the_final_model_are_only_noted(run: Path) -> None:
    notes = survey(run).notes

    assert (
        "2 checkpoints: trainer_state.json names 'checkpoint-2' as the best checkpoint so far"
        in (notes)
    )
    assert "model.safetensors left out: it lies above the folders of the checkpoints" in notes


def test_what_the_trainer_keeps_beside_the_weights_is_never_opened(run: Path) -> None:
    for pattern in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        for path in run.rglob(pattern):
            path.unlink()
            path.symlink_to("/proc/self/mem")  # cannot be read by anyone

    assert [c.step for c in survey(run).checkpoints] == [2, 4, 6]


def test_a_real_run_is_analysed(run: Path) -> None:
    first, *_, last = (load_file(run / f"checkpoint-{n}" / "model.safetensors") for n in (2, 4, 6))

    analysis = aw.analyze(aw.open_run(run))

    ranking = analysis.ranking(by="net_mean")
    row = ranking[ranking["layer"] == "classifier"].iloc[0]
    moved = (last["classifier.weight"] - first["classifier.weight"]).abs().mean().item()
    assert row["net_mean"] == pytest.approx(moved, rel=1e-6)


# ---------------------------------------------------------------- folders that are not complete


def test_a_folder_that_lost_its_weights_is_noted_and_the_others_are_read(run: Path) -> None:
    (run / "checkpoint-4" / "model.safetensors").unlink()

    opened = survey(run)

    assert [c.step for c in opened.checkpoints] == [2, 6]
    assert (
        "checkpoint-4 left out: no weights there; was a save or a removal interrupted?"
        in opened.notes
    )


def test_a_folder_left_out_by_a_pattern_is_not_called_lost(run: Path) -> None:
    opened = survey(run, Selection.of(exclude=["checkpoint-4/*"]))

    assert [c.step for c in opened.checkpoints] == [2, 6]
    assert not any("checkpoint-4" in note for note in opened.notes)


def test_an_unfinished_save_is_left_out_with_a_note(run: Path) -> None:
    shutil.copytree(run / "checkpoint-6", run / "tmp-checkpoint-8")

    opened = survey(run)

    assert [c.step for c in opened.checkpoints] == [2, 4, 6]
    assert "tmp-checkpoint-8 left out: the save was not finished" in opened.notes


def test_one_checkpoint_counts_more_than_the_final_model_above_it(run: Path) -> None:
    for step in (2, 4):
        shutil.rmtree(run / f"checkpoint-{step}")

    opened = survey(run)

    assert [(c.step, Path(c.path).parent.name) for c in opened.checkpoints] == [(6, "checkpoint-6")]


def test_a_final_model_in_shards_does_not_hide_the_checkpoints(run: Path) -> None:
    (run / "model.safetensors").unlink()
    write_sharded(run / "model.safetensors.index.json", small(), 3)

    assert [c.step for c in survey(run).checkpoints] == [2, 4, 6]


def test_the_name_of_the_folder_gives_the_step_where_one_state_is_missing(run: Path) -> None:
    (run / "checkpoint-4" / STATE_FILE).unlink()

    opened = survey(run)

    assert [(c.step, c.step_source) for c in opened.checkpoints] == [
        (step, "in name: checkpoint") for step in (2, 4, 6)
    ]


def test_naming_the_reader_passes_over_the_settings_too(run: Path) -> None:
    opened = survey(run, Selection(reader="safetensors"))

    assert [c.step for c in opened.checkpoints] == [2, 4, 6]


# ---------------------------------------------------------------- trainer_state.json


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"x"', "{'a': 1}", "[" * 100_000, '{"global_step": ' + "1" * 5000],
    ids=lambda text: text[:12],
)
def test_a_damaged_state_is_noted_and_does_not_cost_the_weights(tmp_path: Path, text: str) -> None:
    description = described(tmp_path, text)

    assert len(description.tensors) == 2
    assert (description.step, description.measures) == (None, {})
    assert description.notes == (
        "trainer_state.json beside it is damaged; its step and figures are not known",
    )


@pytest.mark.parametrize("step", [None, True, -1, 2**62, 2.0, "5", [5]])
def test_a_step_that_is_no_step_does_not_count(tmp_path: Path, step: object) -> None:
    description = described(tmp_path, {"global_step": step, "epoch": 1.5})

    assert (description.step, description.step_key) == (None, "")
    assert description.measures == {"epoch": 1.5}


def test_figures_are_numbers_and_what_is_logged_of_the_machine_is_none(
    tmp_path: Path,
) -> None:
    entry = {
        "loss": nan,
        "grad_norm": inf,
        "eval_matthews": 0.25,
        "rewards/chosen": 1,
        "is_best": True,
        "text": "0.5",
        "nested": {"loss": 1},
        "bad\nname": 0.5,
        "": 0.5,
        "huge": 10**400,
        "eval_runtime": 1.0,
        "eval_samples_per_second": 9.0,
        "eval_model_preparation_time": 0.1,
        "total_flos": 1e12,
        "step": 3,
        "epoch": 0.5,
    }

    measures = described(tmp_path, {"global_step": 3, "log_history": [entry], "epoch": True})

    expected = {"loss": nan, "grad_norm": inf, "eval_matthews": 0.25, "rewards/chosen": 1.0}
    assert measures.measures == pytest.approx(expected, nan_ok=True)


def test_figures_logged_after_the_step_do_not_count(tmp_path: Path) -> None:
    history = [{"step": n, "loss": 10.0 - n} for n in (1, 2, 3)] + ["x", {"loss": 7.0, "step": "?"}]

    measures = described(tmp_path, {"global_step": 2, "log_history": history[:3]}).measures

    assert measures == {"loss": 8.0}
    assert described(tmp_path, {"log_history": history}).measures == {"loss": 7.0}


def test_there_is_a_limit_to_figures(tmp_path: Path) -> None:
    history = [{f"loss_{n}": 1.0 for n in range(1000)}]

    assert len(described(tmp_path, {"log_history": history}).measures) == 64


def test_a_best_checkpoint_of_any_system_is_named_by_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-5"

    notes = [
        described(folder, {"best_model_checkpoint": best}).notes
        for best in ("out\\checkpoint-3", "/a/checkpoint-3", "out/checkpoint-5", None, 3, "a/\n")
    ]

    named = "trainer_state.json names 'checkpoint-3' as the best checkpoint so far"
    assert notes[:5] == [(named,), (named,), (), (), ()]
    assert "\n" not in notes[5][0]


def test_files_with_names_of_their_own_do_not_take_the_step_of_the_folder(tmp_path: Path) -> None:
    written(tmp_path, {"global_step": 7})
    names = ["epoch_1.safetensors", "epoch_2.safetensors"]
    steps = [
        SafetensorsReader().describe(write_safetensors(tmp_path / name, small())).step
        for name in names
    ]

    assert steps == [None, None]


def test_weights_of_torch_save_take_the_step_of_the_folder(tmp_path: Path) -> None:
    written(tmp_path, {"global_step": 7})
    torch.save(small(), tmp_path / "pytorch_model.bin")

    description = TorchReader().describe(tmp_path / "pytorch_model.bin")

    assert (description.step, description.step_key) == (7, "global_step of trainer_state.json")


# ---------------------------------------------------------------- shards of torch.save


def test_real_shards_are_followed_by_their_index() -> None:
    opened = survey(DATA / "sharded")

    assert [(c.step, Path(c.path).name) for c in opened.checkpoints] == [(2, INDEX), (4, INDEX)]
    for checkpoint in opened.checkpoints:
        shards = sorted(Path(checkpoint.path).parent.glob("*.bin"))
        expected = {k: v for shard in shards for k, v in torch.load(shard).items()}
        assert list(checkpoint.tensors) == list(expected)
        for name, tensor in checkpoint.tensors.items():
            np.testing.assert_array_equal(values_of(tensor), expected[name].numpy())
        assert checkpoint.size_bytes == sum(
            path.stat().st_size for path in (*shards, Path(checkpoint.path))
        )


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded.parent / "pytorch_model-00002-of-00002.bin").unlink()

    assert problem_of(sharded) == (
        f"{sharded}: its shard 'pytorch_model-00002-of-00002.bin' is missing; "
        "copy it beside the index"
    )


def test_a_damaged_shard_is_named(sharded: Path) -> None:
    shard = sharded.parent / "pytorch_model-00002-of-00002.bin"
    shard.write_bytes(shard.read_bytes()[:1000])

    assert problem_of(sharded).startswith(f"{shard}: its zip directory is missing")


def reindexed(index: Path, **places: str) -> Path:
    content = json.loads(index.read_text())
    content["weight_map"] |= places
    index.write_text(json.dumps(content))
    return index


@pytest.mark.parametrize(
    "name",
    [
        "../secret.bin",
        "/etc/secret.bin",
        "a/b.bin",
        "..\\secret.bin",
        "a\nb.bin",
        "./x.bin",
        ".bin",
    ],
)
def test_a_shard_outside_the_folder_is_refused(sharded: Path, name: str) -> None:
    torch.save({"w": torch.ones(1)}, sharded.parent.parent / "secret.bin")

    text = problem_of(reindexed(sharded, w=name))

    assert "names a shard" in text or "is missing" in text


def test_a_link_that_leads_out_of_the_folder_is_refused(sharded: Path, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "secret.bin")
    (sharded.parent / "inner.bin").symlink_to(tmp_path / "secret.bin")

    assert "leads out of the index's folder" in problem_of(reindexed(sharded, w="inner.bin"))


def test_an_index_that_lies_about_a_place_is_an_error(sharded: Path) -> None:
    reindexed(sharded, **{"classifier.bias": "pytorch_model-00001-of-00002.bin"})

    assert "says that tensor 'classifier.bias' is in" in problem_of(sharded)


def test_shards_of_another_save_beside_the_index_are_not_read(sharded: Path) -> None:
    (sharded.parent / "pytorch_model-00003-of-00003.bin").write_bytes(b"garbage")
    (sharded.parent / "pytorch_model-00001-of-00001.bin").write_bytes(b"garbage")

    opened = survey(sharded.parent)

    assert [Path(c.path).name for c in opened.checkpoints] == [INDEX]


def test_tensors_that_the_index_does_not_list_are_left_out_with_a_note(sharded: Path) -> None:
    content = json.loads(sharded.read_text())
    del content["weight_map"]["classifier.bias"]
    sharded.write_text(json.dumps(content))

    description = TorchReader().describe(sharded)

    assert "classifier.bias" not in [t.name for t in description.tensors]
    assert "left out 1 tensors of the shards that the index does not list" in description.notes


def test_a_prefix_is_stripped_where_the_names_of_all_shards_have_it(tmp_path: Path) -> None:
    for number, name in enumerate(("module.a.weight", "module.b.weight"), start=1):
        torch.save({name: torch.ones(1)}, tmp_path / f"{number}.bin")
    index = tmp_path / INDEX
    places = {"module.a.weight": "1.bin", "module.b.weight": "2.bin"}
    index.write_text(json.dumps({"weight_map": places}))

    assert [t.name for t in TorchReader().describe(index).tensors] == ["a.weight", "b.weight"]


def test_a_shard_that_holds_code_is_refused_and_runs_nothing(sharded: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"w": Mischief(marker)}, sharded.parent / "evil.bin")

    text = problem_of(reindexed(sharded, w="evil.bin"))

    assert "evil.bin" in text
    assert "system'" in text
    assert not marker.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", STATE_FILE])
def test_other_json_is_no_index(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps({"weight_map": {"a": "b.txt"}, "global_step": 3}))

    assert not TorchReader().recognises(tmp_path / name)
    with pytest.raises(SourceError, match="no checkpoints found"):
        survey(tmp_path)


def test_an_index_is_of_the_reader_of_its_shards(tmp_path: Path, sharded: Path) -> None:
    other = write_sharded(tmp_path / "model.safetensors.index.json", small())

    assert TorchReader().recognises(sharded)
    assert not TorchReader().recognises(other)
    assert SafetensorsReader().recognises(other)
    assert not SafetensorsReader().recognises(sharded)


# ---------------------------------------------------------------- adapters


def test_a_real_run_of_adapters_ranks_the_layers_they_adapt() -> None:
    opened = aw.open_run(DATA / "lora")

    assert list(opened.steps) == [2, 4, 6]
    layers = {layer.name: layer for layer in opened.layers}
    query = layers["bert.encoder.layer.0.attention.self.query"]
    assert query.kind is Kind.LINEAR
    assert [(p.name.removeprefix(query.name), p.role) for p in query.parameters] == [
        (".lora_A.weight", Role.WEIGHT),
        (".lora_B.weight", Role.WEIGHT),
    ]
    assert [p.name for p in layers["classifier"].parameters] == [
        "classifier.weight",
        "classifier.bias",
    ]


def test_the_weights_of_real_adapters_are_those_the_library_reads() -> None:
    path = DATA / "lora" / "checkpoint-4" / "adapter_model.safetensors"
    expected = load_file(path)

    tensors = SafetensorsReader().describe(path).tensors

    assert len(tensors) == len(expected)
    for tensor in tensors:
        saved = expected[f"base_model.model.{tensor.name}"]
        np.testing.assert_array_equal(values_of(tensor), saved.numpy())


def test_adapters_saved_by_torch_are_read_alike(tmp_path: Path) -> None:
    state = load_file(DATA / "lora" / "checkpoint-4" / "adapter_model.safetensors")
    torch.save(state, tmp_path / "adapter_model.bin")

    tensors = TorchReader().describe(tmp_path / "adapter_model.bin").tensors

    assert {t.hints.kind for t in tensors if ".lora_" in t.name} == {Kind.LINEAR}
    assert not any(t.name.startswith("base_model") for t in tensors)


def tensor(name: str, *shape: int) -> StoredTensor:
    return StoredTensor(name, Extent("file", 0, "float32", shape))


def hints_of(*tensors: StoredTensor) -> list[tuple[str, str | None, Kind | None]]:
    return [(t.name, t.hints.layer, t.hints.kind) for t in with_lora_layers(tensors)]


def test_adapters_of_all_kinds_name_their_layer() -> None:
    found = hints_of(
        tensor("base_model.model.conv.lora_A.weight", 2, 3, 3, 3),
        tensor("base_model.model.embed.lora_embedding_A", 2, 9),
        tensor("base_model.model.q_proj.lora_B.default.weight", 8, 2),
        tensor("base_model.model.q_proj.lora_magnitude_vector", 8),
        tensor("base_model.model.to_q.lora.up.weight", 8, 2),
        tensor("base_model.model.processor.to_k_lora.down.weight", 2, 8),
        tensor("base_model.model.processor.qkv_lora1.up.weight", 8, 2),
        tensor("base_model.model.q_proj.base_layer.weight", 8, 8),
        tensor("base_model.model.norm.weight", 8),
    )

    assert found == [
        ("conv.lora_A.weight", "conv", Kind.CONV),
        ("embed.lora_embedding_A", "embed", Kind.EMBEDDING),
        ("q_proj.lora_B.default.weight", "q_proj", Kind.LINEAR),
        ("q_proj.lora_magnitude_vector", "q_proj", Kind.LINEAR),
        ("to_q.lora.up.weight", "to_q", Kind.LINEAR),
        ("processor.to_k_lora.down.weight", "processor.to_k", Kind.LINEAR),
        ("processor.qkv_lora1.up.weight", "processor.qkv_lora1", Kind.LINEAR),
        ("q_proj.base_layer.weight", "q_proj", None),
        ("norm.weight", None, None),
    ]


@pytest.mark.parametrize("name", ["fc.weight", "base_model.model.fc.weight", "my.lora_A_old"])
def test_models_without_adapters_are_left_as_they_are(name: str) -> None:
    assert hints_of(tensor(name, 2, 2)) == [(name, None, None)]


def test_the_prefix_stays_where_only_some_names_have_it() -> None:
    found = hints_of(tensor("base_model.model.fc.lora_A.weight", 2, 2), tensor("head.weight", 2))

    assert found[0][:2] == ("base_model.model.fc.lora_A.weight", "base_model.model.fc")


def test_a_state_that_is_no_file_is_passed_over(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", small())
    os.mkfifo(tmp_path / STATE_FILE)

    description: Any = SafetensorsReader().describe(path)

    assert (description.step, description.notes) == (None, ())
