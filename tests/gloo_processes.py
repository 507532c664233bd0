"""Processes that train together over gloo, scene after scene, in the same interpreter each time."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import accweight_core as aw

Scene = Callable[[int, int, Path], None]
"""Called in each process as ``scene(place, processes, folder)``."""

Scenes = Sequence[tuple[Scene, int]]
"""What is played, and in how many processes; those of a scene that is named ``...killed`` die."""


def play(folder: Path, scenes: Scenes) -> None:
    """Play every scene in processes of its own, forked from one that has imported all."""
    torch.multiprocessing.spawn(_play, (folder, scenes), nprocs=1)


def sharded(model: nn.Sequential, processes: int) -> nn.Sequential:
    """Shard every layer of a model over all processes."""
    mesh = init_device_mesh("cpu", (processes,))
    for layer in model:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def die_together() -> None:
    """Kill this process once all are here."""
    distributed.barrier()
    os.kill(os.getpid(), signal.SIGKILL)


def _play(_rank: int, folder: Path, scenes: Scenes) -> None:
    torch.set_num_threads(1)
    import_module("torch._dynamo")  # as fully_shard does: two seconds in each process
    tracker = aw.ChangeTracker()
    for _ in range(4):  # what is imported and compiled here need not be in each process
        tracker.update({"fc.weight": torch.ones(500, 500)})
    for number, (scene, processes) in enumerate(scenes):
        places = range(processes)
        children = [_forked(scene, place, processes, folder, number) for place in places]
        ends = [os.waitpid(child, 0)[1] for child in children]
        name = getattr(scene, "func", scene).__name__  # of a function, or a partial one
        expected = signal.SIGKILL if name.endswith("killed") else 0
        assert ends == [expected] * processes, name


def _forked(scene: Scene, place: int, processes: int, folder: Path, number: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)
        meeting = f"file://{folder / f'meeting_{number}'}"
        distributed.init_process_group("gloo", meeting, rank=place, world_size=processes)
        scene(place, processes, folder)
        distributed.barrier()
        distributed.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
