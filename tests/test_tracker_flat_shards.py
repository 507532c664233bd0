"""Models in FullyShardedDataParallel, over gloo: the numbers and pictures of one process."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo_processes import Scenes, play
from test_tracker_store import pictures_of
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision, ShardingStrategy

import accweight_core as aw
from accweight_core.errors import ArgumentTypeError
from accweight_core.metrics.sums import SUMS

STEPS, SAVED = 4, 1
"""Updates in all, and the last one before the state is saved and loaded."""

LOWER = MixedPrecision(param_dtype=torch.bfloat16, buffer_dtype=torch.bfloat16)

WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "views": (2, {"use_orig_params": True}),
    "flat": (3, {"use_orig_params": False}),
    "gathered_until_backward": (
        2,
        {"use_orig_params": True, "sharding_strategy": ShardingStrategy.SHARD_GRAD_OP},
    ),
    "whole": (2, {"use_orig_params": True, "sharding_strategy": ShardingStrategy.NO_SHARD}),
    "lower_precision": (2, {"use_orig_params": True, "mixed_precision": LOWER}),
}
"""In how many processes, and how models are sharded, by the name of a store."""

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")


class Model(nn.Module):
    """Two tables that are one, rows that do not divide evenly, running statistics."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(7, 33)
        self.body = nn.Sequential(nn.Linear(33, 301), nn.LayerNorm(301), nn.Linear(301, 33))
        self.norm = nn.BatchNorm1d(33)
        self.lm_head = nn.Linear(33, 7)
        self.lm_head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits."""
        found: Tensor = self.lm_head(self.norm(self.body(self.table(tokens))))
        return found


def in_shards(**options: Any) -> FullyShardedDataParallel:
    """A model with a layer in a shard of its own."""
    model, given = Model(), {"device_id": torch.device("cpu"), **options}
    model.body[0] = FullyShardedDataParallel(model.body[0], **given)
    return FullyShardedDataParallel(model, **given)


def training(tracker: aw.ChangeTracker, model: FullyShardedDataParallel, out: Path) -> Any:
    """Train, and yield each step after its update; the first process writes the whole weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    tokens = torch.arange(28).reshape(14, 2)[:, 0] % 7
    for step in range(STEPS):
        model.train()
        nn.functional.cross_entropy(model(tokens), (tokens + 1) % 7).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            model(tokens)  # some of the weights stay gathered after it
        tracker.update(model, step=step)
        tracker.flush()
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            whole = {n.replace("_fsdp_wrapped_module.", ""): p for n, p in model.named_parameters()}
            whole |= {n: b for n, b in model.module.named_buffers() if n.startswith("norm")}
            if distributed.get_rank() == 0:
                torch.save({n: t.detach().clone() for n, t in whole.items()}, out / f"{step}.pt")
        yield step


def trained(name: str, place: int, processes: int, out: Path) -> None:
    (out / name).mkdir(exist_ok=True)
    store = out / name / "run.accw"
    with aw.ChangeTracker(store, errors="raise", picture_budget_bytes=30_000) as tracker:
        for _ in training(tracker, in_shards(**WAYS[name][1]), out / name):
            pass
        np.save(out / name / f"{place}.npy", tracker.analysis().values)
        torch.save(tracker.state_dict(), out / name / f"state_{place}.pt")


def going_on(place: int, processes: int, out: Path) -> None:
    """Another tracker takes over from the state of the first one."""
    (out / "resumed").mkdir(exist_ok=True)
    first, second = (aw.ChangeTracker(errors="raise") for _ in range(2))
    model = in_shards(use_orig_params=True)
    for step in training(first, model, out / "resumed"):
        if step == SAVED:
            second.load_state_dict(first.state_dict())
        elif step > SAVED:
            second.update(model, step=step)
    assert second.analysis().values.tobytes() == first.analysis().values.tobytes()


def given_what_is_inside(place: int, processes: int, out: Path) -> None:
    for inside in (in_shards(use_orig_params=kept).module for kept in (True, False)):
        with pytest.raises(ArgumentTypeError, match="give the model that FullyShardedDataParallel"):
            aw.ChangeTracker(errors="raise").update(inside)


SCENES: Scenes = (
    *((partial(trained, name), processes) for name, (processes, _) in WAYS.items()),
    (going_on, 3),
    (given_what_is_inside, 2),
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes of all scenes have written."""
    folder = tmp_path_factory.mktemp("played")
    play(folder, SCENES)
    return folder


def alone(folder: Path) -> aw.ChangeTracker:
    """Track the whole weights of the same training in one process."""
    store = folder / "alone.accw"
    with aw.ChangeTracker(store, errors="raise", picture_budget_bytes=30_000) as tracker:
        for step in range(STEPS):
            tracker.update(torch.load(folder / f"{step}.pt", weights_only=True), step=step)
            tracker.flush()
    return tracker


@pytest.mark.parametrize("name", WAYS)
def test_flat_shards_give_the_numbers_and_pictures_of_one_process(played: Path, name: str) -> None:
    expected, processes = alone(played / name), WAYS[name][0]

    values = [np.load(played / name / f"{place}.npy") for place in range(processes)]
    states = [torch.load(played / name / f"state_{p}.pt") for p in range(processes)]
    joined = aw.ChangeTracker().load_state_dict(states)
    ours, theirs = (aw.open_analysis(played / name / f"{n}.accw") for n in ("run", "alone"))

    assert [p.name for p in ours.parameters] == [p.name for p in theirs.parameters]
    assert all(found.tobytes() == ours.values.tobytes() for found in values)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=4e-12)
    for exact in ("path_max", "path_argmax", "step_max", "flips", "nonfinite"):
        place = SUMS.index(exact)
        assert ours.values[..., place].tobytes() == theirs.values[..., place].tobytes()
    for parameter in ours.parameters:
        found, path = (t.cumulative(parameter.name) for t in (joined, expected))
        assert found.tobytes() == path.tobytes()
        assert found.any()
    pairs = zip(pictures_of(ours.store), pictures_of(theirs.store), strict=True)
    for (_, found), (_, path) in pairs:
        assert found.tobytes() == path.tobytes()
