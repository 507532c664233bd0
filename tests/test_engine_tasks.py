"""Tasks: every block once, as large as asked for, and ending where chunks of pictures end."""

from __future__ import annotations

import math
import pickle
from collections import Counter

import pytest

from accweight_core.accumulate.cutting import blocks_of
from accweight_core.accumulate.walk import ParameterWalk
from accweight_core.jobs.engines import tasks
from accweight_core.jobs.engines.tasks import Job, TaskParameter, block_at, task_bytes, tasks_of
from accweight_core.pictures.layout import layout_of
from accweight_core.pictures.plan import PicturePlan, chunk_of
from accweight_core.pictures.tile import Tile
from accweight_core.pictures.tiling import BLOCK_ELEMENTS, tiling_of
from accweight_core.schema import Axis, Extent, Kind, Parameter, Role, StoredTensor
from accweight_core.store.chunk_grid import ChunkGrid

JOB = Job("token", "/store", None, BLOCK_ELEMENTS, ())
STEPS = 20
SHAPES = [(4096, 4096), (50_000, 256), (300, 7, 7, 200), (3, 2_000_000), (5_000_000,)]


def cargo_of(
    shape: tuple[int, ...], level: int | None, index: int = 0, steps: int = STEPS
) -> TaskParameter:
    """Return a parameter with a picture of a level, or without one."""
    axes = (Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.KERNEL)[: len(shape)]
    parameter = Parameter("w", "w", Kind.LINEAR, Role.WEIGHT, shape, "float32", axes)
    plan = None if level is None else PicturePlan(layout_of(parameter), level, steps)
    tensors = tuple(
        StoredTensor("w", Extent(f"/run/step_{step}.bin", 64, "float32", shape))
        for step in range(steps)
    )
    blocks = (
        blocks_of(shape, BLOCK_ELEMENTS)
        if plan is None
        else tiling_of(plan.layout, plan.base, BLOCK_ELEMENTS).tiles()
    )
    return TaskParameter(
        index, ParameterWalk("w", tensors, blocks), tensors, (), plan, at_once=False
    )


@pytest.mark.parametrize("level", [None, 0, 2, 6])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_block_is_in_one_parcel_in_its_order(
    shape: tuple[int, ...], level: int | None
) -> None:
    size, plan = 40 << 20, cargo_of(shape, level).plan
    sent = list(tasks_of(JOB, [cargo_of(shape, level)], size))

    cuts = [cut for task in sent for cut in task.slices[0].cuts or ()]

    assert len(sent) > 1
    expected = [block.stretches for block in cargo_of(shape, level).walk.blocks]
    assert [block_at(cut, plan).stretches for cut in cuts] == expected
    assert sum(task.size_bytes for task in sent) == math.prod(shape) * 4 * STEPS
    largest = max(sum(b - a for a, b in stretches) for stretches in expected) * 4 * STEPS
    assert all(task.size_bytes >= size for task in sent[:-1])
    assert all(task.size_bytes < 2 * size + largest for task in sent)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("shape", [(4096, 4096), (5_000_000,)], ids=str)
def test_no_chunk_is_shared_where_parcels_are_larger_than_chunks(
    shape: tuple[int, ...], level: int
) -> None:
    item = cargo_of(shape, level)
    assert item.plan
    tiling = tiling_of(item.plan.layout, level, BLOCK_ELEMENTS)
    chunk = chunk_of(tiling, STEPS)
    assert chunk[0] == STEPS or math.prod(tiling.first.size(level)) == math.prod(chunk[1:])
    grid = ChunkGrid(tiling, chunk, (STEPS, *item.plan.size(level)))
    owners: Counter[tuple[int, int]] = Counter()

    for task in tasks_of(JOB, [item], 150 << 20):
        tiles = [block_at(cut, item.plan) for cut in task.slices[0].cuts or ()]
        assert all(isinstance(tile, Tile) for tile in tiles)
        windows = [w for tile in tiles if isinstance(tile, Tile) for w, _ in tile.windows(level)]
        owners.update({place for window in windows for place, _ in grid.touched(window)})

    assert len(owners) > 1
    assert set(owners.values()) == {1}


def test_small_parameters_go_together_and_large_ones_apart() -> None:
    sizes = [(1000, 1000), (10,), (1000, 1000), (20,), (3000, 3000), (30,)]
    sendable = [cargo_of(shape, 0, index) for index, shape in enumerate(sizes)]

    sent = list(tasks_of(JOB, sendable, 100 << 20))

    members = [[slice_.index for slice_ in task.slices] for task in sent]
    assert members[0] == [0, 1]
    assert members[1:-1] == [[4]] * 6
    assert members[-1] == [2, 3, 5]
    assert [p.slices[0].cuts is not None for p in sent] == [m == [4] for m in members]


def test_a_parcel_speaks_of_a_bounded_number_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MOST_TENSORS", 5 * STEPS)
    sendable = [cargo_of((10,), 0, index) for index in range(12)]

    sent = list(tasks_of(JOB, sendable, 1 << 30))

    assert [len(task.slices) for task in sent] == [5, 5, 2]


def test_parcels_are_cut_when_they_are_asked_for() -> None:
    item = cargo_of((100_000, 100_000), 8)  # 40 GB a checkpoint: 38,000 tiles
    found = tasks_of(JOB, [item], 1 << 30)

    first = next(found)

    assert len(first.slices[0].cuts or ()) < 100


def test_a_parcel_of_a_hundred_checkpoints_is_small_to_send() -> None:
    item = cargo_of((8192, 8192), 6, steps=100)

    first = next(tasks_of(JOB, [item], 1 << 30))

    assert len(pickle.dumps(first)) < 20_000


def test_parcels_grow_with_the_run_and_shrink_with_the_workers() -> None:
    assert task_bytes(14 << 40, 1000) == 14 * (1 << 40) // 16_000
    assert task_bytes(14 << 40, 10) == 1 << 30
    assert task_bytes(1 << 30, 1000) == 32 << 20
    assert task_bytes(14 << 40, 0) == 256 << 20
