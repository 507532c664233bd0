"""`accweight analyze` against the scripts people write, and against reading the same bytes.

The scripts are plain NumPy and plain torch: load each checkpoint, ``total += abs(current -
previous)``, print the mean and the maximum of each layer, and nothing else. accweight computes
every metric, draws and stores pictures, and may use a few blocks of memory. All but the raw read
are whole processes, taken in turn; `s` excludes imports, `process s` is all of it. The NumPy
script and accweight read safetensors, the torch script zips of torch.save with the same weights.
The values of all are compared with sums in float64.

    python benchmarks/against_numpy.py                    10 checkpoints of 10M weights, 0.8 GB
    python benchmarks/against_numpy.py --size full        of 120M weights, 10 GB
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from file_formats import FORMATS, write_run
from processes import in_process
from raw_reads import best_buffer, read_all, size_of
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
    ratios,
    scratch_folder,
    spread,
    thread_counts,
    threads_of,
)
from runs import Pool, Shapes, elements, network

SIZES = {"smoke": (2e5, 3), "quick": (10e6, 10), "medium": (40e6, 10), "full": (120e6, 10)}
"""Weights and checkpoints."""

COLUMNS = (
    ("way", "", ""),
    ("threads", "threads", "d"),
    ("seconds", "s", ".3f"),
    ("ns", "ns per weight, checkpoint", ".3f"),
    ("rate", "GB/s", ".2f"),
    ("of_raw", "of raw read", ".2f"),
    ("spread", "(range)", ""),
    ("over_numpy", "NumPy script / this", ".2f"),
    ("over_torch", "torch script / this", ".2f"),
    ("megabytes", "MB over imports", ".0f"),
    ("process_seconds", "process s", ".2f"),
)

Ways = Mapping[tuple[str, int], Callable[[], dict[str, Any]]]
Found = dict[tuple[str, int], list[dict[str, Any]]]

NUMPY, TORCH = ("NumPy script: mean, max", 1), ("torch script: mean, max", every_thread())
NUMBERS, PICTURES, RAW = "accweight: every metric", "accweight: and pictures", "raw read"

TOLERANCE = 5e-5
"""Of the scripts, which add up in float32."""


def ways_of(paths: Sequence[str], zips: Sequence[str], store: str, size: str) -> Ways:
    """Return what is compared, by name and threads; reads use the best buffer."""
    ways: dict[tuple[str, int], Callable[[], dict[str, Any]]] = {
        NUMPY: partial(in_process, "numpy", paths=paths),
        TORCH: partial(in_process, "torch", paths=zips),
    }
    for threads in sorted({1, *thread_counts(size)}):
        ways[RAW, threads] = partial(raw, paths, threads, best_buffer(paths, threads))
    for threads in thread_counts(size):
        ours = partial(in_process, "accweight", paths=paths, out=store, threads=threads)
        ways[NUMBERS, threads] = partial(ours, picture_budget_bytes=0)
        ways[PICTURES, threads] = ours
    return ways


def raw(paths: Sequence[str], threads: int, buffer: int) -> dict[str, Any]:
    """Read all bytes and do nothing with them."""
    return {"seconds": read_all(paths, threads, buffer)}


def check(found: Found, pool: Pool, shapes: Shapes) -> None:
    """Compare every result with sums in float64."""
    for way, results in found.items():
        tolerance = TOLERANCE if way in (NUMPY, TORCH) else 2e-7
        for result in results:
            if "values" in result:
                pool.check(result["values"], shapes, tolerance)


def rows_of(found: Found, weights: int, size_bytes: int) -> list[Row]:
    """Return medians, and ratios taken round by round."""
    rows = []
    for (way, threads), results in found.items():
        seconds = [result["seconds"] for result in results]
        raw_share = ratios([r["seconds"] for r in found[RAW, threads]], seconds)
        row = {
            "way": way,
            "threads": threads,
            "seconds": median(seconds),
            "ns": median(seconds) / weights * 1e9,
            "rate": size_bytes / median(seconds) / 1e9,
            "of_raw": median(raw_share),
            "spread": spread(raw_share),
            "over_numpy": median(ratios([r["seconds"] for r in found[NUMPY]], seconds)),
            "over_torch": median(ratios([r["seconds"] for r in found[TORCH]], seconds)),
            "rounds": seconds,
        }
        if way != RAW:
            row["megabytes"] = max(r["peak_bytes"] for r in results) / 1e6
            row["process_seconds"] = median([r["process_seconds"] for r in results])
        rows.append(row)
    return rows


def goals_of(rows: Sequence[Row]) -> list[Goal]:
    """Return what `analyze` must reach."""
    return [
        Goal(
            f"analyze, every metric, {threads_of(row['threads'])}: of the raw read",
            row["of_raw"],
            0.5,
        )
        for row in rows
        if row["way"] == NUMBERS
    ]


def measured(folder: Path, size: str, rounds: int) -> Report:
    """Write the runs, measure, and compare all values."""
    weights, checkpoints = SIZES[size]
    pool, shapes = Pool(checkpoints), network(weights)
    paths, zips = (
        write_run(folder / str(number), pool, shapes, FORMATS[form])
        for number, form in enumerate(("safetensors", ".pt zip"))
    )
    ways = ways_of(paths, zips, str(folder / "run.accw"), size)
    found = in_turn(ways, rounds)
    check(found, pool, shapes)
    size_bytes, count = size_of(paths), elements(shapes)
    title = f"{checkpoints} checkpoints of {count / 1e6:.1f}M float32 weights, in the page cache"
    rows = rows_of(found, count * checkpoints, size_bytes)
    return Report(
        [Table(title, COLUMNS, rows)], goals_of(rows), ["all of them give the same values"]
    )


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    options = arguments(__doc__, given)
    with scratch_folder(options) as folder:
        keep(measured(folder, options.size, options.rounds), "against_numpy", options.out)


if __name__ == "__main__":
    main()
