"""Measure probes: a step with all that run forward against one plain pass, and a whole run.

    python benchmarks/probes.py
    python benchmarks/probes.py --samples 500 --steps 3 --rounds 1

The network is a CNN with batch norm for pictures of 28 x 28, the samples are blurred noise in ten
classes. What is compared is processor seconds, so that other work on the machine counts little, and
the load is said. Values are checked: loss and activations are those of the module itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import accweight_core as aw

FORWARD = ("evaluate", "activations", "embedding", "neighbors", "representation")
EVERYTHING = (
    *FORWARD, "trajectory", "filters", "attribution", "attribution:method=integrated",
    "feature_visualization",
)  # fmt: skip

Array = np.ndarray[Any, np.dtype[Any]]


class Network(nn.Sequential):
    """A CNN with batch norm, 106 thousand weights."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip


def samples(count: int) -> tuple[Array, Array]:
    """Return pictures of ten classes, and the class of each."""
    chance = np.random.default_rng(0)
    labels = np.arange(count) % 10
    centres = chance.random((10, 1, 28, 28), np.float32)
    noise = chance.random((count, 1, 28, 28), np.float32)
    return centres[labels] * 0.5 + noise * 0.5, labels


def trained(folder: Path, x: Array, y: Array, steps: int) -> list[nn.Module]:
    """Train the network a little, save its state at every step, and return all of them."""
    torch.manual_seed(0)
    net: nn.Module = Network()
    found: list[nn.Module] = []
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    folder.mkdir(parents=True)
    for step in range(steps):
        torch.save(net.state_dict(), folder / f"step_{step}.pt")
        module = Network()
        module.load_state_dict(net.state_dict())
        found.append(module.eval())
        chosen = slice(step * 64 % len(x), step * 64 % len(x) + 64)
        loss = nn.functional.cross_entropy(
            net(torch.from_numpy(x[chosen])), torch.from_numpy(y[chosen])
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return found


def plain_pass(module: nn.Module, x: Array, size: int = 256) -> Array:
    """Return the output for all samples, in batches."""
    with torch.no_grad():
        parts = [module(torch.from_numpy(x[i : i + size])) for i in range(0, len(x), size)]
    return torch.cat(parts).numpy()


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor seconds of some work, and its result."""
    before = time.process_time()
    found = work()
    return time.process_time() - before, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if values differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--details", action="store_true", help="measure each probe alone, too")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        return measured(Path(scratch), asked.samples, asked.steps, asked.rounds, asked.details)


def measured(folder: Path, count: int, steps: int, rounds: int, details: bool) -> int:
    """Measure a step and a run in a folder."""
    x, y = samples(count)
    modules = trained(folder / "run", x, y, steps)
    run, network = folder / "run.accw", aw.Network.from_module(modules[-1])
    aw.analyze(aw.open_run(folder / "run"), run)

    def step(*probes: str) -> float:
        """Return what a step costs: that of three, each beyond the first."""
        several = []
        for chosen in ([0], list(range(min(4, steps)))):
            out = folder / f"{len(list(folder.iterdir()))}.accw"
            aw.analyze(aw.open_run(folder / "run"), out)
            begun = time.process_time()
            found = aw.probe(out, network, (x, y), probes, steps=chosen)
            several.append(time.process_time() - begun)
            check(found, modules, x, y)
        return (several[1] - several[0]) / (min(4, steps) - 1)

    step(*FORWARD)  # imports, and what is compiled once
    plain = statistics.median(seconds(lambda: plain_pass(modules[0], x))[0] for _ in range(rounds))
    print(f"load {os.getloadavg()[0]:.1f}; one thread, processor seconds, medians of {rounds}")
    print(f"{count} samples, one plain forward pass: {plain:.2f} s")
    each = [(probe,) for probe in FORWARD] if details else []
    for probes in (*each, FORWARD):
        took = statistics.median(step(*probes) for _ in range(rounds))
        print(f"a step with {'+'.join(probes)}: {took:.2f} s, {took / plain:.2f} of a pass")
    start = time.perf_counter()
    took, found = seconds(lambda: aw.probe(run, network, (x, y), EVERYTHING))
    whole = time.perf_counter() - start
    print(f"{steps} steps with everything: {took:.1f} s, {whole:.1f} s on the clock")
    check(found, modules, x, y)
    print("values are those of the module")
    return 0


def check(found: Any, modules: Sequence[nn.Module], x: Array, y: Array) -> None:
    """Hold results against the module itself at the last step that they have.

    Raises:
        SystemExit: If they differ.
    """
    for result in found.values():
        step = int(result.steps[-1])
        if result.name == "evaluate":
            scores = torch.from_numpy(plain_pass(modules[step], x))
            loss = float(nn.functional.cross_entropy(scores, torch.from_numpy(y)))
            if abs(loss - result.array("loss")[-1]) > 1e-4 * abs(loss):
                raise SystemExit(f"loss is {result.array('loss')[-1]}, expected {loss}")
        if result.name == "activations":
            output = plain_pass(modules[step], x)
            place = result.labels("layer").index("11")
            if abs(output.mean() - result.array("mean")[-1][place]) > 1e-4:
                raise SystemExit("the mean of the last layer is not that of the module")


if __name__ == "__main__":
    raise SystemExit(main())
