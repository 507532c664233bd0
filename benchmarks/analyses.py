"""An analysis as benchmarks call it: through the surface alone, timed, its values at hand."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from typing import Any

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


def analysed_anew(paths: Sequence[str], out: str | None = None, **options: Any) -> Found:
    """Analyse a run, an earlier result removed; opening it counts."""
    if out:
        shutil.rmtree(out, ignore_errors=True)
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
