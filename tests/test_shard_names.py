"""Shards without an index: one checkpoint when all are there, else a line with the missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from checkpoints import State, small, states

import accweight_core as aw
from accweight_core.errors import AccweightError
from accweight_core.runs.inspection import inspected
from accweight_core.runs.opening import survey


def cut(state: State, parts: int) -> list[State]:
    """Return a state in parts of neighbouring tensors."""
    names = list(state)
    size = -(-len(names) // parts)
    return [{n: state[n] for n in names[i * size : (i + 1) * size]} for i in range(parts)]


def write_parts(folder: Path, state: State, pattern: str, parts: int = 3) -> None:
    """Write a state in parts, by a pattern with a place for `number` and `count`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(cut(state, parts), 1):
        path = folder / pattern.format(number=number, count=parts)
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(part, path, metadata={"format": "pt"})
        else:
            torch.save(part, path)


PATTERNS = pytest.mark.parametrize(
    "pattern",
    [
        "model-{number:05}-of-{count:05}.safetensors",
        "pytorch_model-{number:05}-of-{count:05}.bin",
        "ft-model-{number:05}-of-{count:05}.safetensors",
    ],
)


def problem(folder: Path) -> str:
    with pytest.raises(AccweightError) as caught:
        aw.open_run(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@PATTERNS
def test_parts_in_folders_of_steps_are_a_run(tmp_path: Path, pattern: str) -> None:
    for step, state in zip((500, 1000, 1500), states(3), strict=True):
        write_parts(tmp_path / f"checkpoint-{step}", state, pattern)
        (tmp_path / f"checkpoint-{step}/config.json").write_text(json.dumps({"a": 1}))

    found = inspected(tmp_path)

    assert found.run is not None
    assert found.run.steps == (500, 1000, 1500)
    assert set(found.opened.checkpoints[0].tensors) == set(states(1)[0])
    assert found.left_out == ()
    assert "3 parts" in found.format


def test_all_parts_have_their_values(tmp_path: Path) -> None:
    for step in (1, 2):
        write_parts(
            tmp_path / f"step_{step}", small(float(step)), "m-{number:05}-of-{count:05}.bin", 2
        )

    analysis = aw.analyze(tmp_path, out=tmp_path / "run.accw")

    assert (analysis.cumulative("fc.weight") == 1).all()
    assert (analysis.cumulative("fc.bias") == 1).all()


@pytest.mark.parametrize("lost", [1, 2, 3])
@PATTERNS
def test_a_missing_part_is_named(tmp_path: Path, pattern: str, lost: int) -> None:
    for step, state in zip((500, 1000), states(2), strict=True):
        write_parts(tmp_path / f"checkpoint-{step}", state, pattern)
    name = pattern.format(number=lost, count=3)
    (tmp_path / "checkpoint-1000" / name).unlink()

    text = problem(tmp_path)

    assert f"whose part '{name}' is missing" in text
    assert "checkpoint-1000" in text


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_an_index_of_another_name_counts_more_than_names(tmp_path: Path, suffix: str) -> None:
    pattern = f"model.fp16-{{number:05}}-of-{{count:05}}.{suffix}"
    for step, state in enumerate(states(2)):
        folder = tmp_path / f"checkpoint-{step}"
        write_parts(folder, state, pattern)
        places = {
            name: pattern.format(number=number, count=3)
            for number, part in enumerate(cut(state, 3), 1)
            for name in part
        }
        index = folder / f"model.{suffix}.index.fp16.json"
        index.write_text(json.dumps({"weight_map": places}))

    found = inspected(tmp_path)

    assert [Path(c.path).name for c in found.opened.checkpoints] == [index.name] * 2
    assert len(found.series) == 1


def test_one_of_one_is_whole(tmp_path: Path) -> None:
    for step in (1, 2):
        folder = tmp_path / f"checkpoint-{step}"
        write_parts(folder, small(float(step)), "model-{number:05}-of-{count:05}.safetensors", 1)

    assert tuple(aw.open_run(tmp_path).steps) == (1, 2)


def test_a_part_that_is_named_alone_says_which_is_the_first(tmp_path: Path) -> None:
    write_parts(tmp_path, states(1)[0], "model-{number:05}-of-{count:05}.safetensors")

    text = problem(tmp_path / "model-00002-of-00003.safetensors")

    assert "model-00001-of-00003.safetensors" in text
    assert survey(tmp_path / "model-00001-of-00003.safetensors").checkpoints


def test_parts_that_are_named_one_by_one_are_one_checkpoint(tmp_path: Path) -> None:
    write_parts(tmp_path, states(1)[0], "model-{number:05}-of-{count:05}.safetensors")

    opened = survey(sorted(tmp_path.iterdir()))

    assert len(opened.checkpoints) == 1


def test_a_tensor_in_two_parts_is_named(tmp_path: Path) -> None:
    for number in (1, 2):
        safetensors.torch.save_file(small(), tmp_path / f"model-{number:05}-of-00002.safetensors")

    assert "'fc.bias' is in model-00002-of-00002.safetensors" in problem(tmp_path)


# torchtune: parts and epochs in one folder


TORCHTUNE = pytest.mark.parametrize(
    "pattern",
    [
        "hf_model_{{number:04}}_{epoch}.pt",
        "model-{{number:05}}-of-{{count:05}}_{epoch}.safetensors",
    ],
)


@TORCHTUNE
def test_epochs_of_torchtune_are_a_run(tmp_path: Path, pattern: str) -> None:
    for epoch, state in enumerate(states(11)):
        write_parts(tmp_path, state, pattern.format(epoch=epoch))
    torch.save(
        {"optimizer": {"state": {}, "param_groups": []}, "seed": 1}, tmp_path / "recipe_state.pt"
    )
    (tmp_path / "config.json").write_text("{}")

    found = inspected(tmp_path)

    assert found.run is not None
    assert found.run.steps == tuple(range(11))
    assert set(found.opened.checkpoints[0].tensors) == set(states(1)[0])


@TORCHTUNE
def test_a_missing_part_of_an_epoch_is_named(tmp_path: Path, pattern: str) -> None:
    for epoch, state in enumerate(states(3)):
        write_parts(tmp_path, state, pattern.format(epoch=epoch))
    name = pattern.format(epoch=1).format(number=2, count=3)
    (tmp_path / name).unlink()

    assert f"whose part '{name}' is missing" in problem(tmp_path)


def test_a_model_of_torchtune_in_one_file_is_whole(tmp_path: Path) -> None:
    for epoch, state in enumerate(states(3)):
        write_parts(tmp_path, state, f"hf_model_{{number:04}}_{epoch}.pt", 1)

    assert tuple(aw.open_run(tmp_path).steps) == (0, 1, 2)
