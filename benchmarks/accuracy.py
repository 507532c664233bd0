"""How exact A_t stays: errors of four ways to add up, over up to 100,000 steps.

Each of 64 weights takes steps of a kind that training takes. The truth is the sum of the exact
differences of the stored float32 weights, added in 80-bit numbers whose own error is far below
all that is shown. Errors are relative to A_T: the largest over the weights.

    decaying    noisy steps of SGD, sizes falling as 1/sqrt(t)
    constant    sign descent: every step of the same size, up or down
    late        a long path behind it, then steps 1e-8 as long as that path

    python benchmarks/accuracy.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from accweight_core import kernels

WEIGHTS = 64
STEPS = (10, 1_000, 100_000)
LONG_PATH = 100.0


def walk(kind: str, steps: int) -> Iterator[torch.Tensor]:
    """Yield float32 weights, step by step."""
    chance = np.random.default_rng(0)
    weights = chance.standard_normal(WEIGHTS) * 0.05
    if kind == "late":  # there and back: A_1 is the long path
        yield torch.from_numpy((weights + LONG_PATH).astype(np.float32))
    yield torch.from_numpy(weights.astype(np.float32))
    for step in range(1, steps + 1):
        if kind == "decaying":
            weights = weights + chance.standard_normal(WEIGHTS) * 1e-3 / np.sqrt(step)
        elif kind == "constant":
            weights = weights + np.where(chance.random(WEIGHTS) < 0.5, 1e-3, -1e-3)
        else:
            weights = weights + chance.choice((-1, 1), WEIGHTS) * 1e-8 * LONG_PATH
        yield torch.from_numpy(weights.astype(np.float32))


def errors(kind: str, steps: int) -> dict[str, float]:
    """Return the largest relative error of A_T of each way."""
    single, half = torch.zeros(WEIGHTS), torch.zeros(WEIGHTS, dtype=torch.bfloat16)
    total, compensation = torch.zeros(WEIGHTS), torch.zeros(WEIGHTS)
    double = torch.zeros(WEIGHTS, dtype=torch.float64)
    exact = np.zeros(WEIGHTS, np.longdouble)
    states = walk(kind, steps)
    previous = next(states)
    for current in states:
        kernels.accumulate_(half, previous, current)
        kernels.accumulate_(single, previous, current)
        kernels.accumulate_compensated_(total, compensation, previous, current)
        kernels.accumulate_(double, previous, current)
        exact += np.abs(current.numpy().astype(np.longdouble) - previous.numpy())
        previous = current
    found = {
        "bfloat16": half.double(),
        "float32": single.double(),
        "float32, compensated": total.double() + compensation.double(),
        "float64": double,
    }
    return {n: float(np.max(np.abs(a.numpy() - exact) / exact)) for n, a in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    options = parser.parse_args()
    rows = []
    for kind in ("decaying", "constant", "late"):
        for steps in options.steps:
            row = errors(kind, steps)
            if not rows:
                print(f"{'steps':22}" + "".join(f"{name:>22}" for name in row))
            print(f"{kind:10}{steps:10,}  " + "".join(f"{e:22.1e}" for e in row.values()))
            rows.append({"kind": kind, "steps": steps, "errors": row})
    options.out.mkdir(exist_ok=True)
    (options.out / "accuracy.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
