"""The same weights in every format: how fast each is analysed, against reading its own files.

Weights are rounded to bfloat16, so that all formats hold the same values, every sum is exact, and
all must give the same bits; means and maxima are compared with sums in float64 besides. Every
metric is on, no picture is drawn, files are in the page cache, all formats are taken in turn.

    python benchmarks/formats.py                     5 checkpoints of 5M weights, 1 GB
    python benchmarks/formats.py --size full         of 60M weights, 9 GB
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from analyses import analyse_little, analysed_anew
from file_formats import FORMATS, files_of, write_run
from raw_reads import best_buffer, read_all, size_of
from rounds import (
    Goal,
    Report,
    Row,
    Table,
    arguments,
    in_turn,
    keep,
    median,
    ratios,
    scratch_folder,
    spread,
    thread_counts,
    threads_of,
)
from runs import Pool, Shapes, WrongValueError, elements, network

SIZES = {"smoke": (1e5, 2), "quick": (5e6, 5), "medium": (30e6, 8), "full": (60e6, 5)}
"""Weights and checkpoints."""

COLUMNS = (
    ("format", "", ""),
    ("threads", "threads", "d"),
    ("seconds", "s", ".3f"),
    ("ns", "ns per weight, checkpoint", ".3f"),
    ("rate", "GB/s", ".2f"),
    ("raw_rate", "raw read GB/s", ".2f"),
    ("of_raw", "of raw read", ".2f"),
    ("spread", "(range)", ""),
)

Case = tuple[str, int]
WITH_A_GOAL = ("safetensors", ".pt zip", "ONNX external", "bfloat16")


def by_weight(values: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Return values under one name per layer: Keras has `kernel` where torch has `weight`."""
    return {f"{name.rpartition('.')[0]}.weight": found for name, found in values.items()}


def ways_of(
    runs: Mapping[str, Sequence[str]], cases: Sequence[Case], store: str
) -> dict[tuple[str, Case], Callable[[], Any]]:
    """Return an analysis and a raw read per case; the best buffer is looked for once."""
    buffers = {n: best_buffer(files_of(runs["safetensors"]), n) for _, n in cases[:: len(runs)]}
    ways: dict[tuple[str, Case], Callable[[], Any]] = {}
    for name, threads in cases:
        ways["raw", (name, threads)] = partial(
            read_all, files_of(runs[name]), threads, buffers[threads]
        )
        ways["ours", (name, threads)] = partial(
            analysed_anew, runs[name], store, picture_budget_bytes=0, threads=threads
        )
    return ways


def check(results: Mapping[Case, Sequence[dict[str, Any]]], pool: Pool, shapes: Shapes) -> None:
    """Fail unless all formats give the right values, and the same bits."""
    first = by_weight(next(iter(results.values()))[0]["values"])
    for (form, threads), found in results.items():
        for result in found:
            values = by_weight(result["values"])
            pool.check(values, shapes)
            if values != first:
                raise WrongValueError(f"{form}, {threads_of(threads)}: other bits than safetensors")


def rows_of(
    raw: Mapping[Case, list[float]],
    ours: Mapping[Case, list[dict[str, Any]]],
    sizes: Mapping[str, int],
    weights: int,
) -> list[Row]:
    """Return medians, and the share of the raw read by round."""
    rows = []
    for case, results in ours.items():
        seconds = [result["seconds"] for result in results]
        shares = ratios(raw[case], seconds)
        rows.append({
            "format": case[0],
            "threads": case[1],
            "seconds": median(seconds),
            "ns": median(seconds) / weights * 1e9,
            "rate": sizes[case[0]] / median(seconds) / 1e9,
            "raw_rate": sizes[case[0]] / median(raw[case]) / 1e9,
            "of_raw": median(shares),
            "spread": spread(shares),
            "rounds": seconds,
        })  # fmt: skip
    return rows


def measured(folder: Path, size: str, rounds: int) -> Report:
    """Write every format, measure in turn, compare all values."""
    weights, checkpoints = SIZES[size]
    pool, shapes = Pool(checkpoints, narrow=True), network(weights)
    runs = {
        name: write_run(folder / str(number), pool, shapes, form)
        for number, (name, form) in enumerate(FORMATS.items())
    }
    cases = [(name, threads) for threads in thread_counts(size) for name in runs]
    ways = ways_of(runs, cases, str(folder / "run.accw"))
    analyse_little()
    in_turn(ways, 1)  # brings everything into the page cache
    found = in_turn(ways, rounds)
    raw, ours = ({case: found[kind, case] for case in cases} for kind in ("raw", "ours"))
    check(ours, pool, shapes)
    sizes = {name: size_of(files_of(paths)) for name, paths in runs.items()}
    count = elements(shapes)
    rows = rows_of(raw, ours, sizes, count * checkpoints)
    title = f"{checkpoints} checkpoints of {count / 1e6:.1f}M weights, in the page cache"
    goals = [
        Goal(f"{row['format']}, {threads_of(row['threads'])}: of the raw read", row["of_raw"], 0.5)
        for row in rows
        if row["format"] in WITH_A_GOAL
    ]
    return Report([Table(title, COLUMNS, rows)], goals, ["all formats give the same bits"])


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    options = arguments(__doc__, given)
    with scratch_folder(options) as folder:
        keep(measured(folder, options.size, options.rounds), "formats", options.out)


if __name__ == "__main__":
    main()
