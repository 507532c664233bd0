"""What one more step costs, by how many there are: appending them one by one, as `watch` does.

A step is a call of `append` with one checkpoint; opening the analysis and describing the checkpoint
count. The median is what a step takes; the mean contains the merges of segments, of which most
steps have none. Beside it, what analysing all checkpoints again takes, which gives the same bits:
that is compared, value by value. Files are in the page cache, pictures and state are stored.

    python benchmarks/steps.py                       at 10 and 100 steps
    python benchmarks/steps.py --size full           at 10, 100 and 1,000 steps
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from analyses import analyse_little
from rounds import Goal, Report, Row, Table, arguments, keep, median, scratch_folder, spread
from runs import WrongValueError, elements, network
from safetensors.numpy import save_file

POINTS = {"smoke": (3, 5), "quick": (10, 100), "medium": (10, 100, 1000), "full": (10, 100, 1000)}
"""Steps that are there when the next ones are measured."""

WEIGHTS = {"smoke": 1e4, "quick": 1e5, "medium": 1e5, "full": 1e5}

WINDOW = {"smoke": 2, "quick": 16, "medium": 16, "full": 16}
"""Steps that are measured at each point: as many as are merged, so that one merge is among them."""

COLUMNS = (
    ("point", "steps there", ",d"),
    ("step", "ms for one more", ".1f"),
    ("spread", "(range)", ""),
    ("mean", "ms with merges", ".1f"),
    ("segments", "segments", "d"),
    ("opening", "ms to open", ".1f"),
    ("again", "ms to analyse all again", ",.0f"),
)

FLAT = 1.5
"""Most that a step may cost with the most steps there, of what it costs with the fewest."""


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


def row_at(point: int, window: int, paths: Sequence[str], out: Path) -> Row:
    """Append checkpoints one by one from some number on; compare with all in one go."""
    import accweight_core as aw  # imports are timed by nobody

    seconds = []
    for place in range(point, point + window):
        began = time.perf_counter()
        grown = aw.append(paths[place], out)
        seconds.append(time.perf_counter() - began)
    there = list(paths[: point + window])
    other = out.with_name("again.accw")
    again = timed(lambda: aw.analyze(there, other, keep_state=True, overwrite=True))
    opening = timed(lambda: aw.open_analysis(out).header)
    whole = aw.open_analysis(other)
    if not np.array_equal(grown.values, whole.values):
        raise WrongValueError(f"{point} steps and {window} more differ from all in one go")
    assert grown.store is not None
    return {
        "point": point,
        "step": 1e3 * median(seconds),
        "spread": spread([1e3 * one for one in seconds]),
        "mean": 1e3 * sum(seconds) / len(seconds),
        "segments": len(grown.store.spans),
        "opening": 1e3 * opening,
        "again": 1e3 * again,
        "rounds": seconds,
    }


def timed(act: Any) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def measured(size: str, folder: Path) -> Table:
    """Append step by step up to the last point, and measure at each."""
    import accweight_core as aw

    points, window = POINTS[size], WINDOW[size]
    paths = write_steps(folder, points[-1] + window, WEIGHTS[size])
    out = folder / "grown.accw"
    aw.analyze(paths[:2], out, keep_state=True)
    rows, there = [], 2
    for point in points:
        for place in range(there, point):
            aw.append(paths[place], out)
        rows.append(row_at(point, window, paths, out))
        there = point + window
    count = elements(network(WEIGHTS[size]))
    return Table(f"one more step of {count:,} weights", COLUMNS, rows)


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print and keep."""
    options = arguments(__doc__, given)
    analyse_little()
    with scratch_folder(options) as folder:
        table = measured(options.size, folder)
    first, last = table.rows[0], table.rows[-1]
    goal = Goal(
        f"a step with {last['point']:,} steps there, of one with {first['point']}",
        last["step"] / first["step"],
        FLAT,
        at_least=False,
    )
    keep(Report([table], [goal]), "steps", options.out)


if __name__ == "__main__":
    main()
