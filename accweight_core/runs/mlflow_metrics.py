"""Metrics that MLflow has logged beside the checkpoints of a run, by step.

MLflow keeps a run as `mlruns/EXPERIMENT/RUN/`: checkpoints below `artifacts/` or beside the run
(`mlflow_models`), and a file for each metric below `metrics/`, with a line for each value: time,
value, step. A metric is a measure of a checkpoint if it was logged at its step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from accweight_core.io.stamp import stamp_of
from accweight_core.remote import open_file
from accweight_core.runs.found import Placed
from accweight_core.runs.mlflow_models import logged_model
from accweight_core.runs.name_parts import LARGEST
from accweight_core.schema import Stamp

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
    if run is None or not _is_run(run):
        return {}
    found: dict[int, dict[str, float]] = {place.step: {} for place in placed}
    for name, file in islice(_files(run / "metrics"), MOST_METRICS):
        try:
            steps, values = _logged(str(file), stamp_of(file))
        except OSError:
            continue
        for step, value in zip(steps.tolist(), values.tolist(), strict=True):
            if step in found:
                found[step][name] = value
    return found


def _run_of(path: Path) -> Path | None:
    """Return the folder of the run that a checkpoint is of."""
    model = logged_model(path)
    if model is not None:
        return model.run
    return next((folder.parent for folder in path.parents if folder.name == "artifacts"), None)


def _is_run(folder: Path) -> bool:
    return (folder / "meta.yaml").is_file() and (folder / "metrics").is_dir()


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


@lru_cache(maxsize=MOST_METRICS)
def _logged(path: str, stamp: Stamp) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the steps and the values in a file of a metric.

    They are kept for the next look at a run that is followed, until the stamp of the file changes.

    Raises:
        OSError: If it cannot be read.
    """
    if stamp.size_bytes > LARGEST_BYTES:
        return np.empty(0, np.int64), np.empty(0)
    with open_file(path) as opened:
        content = opened.read(LARGEST_BYTES)
    steps, values = [], []
    for line in content.splitlines():
        parts = line.split()
        try:
            value, step = float(parts[1]), int(parts[2])
        except (ValueError, IndexError):  # written halfway, or not by MLflow
            continue
        if abs(step) < LARGEST:
            steps.append(step)
            values.append(value)
    return np.array(steps, np.int64), np.array(values, np.float64)
