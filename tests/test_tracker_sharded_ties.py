"""Layers with fewer rows than there are processes: whether an output layer is the embedding."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from gloo_processes import Scenes, play
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor

import accweight_core as aw

ROWS, STEPS = 3, 3
"""Rows of the embedding: of four processes the last has none, of two the second of one row."""

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")


class Language(nn.Module):
    """An embedding and an output layer of few tokens."""

    def __init__(self, step: int, rows: int, *, is_tied: bool) -> None:
        super().__init__()
        torch.manual_seed(step)
        self.embed = nn.Embedding(rows, 8)
        self.fc = nn.Linear(8, 8)
        self.lm_head = nn.Linear(8, rows, bias=False)
        if is_tied:
            self.lm_head.weight = self.embed.weight


def tracked(place: int, processes: int, folder: Path, *, is_tied: bool, way: str) -> None:
    """Track shards in each process."""
    mesh = init_device_mesh("cpu", (processes,))
    tracker = aw.ChangeTracker(errors="raise")
    for step in range(STEPS):
        model = Language(step, ROWS if processes == 4 else 1, is_tied=is_tied)
        if way == "fully_shard":
            tracker.update(fully_shard(model, mesh=mesh), step)
            continue
        shards = {
            parameter: distribute_tensor(parameter.detach(), mesh, [Shard(0)])
            for parameter in model.parameters()
        }
        named = model.named_parameters(remove_duplicate=False)
        tracker.update({name: shards[parameter] for name, parameter in named}, step)
    analysis = tracker.analysis()
    names = [parameter.name for parameter in analysis.parameters]
    np.savez(folder / f"{processes}_{is_tied}_{way}_{place}.npz", values=analysis.values, n=names)


WAYS = ["fully_shard", "distribute_tensor"]
TIED = [False, True]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes have written."""
    folder = tmp_path_factory.mktemp("ties")
    scenes: Scenes = [
        (partial(tracked, is_tied=is_tied, way=way), processes)
        for processes in (2, 4)
        for is_tied in TIED
        for way in WAYS
    ]
    play(folder, scenes)
    return folder


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("is_tied", TIED)
@pytest.mark.parametrize("way", WAYS)
def test_all_processes_track_an_output_layer_of_its_own_and_none_that_is_the_embedding(
    played: Path, processes: int, way: str, *, is_tied: bool
) -> None:
    tracker = aw.ChangeTracker(errors="raise")
    for step in range(STEPS):
        tracker.update(Language(step, ROWS if processes == 4 else 1, is_tied=is_tied), step)
    whole = tracker.analysis()

    for place in range(processes):
        with np.load(played / f"{processes}_{is_tied}_{way}_{place}.npz") as found:
            assert found["n"].tolist() == [parameter.name for parameter in whole.parameters]
            np.testing.assert_allclose(found["values"], whole.values, rtol=4e-12)

    assert ("lm_head.weight" in [p.name for p in whole.parameters]) is not is_tied
