"""Peak memory of `accweight analyze`: flat in checkpoints, model size and shapes of parameters.

Each case is a run of sharded safetensors files of bfloat16, analysed with pictures by a process
of its own. Its peak (VmHWM) above what imports take is printed beside the size of the largest
parameter, the time, and the time that only reading the same bytes takes. Mean and maximum of
A_T of some parameters are compared with a plain computation on whole arrays.

    python benchmarks/memory.py             a quick look, 0.3 GB of disk
    python benchmarks/memory.py --full      models of a billion weights and more, 20 GB of disk
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
POOL = 1 << 24
"""Random weights, of which files repeat stretches: drawing billions would take longer."""

SHARD_BYTES = 2 << 30
CHECKED_ELEMENTS = 200_000_000
"""Most elements of a parameter that is compared with whole arrays."""

CHILD = """
import sys, time, json
import accweight_core as aw
import accweight_core.pipeline, accweight_core.analysis, accweight_core.store
import accweight_adapters.safetensors_reader, pandas, scipy.stats
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
before = peak()
start = time.perf_counter()
run = aw.open_run(sys.argv[2:])
opened = time.perf_counter()
analysis = aw.analyze(run, sys.argv[1], roles=("weight", "embedding", "bias"))
seconds = time.perf_counter() - opened
rows = analysis.measured("parameter")
print(json.dumps({
    "peak_bytes": peak() - before, "open_seconds": opened - start, "seconds": seconds,
    "values": {r.name: [float(r.metrics["mean"][-1]), float(r.metrics["max"][-1])] for r in rows},
}))
"""


@dataclass(frozen=True)
class Case:
    """A run to make.

    Attributes:
        name: In words.
        shapes: Of every parameter.
        checkpoints: How many there are.
        filled: Share of each parameter that is not zero; the rest are holes in sparse files.
    """

    name: str
    shapes: Mapping[str, Shape]
    checkpoints: int
    filled: float = 1.0

    @property
    def elements(self) -> int:
        """Weights of one checkpoint."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def transformer(blocks: int, width: int, inner: int, words: int) -> dict[str, Shape]:
    """Return the shapes of a decoder."""
    shapes: dict[str, Shape] = {"embed.weight": (words, width)}
    for block in range(blocks):
        for name in "qkvo":
            shapes[f"blocks.{block}.{name}.weight"] = (width, width)
        for name in ("gate", "up"):
            shapes[f"blocks.{block}.{name}.weight"] = (inner, width)
        shapes[f"blocks.{block}.down.weight"] = (width, inner)
    return shapes


def cases(*, full: bool) -> Iterator[Case]:
    """Yield the runs, smaller ones of the same kind for a quick look."""
    model = transformer(18, 2048, 5632, 32000) if full else transformer(2, 512, 1408, 8000)
    yield Case("decoder, 4 checkpoints", model, 4)
    yield Case("decoder, 8 checkpoints", model, 8)
    yield Case("two rows", {"fc.weight": (2, 80_000_000 if full else 3_000_000)}, 3)
    yield Case("two columns", {"fc.weight": (80_000_000 if full else 3_000_000, 2)}, 3)
    experts = (8, 4096, 4096) if full else (8, 768, 768)
    yield Case("experts", {"experts.weight": experts}, 3)
    words, width = (256_000, 8192) if full else (64_000, 64)
    yield Case("embedding", {"embed.weight": (words, width)}, 2, 0.05 if full else 1.0)
    wide = (64, 1_000_000) if full else (16, 200_000)
    yield Case("long rows", {"fc.weight": wide}, 3)
    count = 20_000 if full else 1_000
    yield Case(
        f"{count} tiny tensors", {f"l{i}.bias": (64,) for i in range(count)}, 10 if full else 4
    )


def pool(step: int) -> npt.NDArray[np.uint16]:
    """Return random weights as bfloat16."""
    weights = np.random.default_rng(step).standard_normal(POOL, np.float32)
    return (weights.view(np.uint32) >> 16).astype(np.uint16)


