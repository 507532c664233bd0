"""How many weights have moved how far: the histogram behind the colours.

Of every parameter a window of texels is taken at its finest stored level, at the last step, and
counts as the whole parameter; so a network of any size takes a moment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accweight_core.metrics.totals import Floats
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.settings import Scope

BINS = 96
LEAST = 1e-4
"""Smallest change of the logarithmic axis."""

WINDOW = 96
"""Most rows and columns that are taken of a picture, from its middle."""


@dataclass(frozen=True)
class Distribution:
    """Shares of weights by their normalised change.

    Attributes:
        linear: (BINS,) shares of equal intervals from 0 to 1.
        logarithmic: (BINS,) shares of equal factors from `LEAST` to 1; the first has smaller ones.
    """

    linear: Floats
    logarithmic: Floats

    def outside(self, low: float, high: float) -> tuple[float, float]:
        """Return the shares of weights below and above a range."""
        edges = np.linspace(0, 1, BINS + 1)
        below = np.interp(low, edges, np.concatenate([[0.0], np.cumsum(self.linear)]))
        upto = np.interp(high, edges, np.concatenate([[0.0], np.cumsum(self.linear)]))
        return (float(below) if low > 0 else 0.0), max(float(self.linear.sum() - upto), 0.0)


def place_of_change(change: float, *, logarithmic: bool) -> float:
    """Return the place from 0 to 1 of a normalised change on the axis."""
    if not logarithmic:
        return min(max(change, 0.0), 1.0)
    return float(np.clip(1 - np.log10(max(change, 1e-30)) / np.log10(LEAST), 0, 1))


def change_at(place: float, *, logarithmic: bool) -> float:
    """Return the normalised change at a place of the axis; the inverse of `place_of_change`."""
    place = min(max(place, 0.0), 1.0)
    return float(LEAST ** (1 - place)) if logarithmic else place


def distribution(runs: tuple[ShownRun, ...], scope: Scope) -> Distribution:
    """Return the distribution of the changes of some runs at their last steps.

    Raises:
        StoreError: If a picture cannot be read.
    """
    linear, logarithmic = np.zeros(BINS), np.zeros(BINS)
    decades = np.linspace(np.log10(LEAST), 0, BINS + 1)
    for run in runs:
        for plate in run.plates:
            scale = run.scale(plate, scope)
            if not plate.ready or scale <= 0 or not len(run.steps):
                continue
            rows, cols = plate.plan.size(plate.finest)
            window = (_middle(rows), _middle(cols))
            last = slice(len(run.steps) - 1, len(run.steps))
            values = run.values(plate, plate.finest, "mean", last, *window).ravel() / scale
            values = values[np.isfinite(values)].astype(np.float64)
            if not len(values):
                continue
            weight = plate.parameter.elements / len(values)
            linear += weight * np.histogram(values, BINS, (0, 1))[0]
            logs = np.clip(np.log10(np.maximum(values, 1e-30)), decades[0], 0)
            logarithmic += weight * np.histogram(logs, decades)[0]
    total = max(linear.sum(), 1.0)
    return Distribution(linear / total, logarithmic / total)


def _middle(length: int) -> slice:
    start = max((length - WINDOW) // 2, 0)
    return slice(start, start + min(length, WINDOW))
