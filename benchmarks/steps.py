"""What one more step costs, by how many there are: given as a file, and while it stays open.

A step is a call of `append` with the path of one checkpoint, as scripts and `watch` do; opening the
analysis and describing the checkpoint count. Or it is an update of a `ChangeTracker`, which keeps
the analysis open, until it is on disk. Analyses with few and with many steps take one each in turn.
The median is what a step takes; the mean contains the merges of segments, of which most steps have
none. All bits are compared with those of analysing all checkpoints again, whose time stands beside.
Files are in the page cache, pictures and state are stored.

    python benchmarks/steps.py                       at 10 and 100 steps
    python benchmarks/steps.py --size full           at 10, 100 and 1,000 steps
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from analyses import analyse_little
from rounds import Goal, Report, Row, Table, arguments, keep, median, ratios, scratch_folder, spread
from runs import WrongValueError, elements, network
from safetensors.numpy import load_file, save_file

import accweight_core as aw

POINTS = {"smoke": (3, 5), "quick": (10, 100), "medium": (10, 100, 1000), "full": (10, 100, 1000)}
"""Steps that are there when the next ones are measured."""

WEIGHTS = {"smoke": 1e4, "quick": 1e5, "medium": 1e5, "full": 1e5}

WINDOW = {"smoke": 2, "quick": 16, "medium": 16, "full": 16}
"""Steps that are measured at each point: as many as are merged, so that one merge is among them."""

COLUMNS = (
    ("point", "steps there", ",d"),
    ("step", "ms for one more", ".1f"),
    ("spread", "(range)", ""),
    ("ratio", "of the first row", ".2f"),
    ("processor", "ms of processors", ".1f"),
    ("mean", "ms with merges", ".1f"),
    ("segments", "segments", "d"),
)

OF_FILES = (
    ("opening", "ms to open", ".1f"),
    ("again", "ms to analyse all again", ",.0f"),
)
"""Further columns of the first table."""

FLAT = 1.5
"""Most that a step may cost with the most steps there, of what it costs with the fewest."""

Seconds = tuple[float, float]
"""What something took, by the clock and of the processors."""


def write_steps(folder: Path, count: int, weights: float) -> list[str]:
    """Write checkpoints of a network that takes random steps; return their paths."""
    chance = np.random.default_rng(0)
    shapes = network(weights)
    now = {name: chance.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    paths = [str(folder / f"step_{step}.safetensors") for step in range(count)]
    for path in paths:
        save_file(now, path)
        for name, shape in shapes.items():
            now[name] = now[name] + np.float32(0.002) * chance.standard_normal(shape, np.float32)
    return paths


def by_file(paths: Sequence[str], points: Sequence[int], folder: Path) -> list[Path]:
    """Append checkpoints one by one; return a copy of the analysis at each point."""
    grown, copies = folder / "grown.accw", [folder / f"at_{point}.accw" for point in points]
    aw.analyze(paths[:2], grown, keep_state=True)
    there = 2
    for point, copy in zip(points, copies, strict=True):
        for place in range(there, point):
            aw.append(paths[place], grown)
        there = point
        shutil.copytree(grown, copy)
    return copies


def tracked(paths: Sequence[str], point: int, out: Path) -> aw.ChangeTracker:
    """Return a tracker that has taken so many checkpoints and has its analysis open."""
    tracker = aw.ChangeTracker(out, errors="raise", keep_state=True)
    for step in range(point):
        one_more(tracker, paths[step], step)
    return tracker


def one_more(tracker: aw.ChangeTracker, path: str, step: int) -> Seconds:
    """Return what it takes a tracker until one more step is on disk."""
    weights = load_file(path)

    def update() -> None:
        tracker.update(weights, step)
        tracker.flush()

    return timed(update)


def taken_in_turn(
    points: Sequence[int], window: int, take: Callable[[int, int], Seconds]
) -> list[Row]:
    """Return a row per point; the analysis of each takes one step after the others have."""
    found: list[list[Seconds]] = [[] for _ in points]
    for place in range(window):
        for at, point in enumerate(points):
            found[at].append(take(at, point + place))
    clocks = [[clock for clock, _ in one] for one in found]
    return [
        {
            "point": point,
            "step": 1e3 * median(clock),
            "spread": spread([1e3 * one for one in clock]),
            "ratio": median(ratios(clock, clocks[0])),
            "processor": 1e3 * median(processor for _, processor in one),
            "mean": 1e3 * sum(clock) / window,
            "rounds": clock,
        }
        for point, clock, one in zip(points, clocks, found, strict=True)
    ]


def compare(row: Row, out: Path, paths: Sequence[str]) -> None:
    """Compare an analysis that has grown with all in one go, and note what that takes.

    Raises:
        WrongValueError: If a bit differs.
    """
    other = out.with_name("again.accw")
    row["again"], _ = in_ms(lambda: aw.analyze(paths, other, keep_state=True, overwrite=True))
    row["opening"], _ = in_ms(lambda: aw.open_analysis(out).header)
    grown, whole = aw.open_analysis(out), aw.open_analysis(other)
    order = [grown.header.parameter_index(parameter.name) for parameter in whole.parameters]
    if not np.array_equal(grown.values[:, order], whole.values):  # a mapping has its own order
        raise WrongValueError(f"{len(paths)} steps, added one by one, differ from all in one go")
    assert grown.store is not None
    row["segments"] = len(grown.store.spans)


def timed(act: Callable[[], Any]) -> Seconds:
    """Return what something takes."""
    began, busy = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - began, time.process_time() - busy


def in_ms(act: Callable[[], Any]) -> Seconds:
    """Return the milliseconds that something takes."""
    clock, busy = timed(act)
    return 1e3 * clock, 1e3 * busy


def measured(size: str, folder: Path) -> list[Table]:
    """Add steps at each point, by both ways."""
    points, window = POINTS[size], WINDOW[size]
    paths = write_steps(folder, points[-1] + window, WEIGHTS[size])
    weights = f"{elements(network(WEIGHTS[size])):,} weights"

    outs = by_file(paths, points, folder)
    files = taken_in_turn(
        points, window, lambda at, place: timed(lambda: aw.append(paths[place], outs[at]))
    )
    for row, out in zip(files, outs, strict=True):
        compare(row, out, paths[: row["point"] + window])

    outs = [folder / f"tracked_{point}.accw" for point in points]
    trackers = [tracked(paths, point, out) for point, out in zip(points, outs, strict=True)]
    live = taken_in_turn(
        points, window, lambda at, place: one_more(trackers[at], paths[place], place)
    )
    for row, out, tracker in zip(live, outs, trackers, strict=True):
        tracker.close()
        compare(row, out, paths[: row["point"] + window])
    return [
        Table(f"one more step of {weights}, given as a file", (*COLUMNS, *OF_FILES), files),
        Table(f"one more step of {weights}, of a tracker until it is on disk", COLUMNS, live),
    ]


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    options = arguments(__doc__, given)
    analyse_little()
    with scratch_folder(options) as folder:
        tables = measured(options.size, folder)
    goals = []
    for table, way in zip(tables, ("", ", of a tracker"), strict=True):
        first, last = table.rows[0]["point"], table.rows[-1]
        goal = f"a step with {last['point']:,} steps there, of one with {first}{way}"
        goals.append(Goal(goal, last["ratio"], FLAT, at_least=False))
    keep(Report(tables, goals), "steps", options.out)


if __name__ == "__main__":
    main()
