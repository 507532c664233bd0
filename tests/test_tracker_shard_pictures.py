"""Pictures of sharded models, over gloo: those of one process that has the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo_processes import Scenes, die_together, play, sharded
from test_tracker_store import pictures_of
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import accweight_core as aw
from accweight_core.live import shard_pictures

STEPS, SAVED = 4, 1
"""Updates in all, and the last one before the processes are killed."""

FINE: dict[str, Any] = {"picture_budget_bytes": 1 << 30}
"""One texel per weight."""

COARSE: dict[str, Any] = {"picture_budget_bytes": 300_000}
"""Squares of several weights."""

BUDGETS = {"fine": FINE, "coarse": COARSE}

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")


def model_at(step: int) -> nn.Sequential:
    """A model whose weights depend on the step alone.

    Rows do not divide evenly, some processes hold nothing of the small embedding, the large one is
    folded, channels of kernels run along the columns.
    """
    torch.manual_seed(step)
    model = nn.Sequential(
        nn.Linear(300, 451),
        nn.Conv2d(30, 50, 3),
        nn.Embedding(2, 40),
        nn.Embedding(1501, 48),
        nn.LayerNorm(5),
        nn.Linear(1024, 64),
    )
    for tensor in model.parameters():
        nn.init.normal_(tensor)
    return model


def track(store: Path, models: Any, **options: Any) -> aw.ChangeTracker:
    """Track steps, each written before the next."""
    with aw.ChangeTracker(store, errors="raise", **options) as tracker:
        for step, model in models:
            tracker.update(model, step=step)
            tracker.flush()
    return tracker


def fully(place: int, processes: int, out: Path) -> None:
    name, gather = "fine" if processes == 2 else "coarse", shard_pictures.at_first
    sent: list[int] = []

    def counted(own: Any) -> Any:
        sent.append(len(own))
        return gather(own)

    shard_pictures.at_first = counted
    models = ((step, sharded(model_at(step), processes)) for step in range(STEPS))
    tracker = track(out / f"fully_{name}.accw", models, state_in="files", **BUDGETS[name])
    np.save(out / f"sent_{name}_{place}.npy", sent)
    assert tracker._measuring._batches is not None
    (out / f"room_{name}_{place}.txt").write_text(str(tracker._measuring._batches._room))


def replicated_in_pairs(place: int, processes: int, out: Path) -> None:
    """Shards that two processes each hold, on a mesh of two axes."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("copies", "parts"))
    models = ((step, fully_shard(model_at(step), mesh=mesh)) for step in range(STEPS))
    track(out / "pairs.accw", models, **COARSE)


def on_a_plane(place: int, processes: int, out: Path) -> None:
    """Distributed tensors that are cut in other ways, on a mesh of two axes."""
    mesh = init_device_mesh("cpu", (2, 2))
    models = ((step, cut(model_at(step), mesh)) for step in range(STEPS))
    track(out / "plane.accw", models, **COARSE)


def cut(model: nn.Module, mesh: DeviceMesh) -> dict[str, torch.Tensor]:
    ways = [
        (Shard(0), Replicate()),
        (Replicate(), Shard(0)),
        (Shard(0), Shard(1)),
        (Replicate(), Shard(1)),
        (Replicate(), Replicate()),
    ]
    state = {n: v for n, v in model.state_dict().items() if v.ndim > 1}
    return {
        name: distribute_tensor(values, mesh, way)
        for (name, values), way in zip(state.items(), ways, strict=True)
    }


def until_killed(place: int, processes: int, out: Path) -> None:
    tracker = aw.ChangeTracker(out / "killed.accw", errors="raise", **COARSE)
    for step in range(SAVED + 1):
        tracker.update(sharded(model_at(step), processes), step=step)
        tracker.flush()
    torch.save(tracker.state_dict(), out / f"saved_{place}.pt")
    die_together()


def going_on(place: int, processes: int, out: Path) -> None:
    with aw.ChangeTracker(out / "killed.accw", errors="raise", resume=True, **COARSE) as tracker:
        tracker.load_state_dict(torch.load(out / f"saved_{place}.pt", weights_only=True))
        for step in range(SAVED + 1, STEPS):
            tracker.update(sharded(model_at(step), processes), step=step)
            tracker.flush()


