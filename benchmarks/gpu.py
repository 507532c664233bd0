"""Live tracking on a GPU against what its memory can do; says so and ends where there is none.

A network of large matrices or of many small tensors, moved by noise, tracked in both
precisions. `copy` is the same weights copied once on the device, the least that an update could
cost. Launches are operations that do something, counted once per update. Values are compared
with those of the processor.

    python benchmarks/gpu.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import accweight_core as aw

NETWORKS = {
    "8 matrices of 16M": [(4096, 4096)] * 8,
    "4000 tensors, 3M": [(768,)] * 2000 + [(8, 90)] * 1000 + [(3, 3, 8, 10)] * 1000,
}

Weights = dict[str, torch.Tensor]


class Launches(TorchDispatchMode):
    """Counts the operations that do something."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def network(shapes: list[tuple[int, ...]], dtype: torch.dtype, device: str) -> list[Weights]:
    """Return two states of a network."""
    chance = torch.Generator().manual_seed(0)
    start = {f"l{i}.weight": torch.randn(s, generator=chance) * 0.05 for i, s in enumerate(shapes)}
    moved = {n: w + torch.randn(w.shape, generator=chance) * 1e-3 for n, w in start.items()}
    return [{n: w.to(dtype).to(device) for n, w in state.items()} for state in (start, moved)]


def seconds(way: Callable[[], object], rounds: int) -> float:
    """Return the median time until the device is done."""
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        way()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def case(shapes: list[tuple[int, ...]], precision: Any, rounds: int) -> dict[str, float]:
    """Measure one network."""
    states = network(shapes, torch.float32, "cuda")
    tracker, on_cpu = aw.ChangeTracker(precision=precision), aw.ChangeTracker()
    for state in states:
        tracker.update(state)
        on_cpu.update({name: weights.cpu() for name, weights in state.items()})
    np.testing.assert_allclose(
        tracker.analysis().values, on_cpu.analysis().values, rtol=1e-5, atol=1e-12
    )
    with Launches() as launches:
        tracker.update(states[0])
    turn = iter(range(1, 1 << 30))
    elements = sum(w.numel() for w in states[0].values())
    flat = torch.cat([w.reshape(-1) for w in states[0].values()])
    room = torch.empty_like(flat)
    copy = seconds(lambda: room.copy_(flat), rounds)
    update = seconds(lambda: tracker.update(states[next(turn) % 2]), rounds)
    return {
        "weights": elements,
        "launches": launches.count,
        "update_ms": update * 1e3,
        "copy_ms": copy * 1e3,
        "copy_gigabytes_per_s": 8 * elements / copy / 1e9,
        "update_over_copy": update / copy,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing measured")
        return
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cases": {},
    }
    print(report["device"])
    for name, shapes in NETWORKS.items():
        for precision in ("float64", "compensated"):
            found = case(shapes, precision, options.rounds)
            report["cases"][f"{name}, {precision}"] = found
            print(
                f"{name}, {precision:12} {found['launches']:6.0f} launches "
                f"{found['update_ms']:9.2f} ms, {found['update_over_copy']:6.1f} copies"
            )
    options.out.mkdir(exist_ok=True)
    (options.out / "gpu.json").write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
