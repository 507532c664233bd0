"""Damaged files of trainers, by a fixed seed: refused in one line, or described within bounds."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import small, write_safetensors
from fuzzing import is_refused, mutations
from trainer_files import (
    copy_sharded,
    write_distributed,
    write_lightning,
    write_sb3,
    write_torch_shards,
)

from accweight_adapters.dcp_reader import DistributedReader
from accweight_adapters.safetensors_reader import SafetensorsReader
from accweight_adapters.sb3_reader import StableBaselinesReader
from accweight_adapters.torch_reader import TorchReader
from accweight_core.readers import Reader

STATE = {name: value for name, value in small().items()}
CASES = 200

Target = tuple[Path, Path]
"""The file that is described, and the one that is damaged."""


def _lightning(folder: Path) -> Target:
    path = write_lightning(folder / "a.ckpt", STATE)
    return path, path


def _legacy_lightning(folder: Path) -> Target:
    """Return a file whose pickle has no checksum, so that damage reaches the parser."""
    path = write_lightning(folder / "a.ckpt", STATE, is_zip=False)
    return path, path


def _index(folder: Path) -> Target:
    path = write_torch_shards(folder / "pytorch_model.bin.index.json", STATE)
    return path, path


def _shard(folder: Path) -> Target:
    path = write_torch_shards(folder / "pytorch_model.bin.index.json", STATE)
    return path, folder / "pytorch_model-00001-of-00002.bin"


def _metadata(folder: Path) -> Target:
    path = write_distributed(folder, STATE)
    return path, path


def _chunks(folder: Path) -> Target:
    path = write_distributed(folder, STATE)
    return path, folder / "__0_0.distcp"


def _sharded_metadata(folder: Path) -> Target:
    path = copy_sharded(folder)
    return path, path


def _sharded_chunks(folder: Path) -> Target:
    path = copy_sharded(folder)
    return path, folder / "__3_0.distcp"


def _stored_policy(folder: Path) -> Target:
    path = write_sb3(folder / "a.zip", STATE)
    return path, path


def _deflated_policy(folder: Path) -> Target:
    path = write_sb3(folder / "a.zip", STATE, zipfile.ZIP_DEFLATED)
    return path, path


TARGETS: dict[str, tuple[Reader, Callable[[Path], Target]]] = {
    "lightning": (TorchReader(), _lightning),
    "legacy lightning": (TorchReader(), _legacy_lightning),
    "index": (TorchReader(), _index),
    "shard": (TorchReader(), _shard),
    "metadata": (DistributedReader(), _metadata),
    "chunks": (DistributedReader(), _chunks),
    "metadata of four": (DistributedReader(), _sharded_metadata),
    "chunks of four": (DistributedReader(), _sharded_chunks),
    "policy": (StableBaselinesReader(), _stored_policy),
    "compressed policy": (StableBaselinesReader(), _deflated_policy),
}


@pytest.mark.parametrize("target", TARGETS)
def test_damage_anywhere_is_refused_in_one_line_or_does_no_harm(
    tmp_path: Path, target: str
) -> None:
    reader, write = TARGETS[target]
    path, victim = write(tmp_path)
    whole = victim.read_bytes()
    assert not is_refused(reader, path)
    refusals = 0

    for damaged in mutations(whole, CASES, seed=20261121):
        victim.write_bytes(damaged)
        refusals += is_refused(reader, path, names=str(path.parent))

    assert CASES // 30 < refusals <= CASES


def test_damage_to_the_state_of_the_trainer_never_costs_the_weights(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", STATE)
    source = Path(__file__).parent / "data" / "hf_trainer" / "full" / "checkpoint-4"
    victim = tmp_path / "trainer_state.json"
    whole = (source / "trainer_state.json").read_bytes()

    for damaged in mutations(whole, 2 * CASES, seed=20261121):
        victim.write_bytes(damaged)
        description = SafetensorsReader().describe(path)
        assert len(description.tensors) == 2
        assert all("\n" not in note for note in description.notes)
        assert all(name.isprintable() for name in description.measures)


@pytest.mark.parametrize("target", ["lightning", "metadata", "policy"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, target: str) -> None:
    reader, write = TARGETS[target]
    path, victim = write(tmp_path)
    whole = victim.read_bytes()
    step = max(1, len(whole) // 150)

    for length in range(0, len(whole), step):
        victim.write_bytes(whole[:length])
        assert is_refused(reader, path, names=str(path.parent)), length


@pytest.mark.parametrize("field", ["weight_map", "metadata"])
@pytest.mark.parametrize("value", [None, [], 3, "x", {"fc.weight": None}, {"fc.weight": 3}, {}])
def test_an_index_with_odd_content_is_refused_or_empty(
    tmp_path: Path, field: str, value: object
) -> None:
    path, _ = _index(tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, field: value}))

    is_refused(TorchReader(), path)


def test_the_mutations_are_the_same_every_time_and_all_differ() -> None:
    content = bytes(range(256)) * 4

    first, second = (list(mutations(content, 50, seed=3)) for _ in range(2))

    assert first == second
    assert len(set(first)) > 45
