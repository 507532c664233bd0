"""What a tracker of a sharded model holds in each process, beside the same training without it.

Each process trains a part of a stack of layers (``fully_shard``, over gloo, on a CPU). Its peak is
that of its anonymous memory, read every millisecond: pages of files, which the system writes out
when it is short of memory, are not in it. What is freed is returned to the system at once, as else
the peaks of training itself would hide what is held. Peaks are in bytes of the weights of one part.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import accweight_core as aw

TRACKED: dict[str, dict[str, Any] | None] = {
    "no tracker": None,
    "numbers": {"picture_budget_bytes": 0},
    "pictures": {},
}
"""Options of the tracker of each training; None trains without one."""

STEPS = 4

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
"""Settings of glibc that return what is freed to the system."""


def model_of(weights: int, width: int) -> nn.Sequential:
    """Layers whose gathered weights are small beside a part, so that training holds little."""
    layers = [nn.Linear(width, width, bias=False) for _ in range(weights // width**2)]
    return nn.Sequential(*layers)


def anonymous_bytes() -> int:
    """Bytes of memory of this process that are in no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@contextmanager
def watched() -> Iterator[list[int]]:
    """Yield a list whose one item becomes the peak within."""
    peak, is_over = [anonymous_bytes()], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.001):
            peak[0] = max(peak[0], anonymous_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def train(weights: int, width: int, processes: int, options: Any, folder: Path) -> dict[str, int]:
    """Train and track in this process; return what it held, in bytes."""
    torch.manual_seed(0)
    model, mesh = model_of(weights, width), init_device_mesh("cpu", (processes,))
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def take_step() -> None:
        model(torch.ones(8, width)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(STEPS):  # what training itself needs has been allocated before
        take_step()
    gc.collect()
    tracker = None if options is None else aw.ChangeTracker(folder / "run.accw", **options)
    with watched() as peak:
        for step in range(STEPS):
            take_step()
            if tracker is not None:
                tracker.update(model, step=step)
        after = anonymous_bytes()
        if tracker is not None:
            tracker.close()
    return {"peak": peak[0], "after": after}


def forked(place: int, processes: int, folder: Path, given: argparse.Namespace, name: str) -> int:
    """Train in a process of its own, which writes what it held."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        torch.set_num_threads(1)
        meeting = f"file://{folder / 'meeting'}"
        distributed.init_process_group("gloo", meeting, rank=place, world_size=processes)
        held = train(given.weights, given.width, processes, TRACKED[name], folder)
        (folder / f"{place}.json").write_text(json.dumps(held))
        distributed.barrier()
        status = 0
    finally:
        os._exit(status)


def held_by_all(processes: int, given: argparse.Namespace, name: str) -> list[dict[str, int]]:
    """Train in several processes; return what each held."""
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        folder = Path(scratch)
        children = [forked(place, processes, folder, given, name) for place in range(processes)]
        ends = [os.waitpid(child, 0)[1] for child in children]
        if any(ends):
            raise SystemExit(f"{name}: a process ended with {ends}")
        return [json.loads((folder / f"{place}.json").read_text()) for place in range(processes)]


def main() -> None:
    """Print what each process held more than without a tracker, by way of tracking."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--weights", type=int, default=32 << 20)
    options.add_argument("--width", type=int, default=1024)
    options.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    options.add_argument("--scratch", type=Path)
    given = options.parse_args()
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    import_module("torch._dynamo")  # as fully_shard does, in each process else
    warm = aw.ChangeTracker()
    for _ in range(STEPS):  # what is imported and compiled here is not in each process
        warm.update({"fc.weight": torch.ones(500, 500)})
    print("| processes | tracked | peak of the first process | of another one | afterwards |")
    print("|--:|---|--:|--:|--:|")
    for processes in given.processes:
        part_bytes = 4 * given.weights / processes
        without = held_by_all(processes, given, "no tracker")
        for name in list(TRACKED)[1:]:
            held = held_by_all(processes, given, name)
            more = [
                {key: (ours[key] - theirs[key]) / part_bytes for key in ours}
                for ours, theirs in zip(held, without, strict=True)
            ]
            others = max(each["peak"] for each in more[1:])
            cells = [more[0]["peak"], others, max(each["after"] for each in more)]
            print(f"| {processes} | {name} | " + " | ".join(f"{c:.2f}" for c in cells) + " |")


if __name__ == "__main__":
    main()
