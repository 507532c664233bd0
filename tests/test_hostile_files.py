"""Damaged files of every format, by a fixed seed: refused in one line, or described in bounds."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from pathlib import Path

import pytest
from checkpoints import write_safetensors
from fuzzing import is_refused, mutations
from hostile_files import STATE, TARGETS, damage
from thorough import up_to
from trainer_files import write_torch_shards

from accweight_adapters.safetensors_reader import SafetensorsReader
from accweight_adapters.torch.reader import TorchReader
from accweight_core.readers import reader_named

CASES = up_to(200)
CUTS = up_to(100)
MOST_BYTES = 64 << 20
PADDING_BYTES = 64
"""What a format may leave empty at its end, to align what would follow."""


@pytest.mark.parametrize("target", TARGETS)
def test_damage_anywhere_is_refused_in_one_line_or_does_no_harm(
    tmp_path: Path, target: str
) -> None:
    name, write = TARGETS[target]
    reader, files = reader_named(name), write(tmp_path)
    assert not is_refused(reader, files[0])

    tracemalloc.start()
    refusals = sum(damage(reader, files, CASES, seed=zlib.crc32(target.encode())))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert target.endswith("values") or CASES // 30 <= refusals <= CASES
    assert peak < MOST_BYTES


PARTS = ("shard", "chunks", "ranks", "values")
WITHOUT_END = ("matlab", "matlab, compressed")
"""Formats of elements one after the other, of which any number is a whole file."""
FIRST_LAYERS = ("darknet",)
"""Formats of which the first layers are a whole file, which says so in a note."""


@pytest.mark.parametrize(
    "target", [t for t in TARGETS if not t.endswith(PARTS) and t not in WITHOUT_END]
)
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, target: str) -> None:
    name, write = TARGETS[target]
    reader = reader_named(name)
    path, victim = write(tmp_path)
    whole = victim.read_bytes()
    step = max(1, len(whole) // CUTS)

    for length in range(0, len(whole), step):
        victim.write_bytes(whole[:length])
        refused = is_refused(reader, path, names=str(path.parent))
        is_said = target in FIRST_LAYERS and not refused and bool(reader.describe(path).notes)
        assert refused or is_said or len(whole) - length < PADDING_BYTES, length


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


@pytest.mark.parametrize("field", ["weight_map", "metadata"])
@pytest.mark.parametrize("value", [None, [], 3, "x", {"fc.weight": None}, {"fc.weight": 3}, {}])
def test_an_index_with_odd_content_is_refused_or_empty(
    tmp_path: Path, field: str, value: object
) -> None:
    path = write_torch_shards(tmp_path / "pytorch_model.bin.index.json", STATE)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, field: value}))

    is_refused(TorchReader(), path)


def test_the_mutations_are_the_same_every_time_and_all_differ() -> None:
    content = bytes(range(256)) * 4

    first, second = (list(mutations(content, 50, seed=3)) for _ in range(2))

    assert first == second
    assert len(set(first)) > 45
