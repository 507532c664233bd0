"""Peak memory of `accweight analyze`: flat in checkpoints, model size and shapes of parameters.

Each case is a run of sharded safetensors files of bfloat16, analysed with pictures by a process
of its own. Its peak (VmHWM) above what imports take is printed beside the size of the largest
parameter, the time, and the time that only reading the same bytes takes. Mean and maximum of
A_T of some parameters are compared with a plain computation on whole arrays.

    python benchmarks/memory.py                 a quick look, 0.2 GB of disk
    python benchmarks/memory.py --size full     models of a billion weights and more, 20 GB of disk
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from processes import in_process
from raw_reads import read_all, size_of
from rounds import Goal, Report, Row, Table, arguments, every_thread, keep, scratch_folder
from runs import WrongValueError

Shape = tuple[int, ...]
POOL = 1 << 24
"""Most random weights, of which files repeat stretches: drawing billions would take longer."""

ROLES = ("weight", "embedding", "bias")

COLUMNS = (
    ("case", "", ""),
    ("weights", "million weights", ",.1f"),
    ("largest", "largest tensor", ",.1f"),
    ("checkpoints", "checkpoints", "d"),
    ("read_gigabytes", "GB read", ".2f"),
    ("peak_megabytes", "MB over imports", ".0f"),
    ("seconds", "s", ".2f"),
    ("read_seconds", "raw read s", ".2f"),
    ("stored_megabytes", "MB stored", ".0f"),
)

SHARD_BYTES = 2 << 30
DECODER, TWICE = "decoder, 4 checkpoints", "decoder, 8 checkpoints"
MOST_BYTES = 1 << 30
FLAT = 1.25
"""How much more memory twice as many checkpoints may take, to be called none."""

CHECKED_ELEMENTS = 200_000_000
"""Most elements of a parameter that is compared with whole arrays."""


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

    def pool(self, step: int) -> npt.NDArray[np.uint16]:
        """Random weights of one checkpoint, of which its parameters are stretches."""
        return random_weights(step, min(POOL, 2 * self.elements))


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


@dataclass(frozen=True)
class Extent:
    """How far the cases of a size go.

    Attributes:
        blocks: Of the decoder.
        width: Of the decoder.
        words: Of the decoder.
        long: Length of two rows, and of two columns.
        expert: Side of each of eight experts.
        embedding: Its shape.
        filled: Share of the embedding that is not zero.
        row: Length of sixteen long rows.
        tiny: Number of tiny tensors.
    """

    blocks: int
    width: int
    words: int
    long: int
    expert: int
    embedding: Shape
    filled: float
    row: int
    tiny: int


SIZES: Mapping[str, Extent] = {
    "smoke": Extent(1, 32, 100, 10_000, 32, (300, 32), 1.0, 2_000, 10),
    "quick": Extent(2, 512, 8_000, 3_000_000, 768, (64_000, 64), 1.0, 200_000, 1_000),
    "medium": Extent(8, 1024, 32_000, 20_000_000, 2048, (256_000, 8192), 0.05, 1_000_000, 5_000),
    "full": Extent(18, 2048, 32_000, 80_000_000, 4096, (256_000, 8192), 0.05, 4_000_000, 20_000),
}


def cases(size: str) -> Iterator[Case]:
    """Yield the runs of a size."""
    to = SIZES[size]
    model = transformer(to.blocks, to.width, to.width * 11 // 4, to.words)
    yield Case(DECODER, model, 4)
    yield Case(TWICE, model, 8)
    yield Case("two rows", {"fc.weight": (2, to.long)}, 3)
    yield Case("two columns", {"fc.weight": (to.long, 2)}, 3)
    yield Case("experts", {"experts.weight": (8, to.expert, to.expert)}, 3)
    yield Case("embedding", {"embed.weight": to.embedding}, 2, to.filled)
    yield Case("long rows", {"fc.weight": (16, to.row)}, 3)
    tiny = {f"l{i}.bias": (64,) for i in range(to.tiny)}
    yield Case(f"{to.tiny:,} tiny tensors", tiny, 4)


@lru_cache(maxsize=8)
def random_weights(step: int, elements: int) -> npt.NDArray[np.uint16]:
    """Return random weights as bfloat16."""
    weights = np.random.default_rng(step).standard_normal(elements, np.float32)
    return (weights.view(np.uint32) >> 16).astype(np.uint16)


def stretch(weights: npt.NDArray[np.uint16], number: int, elements: int) -> Iterator[Any]:
    """Yield the weights of a parameter, stretch by stretch of the pool."""
    at = number * 7919 % (len(weights) // 2)
    while elements:
        part = weights[at : at + elements]
        yield part
        elements -= len(part)
        at = 0


def write(case: Case, folder: Path) -> list[str]:
    """Write the checkpoints, each of them a folder of shards."""
    written = []
    for step in range(case.checkpoints):
        weights, target = case.pool(step), folder / f"step_{step}"
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
        parts = list(stretch(case.pool(step), len(name) + elements, elements))
        current = (np.concatenate(parts).astype(np.uint32) << 16).view(np.float32)
        if previous is not None:
            total += np.abs(current - previous)
        previous = current
    return float(total.sum() / math.prod(case.shapes[name])), float(total.max())


def check(case: Case, values: Mapping[str, Sequence[float]]) -> None:
    """Compare some parameters with a plain computation on whole arrays."""
    checked = [n for n, s in case.shapes.items() if math.prod(s) <= CHECKED_ELEMENTS]
    for name in (checked or list(case.shapes)[:1])[:: max(1, len(checked) // 3)][:4]:
        mean, largest = expected(case, name)
        if not np.allclose(values[name], (mean, largest), rtol=1e-9, atol=0):
            raise WrongValueError(f"{case.name}, {name}: {values[name]}, expected {mean, largest}")


def measured(case: Case, folder: Path) -> Row:
    """Make a run, analyse it, and compare its values."""
    paths = write(case, folder)
    files = [str(file) for path in paths for file in Path(path).glob("*.safetensors")]
    read_seconds = read_all(files, every_thread(), 1 << 18)
    out = folder / "out.accw"
    found = in_process("accweight", paths=paths, out=str(out), roles=ROLES)
    check(case, found["values"])
    return {
        "case": case.name,
        "weights": case.elements / 1e6,
        "largest": max(math.prod(s) for s in case.shapes.values()) / 1e6,
        "checkpoints": case.checkpoints,
        "read_gigabytes": size_of(files) / 1e9,
        "peak_megabytes": found["peak_bytes"] / 1e6,
        "seconds": found["seconds"],
        "read_seconds": read_seconds,
        "stored_megabytes": size_of(map(str, filter(Path.is_file, out.rglob("*")))) / 1e6,
    }


def goals_of(rows: Sequence[Row]) -> list[Goal]:
    """Return what memory must not exceed."""
    peaks = {row["case"]: row["peak_megabytes"] for row in rows}
    most = max(peaks, key=lambda case: peaks[case])
    goals = [
        Goal(f"MB above imports, at most ({most})", peaks[most], MOST_BYTES / 1e6, at_least=False)
    ]
    if {DECODER, TWICE} <= peaks.keys():
        growth = peaks[TWICE] / peaks[DECODER]
        goals.append(Goal("memory of twice the checkpoints", growth, FLAT, at_least=False))
    return goals


def main(given: Sequence[str] | None = None) -> None:
    """Measure every case; print a table and write JSON."""
    options = arguments(__doc__, given)
    rows = []
    for case in islice(cases(options.size), 2 if options.size == "smoke" else None):
        with scratch_folder(options) as folder:
            rows.append(measured(case, folder))
    table = Table("bfloat16, with pictures, all threads", COLUMNS, rows)
    keep(Report([table], goals_of(rows)), "memory", options.out)


if __name__ == "__main__":
    main()
