"""The ways to get at A_T that are compared, each in a process of its own.

    python benchmarks/ways.py numpy '{"paths": ["step_0.safetensors", ...]}'

Prints JSON: seconds without imports and what else is loaded at first use, the peak of memory above
what imports took, and the mean and the maximum of A_T of every parameter. The scripts are what
people write: load a checkpoint, add up the difference to the one before, and print two figures
per layer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from analyses import Found, analyse_little, analysed


def numpy_script() -> Callable[..., Found]:
    """Return the script that uses NumPy, its imports done."""
    import numpy as np
    from safetensors.numpy import load_file

    def script(paths: Sequence[str]) -> Found:
        previous = load_file(paths[0])
        total = {name: np.zeros_like(weights) for name, weights in previous.items()}
        for path in paths[1:]:
            current = load_file(path)
            for name in current:
                total[name] += np.abs(current[name] - previous[name])
            previous = current
        return {"values": {n: [float(a.mean()), float(a.max())] for n, a in total.items()}}

    return script


def torch_script() -> Callable[..., Found]:
    """Return the script that uses torch, its imports done."""
    import torch

    def script(paths: Sequence[str]) -> Found:
        previous = torch.load(paths[0])
        total = {name: torch.zeros_like(weights) for name, weights in previous.items()}
        for path in paths[1:]:
            current = torch.load(path)
            for name in current:
                total[name] += (current[name] - previous[name]).abs()
            previous = current
        values = {n: [float(a.mean()), float(a.max())] for n, a in total.items()}
        return {"values": values, "threads": torch.get_num_threads()}

    return script


def accweight() -> Callable[..., Found]:
    """Return `accweight analyze`, its imports done."""
    for module in ("analysis.analysis", "jobs.pipeline", "accumulate.streaming"):
        import_module(f"accweight_core.{module}")
    import_module("accweight_adapters.safetensors_reader")
    return analysed


WAYS: Mapping[str, Callable[[], Callable[..., Found]]] = {
    "numpy": numpy_script,
    "torch": torch_script,
    "accweight": accweight,
}


FIRST_USES: Mapping[str, Callable[[], None]] = {"accweight": analyse_little}


def peak_bytes() -> int:
    """Return the most memory this process has had."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main() -> None:
    """Take one way, and print what it gave."""
    way = WAYS[sys.argv[1]]()
    before = peak_bytes()
    FIRST_USES.get(sys.argv[1], lambda: None)()
    start = time.perf_counter()
    found = way(**json.loads(sys.argv[2]))
    seconds = time.perf_counter() - start
    print(json.dumps({**found, "seconds": seconds, "peak_bytes": peak_bytes() - before}))


if __name__ == "__main__":
    main()
