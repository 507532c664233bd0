"""A cold disk: analysing checkpoints that are in no cache, against reading them one by one.

Before every pass the files are taken out of the page cache, and it is looked whether they are.
The baseline reads file after file, 1 MiB at a time, with one thread and with all. What a
virtual machine's host keeps in its own memory cannot be emptied from within: then `cold` is
faster than the disk, for both sides alike; the rates of every round are in the JSON.

    python benchmarks/disk.py                        4 checkpoints of 25M weights, 0.4 GB
    python benchmarks/disk.py --size full            8 of 500M weights, 16 GB
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from analyses import analyse_little, checked_seconds
from raw_reads import evict, read_all, size_of
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
from runs import Pool, Shapes, elements, network, write_streams

SIZES = {"smoke": (1e5, 2), "quick": (25e6, 4), "medium": (125e6, 8), "full": (500e6, 8)}
"""Weights and checkpoints."""

COLUMNS = (
    ("way", "", ""),
    ("seconds", "s", ".2f"),
    ("rate", "GB/s", ".2f"),
    ("of_sequential", "of sequential", ".2f"),
    ("spread", "(range)", ""),
    ("stayed", "stayed in cache", ".0%"),
)

READ, STRETCH = 1 << 20, 64 << 20
SEQUENTIAL = "read in order, 1 thread"
BOUND = 0.95


def cold(files: Sequence[str], way: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of a way with files in no cache, and the share that stayed there."""
    stayed = evict(files)
    return way(), stayed


def ways_of(
    paths: Sequence[str], pool: Pool, shapes: Shapes, store: str, size: str
) -> dict[str, Callable[[], tuple[float, float]]]:
    """Return what is compared, cold."""
    analyse = partial(checked_seconds, paths, pool, shapes, store)
    found: dict[str, Callable[[], float]] = {}
    for n in sorted({1, *thread_counts(size)}):
        found[f"read in order, {threads_of(n)}"] = partial(read_all, paths, n, READ, STRETCH)
    for n in thread_counts(size):
        found[f"accweight, {threads_of(n)}"] = partial(analyse, picture_budget_bytes=0, threads=n)
    found[f"accweight, {threads_of(every_thread())}, pictures"] = analyse
    return {name: partial(cold, paths, way) for name, way in found.items()}


def rows_of(found: dict[str, list[tuple[float, float]]], size_bytes: int) -> list[Row]:
    """Return medians, and the share of the sequential rate by round."""
    base, rows = [seconds for seconds, _ in found[SEQUENTIAL]], []
    for name, results in found.items():
        seconds = [result[0] for result in results]
        shares = ratios(base, seconds)
        rows.append({
            "way": name,
            "seconds": median(seconds),
            "rate": size_bytes / median(seconds) / 1e9,
            "of_sequential": median(shares),
            "spread": spread(shares),
            "stayed": max(result[1] for result in results),
            "rates": [size_bytes / s / 1e9 for s in seconds],
        })  # fmt: skip
    return rows


def notes_of(rows: Sequence[Row], warm_rate: float) -> list[str]:
    """Return what makes the figures doubtful, if anything does."""
    rates = next(row["rates"] for row in rows if row["way"] == SEQUENTIAL)
    notes = [f"the same files from the page cache: {warm_rate:.1f} GB/s"]
    if max(row["stayed"] for row in rows) > 0.05:
        notes.append("files stayed in the page cache: this is no cold disk")
    if max(rates) > 1.5 * min(rates):
        notes.append(
            f"the disk gave {min(rates):.2f} to {max(rates):.2f} GB/s: it is shared, throttled, "
            "or cached by a host"
        )
    return notes


def measured(folder: Path, size: str, rounds: int) -> Report:
    """Write a run, and take the ways in turn."""
    weights, checkpoints = SIZES[size]
    pool, shapes = Pool(checkpoints), network(weights)
    paths = write_streams(folder, pool, shapes)
    size_bytes = size_of(paths)
    analyse_little()
    found = in_turn(ways_of(paths, pool, shapes, str(folder / "out.accw"), size), rounds)
    rows = rows_of(found, size_bytes)
    warm = size_bytes / min(read_all(paths, 1, READ) for _ in range(2)) / 1e9
    goals = [
        Goal(f"{row['way']}, cold: of the sequential rate", row["of_sequential"], BOUND)
        for row in rows
        if row["way"] == f"accweight, {threads_of(every_thread())}"
    ]
    title = f"{size_bytes / 1e9:.1f} GB, {checkpoints} checkpoints of {elements(shapes) / 1e6:.0f}M"
    return Report([Table(f"{title} weights, none of it in memory", COLUMNS, rows)], goals,
                  notes_of(rows, warm))  # fmt: skip


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print and keep; where the page cache cannot be told to forget, say so."""
    options = arguments(__doc__, given)
    if not (hasattr(os, "posix_fadvise") and hasattr(os, "RWF_NOWAIT")):
        keep(
            Report(notes=["files cannot be taken out of memory here: skipped"]), "disk", options.out
        )
        return
    with scratch_folder(options) as folder:
        keep(measured(folder, options.size, options.rounds), "disk", options.out)


if __name__ == "__main__":
    main()
