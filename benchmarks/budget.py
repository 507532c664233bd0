"""Where the time of `analyze` goes, in nanoseconds per weight and checkpoint, with the limits.

Measured from outside, by differences of whole analyses that leave something out, on one thread:
the budget so outlives any change within. Beside each item stands what the same machine needs, in
the same rounds, for the least that the item has to do.

    python benchmarks/budget.py                      6 checkpoints of 10M weights, 0.4 GB
    python benchmarks/budget.py --size full          8 of 120M weights, 6 GB
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from analyses import analyse_little, checked_seconds
from file_formats import FORMATS, write_run
from raw_reads import best_buffer, read_all
from rounds import (
    Goal,
    Report,
    Row,
    Table,
    arguments,
    every_thread,
    in_turn,
    keep,
    median,
    scratch_folder,
    threads_of,
)
from runs import Pool, elements, network

from accweight_core.jobs.work import LARGE_BLOCK

SIZES = {"smoke": (1e5, 2), "quick": (10e6, 6), "medium": (40e6, 8), "full": (120e6, 8)}
"""Weights and checkpoints."""

COLUMNS = (
    ("item", "", ""),
    ("ns", "ns", ".3f"),
    ("share", "share", ".0%"),
    ("limit", "limit ns", ".3f"),
    ("limited_by", "limit", ""),
)

OPERATIONS = 24
"""Subtractions, sums, products and comparisons per weight that the twelve metrics take."""

TINY = 1000.0
"""Weights of a run that is all fixed cost."""

WITH_PICTURES = 1.5
"""Most time that an analysis with pictures may take, of one without."""

BLOCK = LARGE_BLOCK
IN_CACHE = 1 << 16

Seconds = Callable[[], float]


def analyses(folder: Path, size: str) -> dict[str, Seconds]:
    """Write the runs; return the analyses whose differences are the items."""
    weights, checkpoints = SIZES[size]
    pool = Pool(checkpoints, narrow=True)
    made: dict[str, list[str]] = {}
    for name, shapes, form in (
        ("full", network(weights), "safetensors"),
        ("half", network(weights), "bfloat16"),
        ("tiny", network(TINY), "safetensors"),
    ):
        made[name] = write_run(folder / name, pool, shapes, FORMATS[form])
    buffer, store = best_buffer(made["full"], 1), str(folder / "out.accw")
    analyse = partial(checked_seconds, made["full"], pool, network(weights), threads=1)
    return {
        "read": partial(read_all, made["full"], 1, buffer),
        "read half": partial(read_all, made["half"], 1, buffer),
        "fixed": partial(checked_seconds, made["tiny"], pool, network(TINY), threads=1),
        "numbers": analyse,
        "numbers, small blocks": partial(analyse, block_elements=BLOCK // 4),
        "numbers half": partial(checked_seconds, made["half"], pool, network(weights), threads=1),
        "stored": partial(analyse, out=store, picture_budget_bytes=0),
        "pictures": partial(analyse, out=store),
        "all threads": partial(analyse, out=store, picture_budget_bytes=0, threads=every_thread()),
    }


def timed(action: Callable[[], object], weights: int) -> float:
    """Return nanoseconds per weight of something that is done to so many."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) / weights * 1e9


def limits(folder: Path, stored_bytes: int, weights: int) -> dict[str, Seconds]:
    """Return what the items are held against, each in nanoseconds per weight."""
    large, room = np.ones(1 << 26, np.uint8), np.empty(1 << 18, np.uint8)
    narrow, wide = torch.zeros(IN_CACHE, dtype=torch.bfloat16), torch.empty(IN_CACHE)
    matrix, product = torch.ones(512, 512, dtype=torch.float64), torch.empty(512, 512).double()
    flops = 2 * 512**3

    def copy() -> None:
        for at in range(0, len(large), len(room)):
            np.copyto(room, large[at : at + len(room)])

    def widen() -> None:
        for _ in range(64):
            wide.copy_(narrow)

    def write() -> None:
        with (folder / "written.bin").open("wb") as file:
            for at in range(0, stored_bytes, len(large)):
                file.write(large[: stored_bytes - at].data)

    return {
        "copy": lambda: timed(copy, len(large) // 4),
        "arithmetic": lambda: (
            timed(lambda: torch.mm(matrix, matrix, out=product), flops) * OPERATIONS
        ),
        "widen": lambda: timed(widen, 64 * IN_CACHE),
        "write": lambda: timed(write, weights),
    }


def items(ns: Mapping[str, Sequence[float]], limit: Mapping[str, float]) -> list[Row]:
    """Return the budget: differences by round, their medians."""

    def less(one: str, *others: str) -> float:
        return median([a - sum(b) for a, *b in zip(ns[one], *(ns[o] for o in others), strict=True)])

    per_block = less("numbers, small blocks", "numbers") / 3
    halves = zip(ns["numbers half"], ns["read half"], ns["numbers"], ns["read"], strict=True)
    widening = median([(a - b) - (c - d) for a, b, c, d in halves])
    total = median(ns["pictures"])
    rows: list[tuple[str, float, float | None, str]] = [
        ("reading (the raw read)", median(ns["read"]), limit["copy"], "copying 4 bytes into cache"),
        (
            "every metric",
            less("numbers", "read", "fixed"),
            limit["arithmetic"],
            f"{OPERATIONS} operations at the rate of a float64 matrix product",
        ),
        ("storing the numbers", less("stored", "numbers"), None, ""),
        ("pictures (drawn, pooled, written)", less("pictures", "stored"), limit["write"],
         "writing their bytes to one file"),
        ("opening, starting, ending", median(ns["fixed"]), None, ""),
        ("all of it, with pictures", total, None, ""),
        ("without pictures", median(ns["stored"]), None, ""),
        (f"without pictures, {threads_of(every_thread())}", median(ns["all threads"]), None, ""),
        ("calls, per block (of every metric)", per_block, None, ""),
        ("widening bfloat16 (besides)", widening, limit["widen"], "the same in cache, by torch"),
    ]  # fmt: skip
    return [
        {"item": item, "ns": value, "share": value / total, "limit": least, "limited_by": why}
        for item, value, least, why in rows
    ]


def measured(folder: Path, size: str, rounds: int) -> Report:
    """Write the runs, measure in turn, and take the differences."""
    torch.set_num_threads(1)
    ways = analyses(folder, size)
    analyse_little()
    in_turn(ways, 1)
    ways["pictures"]()
    stored = sum(f.stat().st_size for f in (folder / "out.accw").rglob("*") if f.is_file())
    weights, checkpoints = SIZES[size]
    count = elements(network(weights)) * checkpoints
    bounds = limits(folder, stored, count)
    in_turn(bounds, 1)
    found = in_turn({**ways, **bounds}, rounds)
    ns = {name: [seconds / count * 1e9 for seconds in found[name]] for name in ways}
    limit = {name: median(found[name]) for name in bounds}
    title = (
        f"{checkpoints} checkpoints of {count / checkpoints / 1e6:.1f}M weights, one thread: "
        "nanoseconds per weight and checkpoint"
    )
    table = Table(title, COLUMNS, items(ns, limit))
    ratio = median([a / b for a, b in zip(ns["pictures"], ns["stored"], strict=True)])
    goal = Goal("with pictures, of without", ratio, WITH_PICTURES, at_least=False)
    return Report(
        [table], [goal], notes=["differences of medians: small items are within the noise"]
    )


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    options = arguments(__doc__, given)
    with scratch_folder(options) as folder:
        keep(measured(folder, options.size, options.rounds), "budget", options.out)


if __name__ == "__main__":
    main()
