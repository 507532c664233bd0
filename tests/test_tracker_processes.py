"""A model that two processes train together, over gloo: replicated, sharded, or in two parts."""

from __future__ import annotations

import os
import signal
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import accweight_core as aw

STEPS = 4

WIDTHS = {"whole": 4096, "cut": 1000}
"""Columns of a matrix of 16 rows: each process gets whole sub-blocks, or the one that is cut."""

pytestmark = pytest.mark.skipif(not distributed.is_gloo_available(), reason="needs gloo")


def model_at(step: int, width: int) -> nn.Module:
    """A model whose weights depend on the step alone."""
    torch.manual_seed(step)
    return nn.Sequential(nn.Linear(width, 16), nn.Conv1d(3, 5, 2), nn.Embedding(7, 12))


def tracked(models: list[nn.Module], **options: Any) -> aw.ChangeTracker:
    tracker = aw.ChangeTracker(errors="raise", **options)
    for step, model in enumerate(models):
        tracker.update(model, step=step, loss=step / 4)
    return tracker


def alone(width: int) -> aw.ChangeTracker:
    return tracked([model_at(step, width) for step in range(STEPS)])


def train(rank: int, folder: str) -> None:
    """Train in one of two processes, and write what it has tracked."""
    torch.set_num_threads(1)
    out = Path(folder)
    distributed.init_process_group(
        "gloo", init_method=f"file://{out / 'meeting'}", rank=rank, world_size=2
    )
    try:
        replicated(rank, out)
        for name, width in WIDTHS.items():
            sharded(rank, out, name, width)
        in_parts(rank, out)
        failing(rank, out)
    finally:
        distributed.destroy_process_group()


def both(_rank: int, folder: str) -> None:
    """Train in this process and in its twin, which is forked when all is imported."""
    twin = os.fork()
    if not twin:
        try:
            train(1, folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    try:
        train(0, folder)
    except BaseException:
        os.kill(twin, signal.SIGKILL)  # it waits for this one
        raise
    finally:
        _, status = os.waitpid(twin, 0)
    assert status == 0


def replicated(rank: int, out: Path) -> None:
    models = [DistributedDataParallel(model_at(step, 1000)) for step in range(STEPS)]
    with tracked(models, store=out / "ddp.accw") as tracker:
        (out / f"ddp_{rank}").write_text(str(len(tracker._measuring.steps)))


def sharded(rank: int, out: Path, name: str, width: int) -> None:
    mesh = init_device_mesh("cpu", (2,))
    models = [model_at(step, width) for step in range(STEPS)]
    for model in models:
        for layer in model:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    store = out / f"{name}.accw"
    with tracked(models, store=store) as tracker:
        np.save(out / f"{name}_{rank}.npy", tracker.analysis().values)


def in_parts(rank: int, out: Path) -> None:
    models = [nn.ModuleDict({str(rank): model_at(step, 1000)[rank]}) for step in range(STEPS)]
    tracker = tracked(models, each_rank=True)
    torch.save(tracker.state_dict(), out / f"part_{rank}.pt")


def failing(rank: int, out: Path) -> None:
    mesh = init_device_mesh("cpu", (2,))
    tracker = aw.ChangeTracker()
    for step in range(STEPS):
        model = model_at(step, 1000)
        fully_shard(model, mesh=mesh)
        given: Any = model.state_dict()
        if step == 2 and rank == 1:
            given = {name: value for name, value in given.items() if name != "0.weight"}
        tracker.update(given, step=step)
    (out / f"failing_{rank}").write_text(str(tracker._measuring.steps))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have written."""
    folder = tmp_path_factory.mktemp("trained")
    torch.multiprocessing.spawn(both, (str(folder),), nprocs=1)
    return folder


def test_the_first_process_alone_tracks_a_model_that_each_has(trained: Path) -> None:
    stored = aw.open_analysis(trained / "ddp.accw")

    assert stored.values.tobytes() == alone(1000).analysis().values.tobytes()
    assert [(trained / f"ddp_{rank}").read_text() for rank in range(2)] == [str(STEPS), "0"]


def test_shards_of_whole_sub_blocks_give_the_bits_of_one_process(trained: Path) -> None:
    whole = alone(WIDTHS["whole"]).analysis()
    matrix = whole.parameter_index("0.weight")

    for found in (np.load(trained / f"whole_{rank}.npy") for rank in range(2)):
        assert found[:, matrix].tobytes() == whole.values[:, matrix].tobytes()


@pytest.mark.parametrize("name", WIDTHS)
def test_shards_give_the_numbers_of_one_process(trained: Path, name: str) -> None:
    expected = alone(WIDTHS[name]).analysis()

    ours = [np.load(trained / f"{name}_{rank}.npy") for rank in range(2)]
    stored = aw.open_analysis(trained / f"{name}.accw")

    assert ours[0].tobytes() == ours[1].tobytes() == stored.values.tobytes()
    np.testing.assert_allclose(ours[0], expected.values, rtol=4e-12)
    assert stored.header.maximum == expected.header.maximum
    assert stored.header.measures["loss"].tolist() == [step / 4 for step in range(STEPS)]


def test_parts_of_a_model_are_merged(trained: Path) -> None:
    states = [torch.load(trained / f"part_{rank}.pt", weights_only=True) for rank in range(2)]

    first, second = (aw.ChangeTracker(each_rank=True).load_state_dict(state) for state in states)

    names = [p.name for p in first.merge(second).analysis().parameters]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_an_update_that_fails_in_one_process_is_left_out_in_both(trained: Path) -> None:
    assert [(trained / f"failing_{rank}").read_text() for rank in range(2)] == ["[0, 1, 3]"] * 2