def stretch(weights: npt.NDArray[np.uint16], number: int, elements: int) -> Iterator[Any]:
    """Yield the weights of a parameter, stretch by stretch of the pool."""
    at = number * 7919 % (POOL // 2)
    while elements:
        part = weights[at : at + elements]
        yield part
        elements -= len(part)
        at = 0


def write(case: Case, folder: Path) -> list[str]:
    """Write the checkpoints, each of them a folder of shards."""
    written = []
    for step in range(case.checkpoints):
        weights, target = pool(step), folder / f"step_{step}"
        target.mkdir(parents=True)
        shards: list[list[str]] = [[]]
        size = 0
        for name, shape in case.shapes.items():
            if size and size + 2 * math.prod(shape) > SHARD_BYTES:
                shards.append([])
                size = 0
            shards[-1].append(name)
            size += 2 * math.prod(shape)
        index = {}
        for number, names in enumerate(shards):
            file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
            index.update(dict.fromkeys(names, file))
            _write_shard(target / file, names, case, weights)
        document = {"metadata": {"total_size": 2 * case.elements}, "weight_map": index}
        (target / "model.safetensors.index.json").write_text(json.dumps(document))
        written.append(str(target))
    return written


def _write_shard(
    path: Path, names: Sequence[str], case: Case, weights: npt.NDArray[np.uint16]
) -> None:
    header, at = {}, 0
    for name in names:
        shape = case.shapes[name]
        end = at + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        first = file.tell()
        for name in names:
            file.seek(first + header[name]["data_offsets"][0])  # type: ignore[index]
            elements = int(math.prod(case.shapes[name]) * case.filled)
            for part in stretch(weights, len(name) + elements, elements):
                file.write(part.data)
        file.truncate(first + at)


def expected(case: Case, name: str) -> tuple[float, float]:
    """Return mean and maximum of A_T of one parameter, computed on whole arrays."""
    elements = int(math.prod(case.shapes[name]) * case.filled)
    total, previous = np.zeros(elements), None
    for step in range(case.checkpoints):
        parts = list(stretch(pool(step), len(name) + elements, elements))
        current = (np.concatenate(parts).astype(np.uint32) << 16).view(np.float32)
        if previous is not None:
            total += np.abs(current - previous)
        previous = current
    return float(total.sum() / math.prod(case.shapes[name])), float(total.max())


def read_all(folders: Sequence[str]) -> float:
    """Return the seconds it takes to read all bytes, a mebibyte at a time."""
    buffer, began = bytearray(1 << 20), time.perf_counter()
    for folder in folders:
        for path in Path(folder).glob("*.safetensors"):
            descriptor = os.open(path, os.O_RDONLY)
            while os.readv(descriptor, [buffer]):
                pass
            os.close(descriptor)
    return time.perf_counter() - began


def measured(case: Case) -> dict[str, object]:
    """Make a run, analyse it, compare its values, and remove it."""
    with tempfile.TemporaryDirectory(prefix="accweight-") as name:
        folder = Path(name)
        paths = write(case, folder)
        read_seconds = read_all(paths)
        shown = subprocess.run(
            [sys.executable, "-c", CHILD, str(folder / "out.accw"), *paths],
            check=True,
            capture_output=True,
            text=True,
        )
        stored = sum(f.stat().st_size for f in (folder / "out.accw").rglob("*") if f.is_file())
        shutil.rmtree(folder / "out.accw")
    result = json.loads(shown.stdout)
    values = result.pop("values")
    checked = [n for n, s in case.shapes.items() if math.prod(s) <= CHECKED_ELEMENTS]
    for parameter in (checked or list(case.shapes)[:1])[:: max(1, len(checked) // 3)][:4]:
        mean, largest = expected(case, parameter)
        assert math.isclose(values[parameter][0], mean, rel_tol=1e-9), (parameter, mean)
        assert math.isclose(values[parameter][1], largest, rel_tol=1e-12), (parameter, largest)
    return {
        **{k: v for k, v in asdict(case).items() if k != "shapes"},
        "elements": case.elements,
        "largest": max(math.prod(s) for s in case.shapes.values()),
        "read_seconds": read_seconds,
        "stored_bytes": stored,
        **result,
    }


def main() -> None:
    """Measure every case; print a table and write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="billions of weights")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out")
    options = parser.parse_args()
    print(f"{'case':28}{'weights':>9}{'largest':>9}{'GB read':>9}{'peak MB':>9}{'s':>8}", end="")
    print(f"{'read s':>8}{'store MB':>10}")
    rows = []
    for case in cases(full=options.full):
        if options.only not in case.name:
            continue
        row: dict[str, Any] = measured(case)
        rows.append(row)
        print(
            f"{case.name:28}{row['elements'] / 1e6:8.0f}M{row['largest'] / 1e6:8.0f}M"
            f"{2e-9 * row['elements'] * case.checkpoints:9.2f}{row['peak_bytes'] / 1e6:9.0f}"
            f"{row['seconds']:8.2f}{row['read_seconds']:8.2f}{row['stored_bytes'] / 1e6:10.0f}",
            flush=True,
        )
    options.out.mkdir(exist_ok=True)
    (options.out / "memory.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
