"""How the cost grows: with the number of tensors, of checkpoints, and with the size of the model.

Every cost is in nanoseconds per weight and checkpoint, beside the raw read of the same files, so
that what grows no faster than the bytes is a level line. Opening the run counts; every metric is
on, no picture is drawn, all threads, files in the page cache. Values are compared in float64.

    python benchmarks/growth.py                      to 5,000 tensors, 20 checkpoints, 16M weights
    python benchmarks/growth.py --size full          to 20,000 tensors, 40 checkpoints, 1G weights
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from analyses import analyse_little, analysed_anew
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
    ratios,
    scratch_folder,
    spread,
    threads_of,
)
from runs import Pool, Shapes, alike, elements, network, write_streams

Axis = str
POINTS: Mapping[str, Mapping[Axis, Sequence[float]]] = {
    "smoke": {"tensors": (2, 20), "checkpoints": (2, 4), "weights": (1e4, 1e5)},
    "quick": {
        "tensors": (10, 100, 1000, 5000),
        "checkpoints": (2, 5, 10, 20),
        "weights": (1e6, 4e6, 16e6),
    },
    "medium": {
        "tensors": (10, 100, 1000, 5000, 20000),
        "checkpoints": (2, 5, 10, 20, 40),
        "weights": (1e6, 3e6, 10e6, 30e6, 100e6),
    },
    "full": {
        "tensors": (10, 100, 1000, 5000, 20000),
        "checkpoints": (2, 5, 10, 20, 40),
        "weights": (1e6, 10e6, 100e6, 1e9),
    },
}

FIXED: Mapping[str, Mapping[Axis, tuple[float, int]]] = {
    "smoke": {"tensors": (4e4, 2), "checkpoints": (4e4, 0), "weights": (0, 2)},
    "quick": {"tensors": (4e6, 4), "checkpoints": (2e6, 0), "weights": (0, 4)},
    "medium": {"tensors": (20e6, 4), "checkpoints": (10e6, 0), "weights": (0, 4)},
    "full": {"tensors": (100e6, 4), "checkpoints": (40e6, 0), "weights": (0, 3)},
}
"""Weights and checkpoints along each axis; 0 is what the axis gives."""

COLUMNS = (
    ("point", "", ",.0f"),
    ("seconds", "s", ".3f"),
    ("open_seconds", "of it opening", ".3f"),
    ("ns", "ns per weight, checkpoint", ".3f"),
    ("raw_ns", "raw read ns", ".3f"),
    ("of_raw", "of raw read", ".2f"),
    ("spread", "(range)", ""),
)

ALLOWED_MICROSECONDS = 200.0
"""What a tensor may cost in all checkpoints, described and measured: thousands take a second."""


@dataclass(frozen=True)
class Point:
    """A run to measure: where on its axis, its shapes, its files, and the right values."""

    at: float
    shapes: Shapes
    paths: Sequence[str]
    pool: Pool

    @property
    def weights(self) -> int:
        """Weights of all checkpoints together."""
        return elements(self.shapes) * len(self.paths)


def points(axis: Axis, size: str, folder: Path) -> list[Point]:
    """Write the runs along an axis; more checkpoints are those of the shorter run and others."""
    weights, checkpoints = FIXED[size][axis]
    ats = POINTS[size][axis]
    if axis == "checkpoints":
        shapes, most = network(weights), int(max(ats))
        paths = write_streams(folder, Pool(most), shapes)
        return [Point(at, shapes, paths[: int(at)], Pool(int(at))) for at in ats]
    found, pool = [], Pool(checkpoints)
    for at in ats:
        shapes = alike(int(at), weights) if axis == "tensors" else network(at)
        found.append(Point(at, shapes, write_streams(folder / str(at), pool, shapes), pool))
    return found


def along(axis: Axis, size: str, folder: Path, rounds: int) -> Table:
    """Measure the points of one axis in turn, and compare all values."""
    threads = every_thread()
    ways: dict[tuple[str, float], Callable[[], Any]] = {}
    measured = points(axis, size, folder)
    buffer = best_buffer(measured[0].paths, threads)
    for point in measured:
        ways["raw", point.at] = partial(read_all, point.paths, threads, buffer)
        ways["ours", point.at] = partial(
            analysed_anew, point.paths, str(folder / "out"), picture_budget_bytes=0
        )
    in_turn(ways, 1)  # brings everything into the page cache
    found = in_turn(ways, rounds)
    rows = []
    for point in measured:
        results = found["ours", point.at]
        for result in results:
            point.pool.check(result["values"], point.shapes)
        rows.append(row_of(point, results, found["raw", point.at]))
    held = {"tensors": "checkpoints", "checkpoints": "weights", "weights": "checkpoints"}[axis]
    count = measured[0].weights / len(measured[0].paths) if held == "weights" else 0
    beside = f"{count / 1e6:.1f}M weights" if count else f"{len(measured[0].paths)} checkpoints"
    return Table(f"by {axis}, {beside}, {threads_of(threads)}", COLUMNS, rows)


def row_of(point: Point, results: Sequence[dict[str, Any]], raw: Sequence[float]) -> Row:
    """Return medians, and the share of the raw read by round."""
    seconds = [result["seconds"] for result in results]
    shares = ratios(raw, seconds)
    return {
        "point": point.at,
        "seconds": median(seconds),
        "open_seconds": median([result["open_seconds"] for result in results]),
        "ns": median(seconds) / point.weights * 1e9,
        "raw_ns": median(raw) / point.weights * 1e9,
        "of_raw": median(shares),
        "spread": spread(shares),
        "rounds": seconds,
    }


def main(given: Sequence[str] | None = None) -> None:
    """Measure axis by axis, since the largest runs fill a disk; print and keep."""
    options = arguments(__doc__, given)
    analyse_little()
    report = Report()
    for axis in POINTS[options.size]:
        with scratch_folder(options) as folder:
            report.tables.append(along(axis, options.size, folder, options.rounds))
    first, last = (report.tables[0].rows[at] for at in (0, -1))
    report.goals = [
        Goal(
            f"microseconds per tensor, of {last['point']:,} in all checkpoints",
            (last["seconds"] - first["seconds"]) / last["point"] * 1e6,
            ALLOWED_MICROSECONDS,
            at_least=False,
        )
    ]
    keep(report, "growth", options.out)


if __name__ == "__main__":
    main()
