"""An analysis as benchmarks call it: through the surface alone, timed, its values at hand."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from runs import Pool, Shapes

Values = dict[str, list[float]]
Found = dict[str, Any]


def analysed(paths: Sequence[str], out: str | None = None, **options: Any) -> Found:
    """Open and analyse a run; options are those of `analyze`."""
    import accweight_core as aw  # imports are timed by who calls this

    start = time.perf_counter()
    run = aw.open_run(list(paths))
    opened = time.perf_counter()
    analysis = aw.analyze(run, out, **options)
    done = time.perf_counter()
    return {
        "values": values_of(analysis),
        "open_seconds": opened - start,
        "analyze_seconds": done - opened,
    }


def put_aside(out: str) -> None:
    """Make room for a result: an earlier one is emptied and renamed, not removed.

    Files that ext4 creates soon after others were deleted took 50 ms longer, an analysis without
    pictures twice as long. What the emptied files leave is the memory that the next ones get: on a
    virtual machine that gives free memory back, memory not used lately costs ten times as much.
    """
    store = Path(out)
    if store.exists():
        for path in store.rglob("*"):
            if path.is_file():
                os.truncate(path, 0)
        store.rename(store.with_name(f"{store.name}.{uuid4().hex}"))


def analysed_anew(paths: Sequence[str], out: str | None = None, **options: Any) -> Found:
    """Analyse a run, an earlier result put aside; opening it counts."""
    if out:
        put_aside(out)
    found = analysed(paths, out, **options)
    return {**found, "seconds": found["open_seconds"] + found["analyze_seconds"]}


def checked_seconds(
    paths: Sequence[str], pool: Pool, shapes: Shapes, out: str | None = None, **options: Any
) -> float:
    """Return the seconds of an analysis whose values are right.

    Raises:
        WrongValueError: If one is not.
    """
    found = analysed_anew(paths, out, **options)
    pool.check(found["values"], shapes)
    return float(found["seconds"])


def values_of(analysis: Any) -> Values:
    """Return the mean and the maximum of A_T of every parameter."""
    rows = analysis.measured("parameter")
    return {r.name: [float(r.metrics["mean"][-1]), float(r.metrics["max"][-1])] for r in rows}


def analyse_little() -> None:
    """Load what is loaded at first use: compiled code, and modules that few commands need."""
    import numpy as np
    from safetensors.numpy import save_file

    with tempfile.TemporaryDirectory(prefix="accweight-") as folder:
        paths = [f"{folder}/step_{step}.safetensors" for step in range(2)]
        for step, path in enumerate(paths):
            shapes = {"large.weight": (300, 300), "one.weight": (8, 8), "two.weight": (8, 8)}
            save_file({n: np.full(s, step, np.float32) for n, s in shapes.items()}, path)
        analysed(paths, f"{folder}/run.accw")
