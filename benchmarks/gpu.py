"""Live tracking on a GPU against what its memory can do; says so and ends where there is none.

Networks of large matrices and of thousands of small tensors, in float32 and bfloat16, moved by
noise, tracked in both precisions in three ways: by the Triton kernel, by plain operations of
torch, and by those in one function compiled by ``torch.compile`` (matrices alone: it knows no
table of tensors).

An update has to read the weights, the reference, the previous values and A_t, and to write the
last two: its *bytes*. `copy` is a copy on the same device, in the same run, that moves as many
(it reads half of them and writes as many), so that the ratio of the times is the ratio of the
bytes per second: ``of_copy`` is the update's share of the copy's bandwidth, by ``device_ms``,
the time on the device (events). ``weight_copies`` is that time in copies of the weights alone, the
least that anything done to them costs. ``busy_ms`` is how long kernels run, less than ``device_ms``
where the device waits for the host (small networks); ``host_ms`` how long the host is kept, and
``wall_ms`` the time until all is done.

Launches are kernels and copies that the profiler saw in one update. Updates are also made with
torch told to fail at whatever waits for the device, and values compared with the processor's.

    python benchmarks/gpu.py
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import accweight_core as aw
from accweight_core import kernels
from accweight_core.kernels import SUB_BLOCK
from accweight_core.live import device_rows
from accweight_core.live.measuring import PENDING_STEPS

NETWORKS = {
    "8 matrices of 16M": [(4096, 4096)] * 8,
    "4000 tensors, 3M": [(768,)] * 2000 + [(8, 90)] * 1000 + [(3, 3, 8, 10)] * 1000,
}

SHARE = 0.85
"""Of the copy's bandwidth: the aim for large matrices."""

Weights = dict[str, Tensor]


def network(shapes: list[tuple[int, ...]], dtype: torch.dtype) -> list[Weights]:
    """Return two states of a network."""
    chance = torch.Generator().manual_seed(0)
    start = {f"l{i}.weight": torch.randn(s, generator=chance) * 0.05 for i, s in enumerate(shapes)}
    moved = {n: w + torch.randn(w.shape, generator=chance) * 1e-3 for n, w in start.items()}
    return [{n: w.to(dtype).cuda() for n, w in state.items()} for state in (start, moved)]


def bytes_of_update(weights: Weights, precision: str) -> int:
    """Return what one update has to move: see the top."""
    sizes = {(w.numel(), w.element_size()) for w in weights.values()}
    assert len({size for _, size in sizes}) == 1
    elements, size = sum(w.numel() for w in weights.values()), next(iter(sizes))[1]
    total = 8  # one float64, or two float32
    return elements * (size + size + 2 * size + 2 * total)


def times(way: Callable[[], object], rounds: int) -> dict[str, float]:
    """Return medians in ms: on the device, until it is done, and of the host."""
    found: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        torch.cuda.synchronize()
        start = time.perf_counter()
        events[0].record()
        way()
        events[1].record()
        host = time.perf_counter()
        torch.cuda.synchronize()
        end = time.perf_counter()
        device = events[0].elapsed_time(events[1])
        found.append((device, (end - start) * 1e3, (host - start) * 1e3))
    names = "device_ms", "wall_ms", "host_ms"
    return dict(zip(names, map(statistics.median, zip(*found, strict=True)), strict=True))


def never_waits(way: Callable[[], object]) -> None:
    """Let torch fail if anything waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            way()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def seen_by_profiler(way: Callable[[], object]) -> dict[str, float]:
    """Return how many kernels and copies the device is told of, and how long they keep it."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        way()
        torch.cuda.synchronize()
    cuda = torch.autograd.DeviceType.CUDA
    spans = [e.time_range.elapsed_us() for e in profile.events() or () if e.device_type == cuda]
    return {"launches": len(spans), "busy_ms": sum(spans) / 1e3}


def tracked(states: list[Weights], precision: Any) -> aw.ChangeTracker:
    """Return a tracker that has seen both states, once its values are those of the processor."""
    tracker, on_cpu = aw.ChangeTracker(precision=precision), aw.ChangeTracker()
    for state in states:
        tracker.update(state)
        on_cpu.update({name: weights.cpu() for name, weights in state.items()})
    np.testing.assert_allclose(
        tracker.analysis().values, on_cpu.analysis().values, rtol=1e-5, atol=1e-12
    )
    return tracker


def tracking(states: list[Weights], precision: Any) -> Callable[[], object]:
    """Return an update by a tracker that is warm; every other one moves each weight."""
    tracker = tracked(states, precision)
    turn = iter(range(1 << 30))
    return lambda: tracker.update(states[next(turn) % 2])


def formula(reference: Tensor, previous: Tensor, current: Tensor, total: Tensor) -> Tensor:
    """Advance rows by one step, in plain operations that a compiler can fuse; see `kernels`."""
    finite = torch.isfinite(current)
    weight = torch.where(finite, current, previous).float()
    moved, net = (weight - previous.float()).abs(), (weight - reference.float()).abs()
    total += moved
    previous.copy_(weight)
    far, gone, wide = moved.double(), net.double(), weight.double()
    offset = total - total[:, :1]
    path_max, path_argmax = total.max(1)
    columns = (
        total.sum(1),
        (offset * offset).sum(1) - offset.sum(1) ** 2 / total.shape[1],
        path_max,
        path_argmax,
        far.sum(1),
        (far * far).sum(1),
        moved.amax(1),
        gone.sum(1),
        (gone * gone).sum(1),
        (wide * wide).sum(1),
        (reference.double() * reference.double()).sum(1),
        (weight.sign() != reference.float().sign()).sum(1),
        (~finite).sum(1),
    )
    return torch.stack([column.double() for column in columns], 1)


