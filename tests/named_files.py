"""Checkpoints that are names and a few weights in memory, to test series and order in no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from accweight_core.runs.found import Found
from accweight_core.runs.series import Series, series_in
from accweight_core.schema import Description, HiddenValues, StoredTensor

Rows = dict[str, dict[str, int]]
"""Steps by file, by series."""

ROOT = ("/", "runs", "here")


def found(
    names: Sequence[str],
    inside: Mapping[str, tuple[int, str]] | None = None,
    values: Mapping[str, float] | None = None,
) -> list[Found]:
    """Return a checkpoint per name, with different weights.

    Args:
        names: Paths below `ROOT`.
        inside: Steps stored in files and their keys, by name.
        values: Weights of those that have the same as others, by name.
    """
    made = []
    for number, name in enumerate(names):
        value = (values or {}).get(name, number + 0.5)
        step, key = (inside or {}).get(name, (None, ""))
        tensor = StoredTensor("fc.weight", HiddenValues(_filled(value), "float32", (2, 2)))
        described = Description("torch zip", (tensor,), step, key)
        made.append(Found(Path(*ROOT, name), described, reader="torch"))
    return made


def _filled(value: float):  # type: ignore[no-untyped-def]
    return lambda: np.full((2, 2), value, "f4")


def series_of(names: Sequence[str], **more: Mapping[str, object]) -> list[Series]:
    """Return the series of a folder with files of these names; see `found`."""
    return series_in(found(names, **more), [], ROOT)[0]  # type: ignore[arg-type]


def table(names: Sequence[str], **more: Mapping[str, object]) -> Rows:
    """Return the steps of every file, by series; see `found`."""
    return {
        series.name: {str(p.found.path.relative_to(Path(*ROOT))): p.step for p in series.placed}
        for series in series_of(names, **more)
    }


def steps(names: Sequence[str], **more: Mapping[str, object]) -> dict[str, int]:
    """Return the steps of the files of the only series, in step order; see `found`."""
    (rows,) = table(names, **more).values()
    return rows


def warnings(names: Sequence[str], **more: Mapping[str, object]) -> tuple[str, ...]:
    """Return what has to be checked in the order of the only series; see `found`."""
    (series,) = series_of(names, **more)
    return series.order.warnings


def left_out(names: Sequence[str], **more: Mapping[str, object]) -> dict[str, str]:
    """Return why files are left out of the only series; see `found`."""
    (series,) = series_of(names, **more)
    without = {one.path.name: "no step" for one in series.order.without_step}
    return without | {one.path.name: one.reason for one in series.left_out}