def where_one_cannot_draw(place: int, processes: int, out: Path) -> None:
    """The last process has no memory for one picture of one step."""
    draw = shard_pictures.draw_tile

    def fail(*given: Any) -> Any:
        if place == processes - 1:
            raise MemoryError("no room")
        return draw(*given)

    tracker = aw.ChangeTracker(out / "failing.accw")
    for step in range(STEPS):
        shard_pictures.draw_tile = fail if step == 2 else draw
        tracker.update(sharded(model_at(step), processes), step=step)
        tracker.flush()
    tracker.close()
    (out / f"failing_{place}.txt").write_text(tracker._reports.last)


def with_the_state_of_a_whole(place: int, processes: int, out: Path) -> None:
    """A store with the state of a whole model, continued by processes that hold shards."""
    if place == 0:
        alone = aw.ChangeTracker(out / "whole.accw", errors="raise", keep_state=True, **FINE)
        for step in range(SAVED + 1):
            alone.update(model_at(step), step=step)
            alone.flush()
        alone.close()
        torch.save(alone.state_dict(), out / "whole.pt")
    distributed.barrier()
    with aw.ChangeTracker(out / "whole.accw", errors="raise", resume=True, **FINE) as tracker:
        tracker.load_state_dict(torch.load(out / "whole.pt", weights_only=True))
        for step in range(SAVED + 1, STEPS):
            tracker.update(sharded(model_at(step), processes), step=step)
            tracker.flush()


SCENES: Scenes = (
    (fully, 2),
    (fully, 3),
    (replicated_in_pairs, 4),
    (on_a_plane, 4),
    (until_killed, 3),
    (going_on, 3),
    (where_one_cannot_draw, 2),
    (with_the_state_of_a_whole, 2),
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes of all scenes have written, and stores of one process beside it."""
    folder = tmp_path_factory.mktemp("played")
    play(folder, SCENES)
    models = [model_at(step) for step in range(STEPS)]
    for name, budget in BUDGETS.items():
        store = folder / f"whole_{name}.accw"
        track(store, enumerate(models), **budget)
    planes = [cut_whole(model) for model in models]
    track(folder / "whole_plane.accw", enumerate(planes), **COARSE)
    return folder


def cut_whole(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: v for n, v in model.state_dict().items() if v.ndim > 1}


@pytest.mark.parametrize(
    ("store", "whole"),
    [
        ("fully_fine", "whole_fine"),
        ("fully_coarse", "whole_coarse"),
        ("pairs", "whole_coarse"),
        ("plane", "whole_plane"),
        ("killed", "whole_coarse"),
        ("whole", "whole_fine"),
    ],
)
def test_pictures_of_shards_are_those_of_the_whole(played: Path, store: str, whole: str) -> None:
    ours, theirs = (aw.open_analysis(played / f"{name}.accw") for name in (store, whole))

    assert ours.steps.tolist() == theirs.steps.tolist() == list(range(STEPS))
    assert ours.header.picture_bases == theirs.header.picture_bases
    assert any(theirs.header.picture_bases) == ("fine" not in whole)
    for (name, found), (_, expected) in zip(
        pictures_of(ours.store), pictures_of(theirs.store), strict=True
    ):
        assert found.tobytes() == expected.tobytes(), name
        assert (found[-1] > 0).any(), name


def test_most_weights_are_not_sent(played: Path) -> None:
    elements = sum(parameter.numel() for parameter in model_at(0).parameters())

    sent = sum(np.load(played / f"sent_coarse_{place}.npy").sum() for place in range(3))

    assert sent < STEPS * elements / 3


def test_all_processes_keep_their_state_in_files_beside_the_store(played: Path) -> None:
    rooms = [(played / f"room_fine_{place}.txt").read_text() for place in range(2)]

    assert all("MappedFile" in room for room in rooms)


def test_a_process_that_cannot_draw_costs_the_pictures_of_that_step(played: Path) -> None:
    failing = aw.open_analysis(played / "failing.accw")
    told = [(played / f"failing_{place}.txt").read_text() for place in range(2)]

    blank = {n: np.isnan(p).all(axis=(1, 2)).tolist() for n, p in pictures_of(failing.store)}
    assert failing.steps.tolist() == list(range(STEPS))
    assert set(map(tuple, blank.values())) == {(False, False, True, False)}
    assert told == ["process 1: its part of a picture could not be drawn", "MemoryError: no room"]


def test_the_first_process_that_holds_a_part_gives_it() -> None:
    held = [range(6), range(6, 10), range(10, 10), range(6), range(6, 10)]

    givers = shard_pictures.Givers.of(held)

    assert givers == shard_pictures.Givers((0, 6), (6, 10), (0, 1))
    assert list(givers.within([(1, 2), (4, 9)])) == [(0, 1, 2), (0, 4, 6), (1, 6, 9)]