def compiling(states: list[Weights]) -> Callable[[], object]:
    """Return an update by the compiled formula, matrix by matrix."""
    compiled = torch.compile(formula, fullgraph=True)
    rows = [[w.view(-1, SUB_BLOCK) for w in state.values()] for state in states]
    kept = [(w.clone(), w.clone(), torch.zeros_like(w, dtype=torch.float64)) for w in rows[0]]
    turn = iter(range(1, 1 << 30))

    def update() -> None:
        for (reference, previous, total), current in zip(kept, rows[next(turn) % 2], strict=True):
            compiled(reference, previous, current, total)

    state, _ = kernels.start_block(rows[0][0].float())
    expected = kernels.measure_step(state, rows[1][0].float(), kernels.Scratch())
    sums = compiled(*kept[0][:2], rows[1][0], kept[0][2])
    np.testing.assert_allclose(sums.cpu(), expected.cpu(), rtol=1e-5, atol=1e-12)
    update()
    return update


def ways(states: list[Weights], precision: str) -> dict[str, Callable[[], Callable[[], object]]]:
    """Return what makes an update ready, by the name of the way."""

    def plainly() -> Callable[[], object]:
        before, device_rows.DEVICES = device_rows.DEVICES, ()
        try:
            return tracking(states, precision)
        finally:
            device_rows.DEVICES = before

    found = {"triton": lambda: tracking(states, precision), "plain": plainly}
    weights = states[0].values()
    if precision == "float64" and all(w.numel() % SUB_BLOCK == 0 for w in weights):
        found["torch.compile"] = lambda: compiling(states)
    if not device_rows.works(torch.device("cuda", 0), next(iter(weights)).dtype, False):
        del found["triton"]
    return found


def case(states: list[Weights], precision: str, rounds: int) -> dict[str, Any]:
    """Measure one network in one precision, all ways against copies."""
    moved = bytes_of_update(states[0], precision)
    source = torch.ones(moved // 2, dtype=torch.uint8, device="cuda")
    room = torch.empty_like(source)
    weights = sum(w.nbytes for w in states[0].values())
    times(lambda: room.copy_(source), 3)
    copy = times(lambda: room.copy_(source), rounds)["device_ms"]
    small = times(lambda: room[:weights].copy_(source[:weights]), rounds)["device_ms"]
    found: dict[str, Any] = {
        "weights": sum(w.numel() for w in states[0].values()),
        "bytes": moved,
        "copy_ms": copy,
        "copy_gigabytes_per_s": moved / copy / 1e6,
        "ways": {},
    }
    for name, ready in ways(states, precision).items():
        update = ready()
        never_waits(update)
        spent = times(update, rounds)
        found["ways"][name] = {
            **spent,
            **seen_by_profiler(update),
            "gigabytes_per_s": moved / spent["device_ms"] / 1e6,
            "of_copy": copy / spent["device_ms"],
            "weight_copies": spent["device_ms"] / small,
        }
        del update
    return found


def machine() -> dict[str, str]:
    """Return what was measured, and with what."""
    properties = torch.cuda.get_device_properties(0)
    driver = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True).stdout.split("\n")[0]
    try:
        triton = metadata.version("triton")
    except metadata.PackageNotFoundError:
        triton = ""
    return {
        "device": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_gib": f"{properties.total_memory / 2**30:.0f}",
        "driver": driver,
        "cuda": str(torch.version.cuda),
        "torch": torch.__version__,
        "triton": triton,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    options = parser.parse_args()
    if not 0 < options.rounds <= PENDING_STEPS - 10:
        parser.error("rounds are timed between two fetches of sums, 64 updates apart: at most 54")
    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing measured")
        return
    options.out.mkdir(parents=True, exist_ok=True)  # before the minutes that measuring takes
    report: dict[str, Any] = {**machine(), "aim": SHARE, "cases": {}}
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    for name, shapes in NETWORKS.items():
        for dtype in (torch.float32, torch.bfloat16):
            states = network(shapes, dtype)
            for precision in ("float64", "compensated"):
                title = f"{name}, {str(dtype).removeprefix('torch.')}, {precision}"
                found = report["cases"][title] = case(states, precision, options.rounds)
                print(f"{title}: copy of as many bytes {found['copy_gigabytes_per_s']:.0f} GB/s")
                for way, spent in found["ways"].items():
                    print(
                        f"  {way:13} {spent['launches']:6} launches {spent['device_ms']:9.3f} ms "
                        f"(busy {spent['busy_ms']:.3f}, host {spent['host_ms']:.3f}, "
                        f"in all {spent['wall_ms']:.3f}), {spent['gigabytes_per_s']:6.0f} GB/s, "
                        f"{spent['of_copy']:.2f} of the copy's, "
                        f"{spent['weight_copies']:.1f} copies of the weights"
                    )
    path = options.out / "gpu.json"
    path.write_text(json.dumps(report, indent=2))
    print(f"to record them: git add -f {path}, and put the figures into docs/live.md, Measured")


if __name__ == "__main__":
    main()
