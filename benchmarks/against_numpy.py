"""`accweight analyze` against the script people write today, on the same files in the same run.

The script is plain NumPy: load each checkpoint, ``total += abs(current - previous)``, print the
mean and the maximum of each layer, and nothing else. accweight computes every metric, draws and
stores pictures, and may use a few blocks of memory. Both are whole processes, taken in turn;
`s` excludes imports, `process s` is all of it. The values of both are compared.

    python benchmarks/against_numpy.py                    10 checkpoints x 40M weights, 1.6 GB
    python benchmarks/against_numpy.py --million 4        a quick look
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LAYERS = {
    "embed.weight": (8000, 512),
    "conv1.weight": (64, 3, 7, 7),
    "conv2.weight": (512, 512, 3, 3),
    "block.0.weight": (2048, 2048),
    "block.1.weight": (4096, 2048),
    "block.2.weight": (2048, 4096),
    "block.3.weight": (2048, 2048),
    "head.weight": (8000, 512),
    "head.bias": (8000,),
}

SCRIPT = """
import sys, time, json
import numpy as np
from safetensors.numpy import load_file
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
start = time.perf_counter()
previous = load_file(sys.argv[1])
total = {name: np.zeros_like(w) for name, w in previous.items()}
for path in sys.argv[2:]:
    current = load_file(path)
    for name in current:
        total[name] += np.abs(current[name] - previous[name])
    previous = current
result = {name: [float(a.mean()), float(a.max())] for name, a in total.items()}
seconds = time.perf_counter() - start
print(json.dumps(
    {"seconds": seconds, "extra_megabytes": (peak() - before) / 1024, "values": result}
))
"""

OURS = """
import sys, time, json
import accweight_core as aw
import accweight_core.pipeline, accweight_core.analysis, accweight_core.store
import accweight_adapters.safetensors_reader, pandas, scipy.stats
budget = None if sys.argv[1] == "default" else int(sys.argv[1])
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
before = peak()
start = time.perf_counter()
run = aw.open_run(sys.argv[3:])
analysis = aw.analyze(run, sys.argv[2], picture_budget_bytes=budget)
rows = analysis.measured("parameter")
result = {r.name: [float(r.metrics["mean"][-1]), float(r.metrics["max"][-1])] for r in rows}
seconds = time.perf_counter() - start
print(json.dumps(
    {"seconds": seconds, "extra_megabytes": (peak() - before) / 1024, "values": result}
))
"""

RAW = """
import sys, time, json, os
buffer = bytearray(1 << 20)
start = time.perf_counter()
for path in sys.argv[1:]:
    descriptor = os.open(path, os.O_RDONLY)
    while os.readv(descriptor, [buffer]):
        pass
    os.close(descriptor)
print(json.dumps({"seconds": time.perf_counter() - start, "extra_megabytes": 1, "values": {}}))
"""


def write_run(folder: Path, million: float, checkpoints: int) -> list[str]:
    """Write safetensors checkpoints of a network of about `million` million weights."""
    from safetensors.numpy import save_file

    chance = np.random.default_rng(0)
    factor = (million * 1e6 / sum(int(np.prod(s)) for s in LAYERS.values())) ** 0.5
    shapes = {
        name: tuple(max(1, round(n * factor)) if n > 64 else n for n in shape)
        for name, shape in LAYERS.items()
    }
    weights = {n: chance.standard_normal(s, dtype=np.float32) * 0.05 for n, s in shapes.items()}
    paths = []
    for step in range(checkpoints):
        path = folder / f"step_{step}.safetensors"
        save_file(weights, path)
        paths.append(str(path))
        for w in weights.values():
            w += chance.standard_normal(w.shape, dtype=np.float32) * 0.002
    count = sum(w.size for w in weights.values())
    print(f"{checkpoints} checkpoints x {count / 1e6:.1f}M float32 weights")
    return paths


def measured(script: str, *arguments: str) -> dict[str, object]:
    """Run a script in a process of its own and return what it reports."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    result: dict[str, object] = json.loads(done.stdout)
    result["process"] = time.perf_counter() - start
    return result


def check(ours: dict[str, object], theirs: dict[str, object]) -> None:
    """Fail unless both computed the same."""
    a, b = ours["values"], theirs["values"]
    for name in a:  # type: ignore[attr-defined]
        np.testing.assert_allclose(a[name], b[name], rtol=2e-5, err_msg=name)  # type: ignore[index]


def main() -> None:
    """Measure and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--million", type=float, default=40, help="weights, in millions")
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="accweight-"))
    try:
        paths = write_run(folder, options.million, options.checkpoints)
        store = str(folder / "run.accw")
        ways = {
            "numpy script (mean, max)": lambda: measured(SCRIPT, *paths),
            "accweight, all metrics": lambda: measured(OURS, "0", store, *paths),
            "accweight, and pictures": lambda: measured(OURS, "default", store, *paths),
            "raw read, one thread": lambda: measured(RAW, *paths),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        memory: dict[str, list[float]] = {name: [] for name in ways}
        process: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(options.rounds + 1):  # the first turn warms the page cache
            results = {}
            for name, way in ways.items():
                shutil.rmtree(store, ignore_errors=True)
                results[name] = way()
                if turn:
                    process[name].append(float(results[name]["process"]))  # type: ignore[arg-type]
                    seconds[name].append(float(results[name]["seconds"]))  # type: ignore[arg-type]
                    memory[name].append(float(results[name]["extra_megabytes"]))  # type: ignore[arg-type]
            for name in ("accweight, all metrics", "accweight, and pictures"):
                check(results[name], results["numpy script (mean, max)"])
        report(seconds, memory, process, options.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(
    seconds: dict[str, list[float]],
    memory: dict[str, list[float]],
    process: dict[str, list[float]],
    out: Path,
) -> None:
    """Print medians and ratios, and keep them as JSON."""
    base = seconds["numpy script (mean, max)"]
    print(
        f"\n{'':28}{'median s':>9}{'speed-up':>10}{'(range)':>16}"
        f"{'MB over imports':>18}{'process s':>11}"
    )
    rows = {}
    for name, times in seconds.items():
        ratios = [b / t for b, t in zip(base, times, strict=True)]
        span = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(
            f"{name:28}{statistics.median(times):9.2f}{statistics.median(ratios):10.2f}"
            f"{span:>16}{max(memory[name]):18.0f}{statistics.median(process[name]):11.2f}"
        )
        rows[name] = {"seconds": times, "ratios": ratios, "extra_megabytes": memory[name]}
    out.mkdir(exist_ok=True)
    facts = {"processors": os.cpu_count(), "python": sys.version.split()[0]}
    (out / "against_numpy.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=2))
    print("values of all agree; details in", out / "against_numpy.json")


if __name__ == "__main__":
    main()
