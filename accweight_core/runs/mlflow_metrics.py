"""Metrics that MLflow has logged beside the checkpoints of a run, by step.

MLflow keeps a run as `mlruns/EXPERIMENT/RUN/`: checkpoints below `artifacts/`, and a file for each
metric below `metrics/`, with a line for each value: time, value, step. A metric is a measure of a
checkpoint if it was logged at its step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from accweight_core.runs.step_order import Placed

MOST_METRICS = 64
"""Most metrics that are read of a run."""

LARGEST_BYTES = 4 << 20
"""Size of the largest file of a metric that is read."""

DEEPEST = 4
"""Levels of folders below `metrics/`: the metric `val/loss` is the file `val/loss`."""


def logged_measures(placed: Sequence[Placed]) -> Mapping[int, Mapping[str, float]]:
    """Return the metrics logged at the steps of checkpoints, by step and name.

    Nothing is returned for checkpoints that are not all of one MLflow run.
    """
    runs = {_run_of(place.found.path) for place in placed}
    run = runs.pop() if len(runs) == 1 else None
    if run is None:
        return {}
    found: dict[int, dict[str, float]] = {place.step: {} for place in placed}
    for number, (name, file) in enumerate(_files(run / "metrics")):
        if number == MOST_METRICS:
            break
        for step, value in _values(file):
            if step in found:
                found[step][name] = value
    return found


def _run_of(path: Path) -> Path | None:
    """Return the folder of the MLflow run that a checkpoint is an artifact of."""
    for folder in path.parents:
        if folder.name == "artifacts":
            run = folder.parent
            is_run = (run / "meta.yaml").is_file() and (run / "metrics").is_dir()
            return run if is_run else None
    return None


def _files(folder: Path, name: str = "", depth: int = 0) -> Iterator[tuple[str, Path]]:
    """Yield the files of metrics, with the names of these."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        own = f"{name}/{entry.name}" if name else entry.name
        if not entry.name.isprintable() or own == "system":  # load of the machine
            continue
        if entry.is_file():
            yield own, entry
        elif depth < DEEPEST and entry.is_dir():
            yield from _files(entry, own, depth + 1)


def _values(file: Path) -> Iterator[tuple[int, float]]:
    """Yield the finite values in a file of a metric, with their steps."""
    try:
        if file.stat().st_size > LARGEST_BYTES:
            return
        with file.open("rb") as opened:
            content = opened.read(LARGEST_BYTES)
    except OSError:
        return
    for line in content.splitlines():
        parts = line.split()
        try:
            value, step = float(parts[1]), int(parts[2])
        except (ValueError, IndexError):  # written halfway, or not by MLflow
            continue
        if math.isfinite(value):
            yield step, value
