"""Data of the timeline: positions of checkpoints, curves, measures, scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.step_axis import Positions, shares
from accweight_core.metrics.totals import Floats
from accweight_core.text import plain
from accweight_viewer.model.session import Session

MOST_MEASURES = 4

HEADROOM = 1.06
"""Top of the vertical scale, relative to the largest value."""


@dataclass(frozen=True)
class Curves:
    """The curves of one run.

    Attributes:
        run: Index of the run.
        names: Layers.
        positions: (steps,) indices of its checkpoints among those of all runs.
        x: (steps,) horizontal positions, from 0 to 1.
        values: (layers, steps); NaN where there is no value.
    """

    run: int
    names: tuple[str, ...]
    positions: Positions
    x: Floats
    values: Floats


@dataclass(frozen=True)
class Measure:
    """A loss, an accuracy or the like, with a scale shared by similar measures.

    Attributes:
        name: Name in the checkpoints.
        values: (steps,) NaN where a checkpoint has none.
        low: Bottom of the scale, 0 unless values are negative.
        high: Top of the scale.
    """

    name: str
    values: Floats
    low: float
    high: float


class Chart:
    """Curves and measures of a session at one moment.

    Attributes:
        steps: Steps of all runs.
        x: Horizontal positions, from 0 to 1.
        metric: Metric of the curves.
        words: What it is.
        short_names: What layers are called, by name.
        curves: Curves of each run.
        broken: Where numbers end: for each run with NaN or infinity the first layer and its step.
        measures: Measures of the first run, at most four.
        top: Top of the vertical scale, which starts at 0.
    """

    def __init__(self, session: Session) -> None:
        self.steps = session.steps
        self.x = shares(self.steps)
        self.metric = session.settings.curve_metric
        self.words = plain(session.metric_words.get(self.metric, self.metric))
        self.names = list(session.layer_names)
        self.short_names = session.short_names
        self.run_names = [run.name for run in session.runs]
        self.curves = [self._curves(session, run) for run in range(len(session.runs))]
        self.broken = [run.first_nonfinite for run in session.runs if run.first_nonfinite]
        self.measures = chosen_measures(session.runs[0].measures)
        self.measure_x = self.curves[0].x
        largest = [c.values[np.isfinite(c.values)].max(initial=0.0) for c in self.curves]
        self.top = float(max(largest)) * HEADROOM or 1.0

    def _curves(self, session: Session, run: int) -> Curves:
        shown = session.runs[run]
        positions = np.searchsorted(self.steps, shown.steps)
        names = tuple(layer.name for layer in shown.layers)
        return Curves(run, names, positions, self.x[positions], session.curves(run))

    def x_at(self, position: float) -> float:
        """Return the horizontal position of an index, which may lie between two checkpoints."""
        return float(np.interp(position, np.arange(len(self.x)), self.x))

    def nearest_position(self, x: float) -> int:
        """Return the index of the checkpoint nearest to a horizontal position from 0 to 1."""
        return int(np.abs(self.x - x).argmin())

    def ranked(self, run: int = 0) -> list[str]:
        """Return the layers with a value at the last step, largest first."""
        curves = self.curves[run]
        at_end = curves.values[:, -1] if curves.values.size else np.empty(0)
        order = np.argsort(-at_end, kind="stable")
        return [curves.names[i] for i in order if math.isfinite(at_end[i])]


def chosen_measures(measures: Mapping[str, Floats]) -> list[Measure]:
    """Return at most four measures: validation first, losses and accuracies before others."""
    known = {name: np.asarray(v, float) for name, v in measures.items() if np.isfinite(v).any()}
    chosen = sorted(known, key=_importance)[:MOST_MEASURES]
    families: dict[str, list[Floats]] = {}
    for name in chosen:
        families.setdefault(_family(name), []).append(known[name])
    found = []
    for name in chosen:
        together = np.concatenate(families[_family(name)])
        low, high = min(0.0, float(np.nanmin(together))), float(np.nanmax(together))
        found.append(Measure(name, known[name], low, high if high > low else low + 1.0))
    return found


def _family(name: str) -> str:
    """Return the key of the measures that share a scale."""
    return next((family for family in ("loss", "acc") if family in name.lower()), name)


def _importance(name: str) -> tuple[bool, bool, bool]:
    family = _family(name)
    return (
        family == name and family not in ("loss", "acc"),
        "val" not in name.lower(),
        (family != "loss"),
    )


def value_ticks(top: float, most: int) -> list[float]:
    """Return round values from 0 to `top`, at most that many.

    >>> value_ticks(0.37, 4), value_ticks(23, 3)
    ([0.0, 0.1, 0.2, 0.3], [0.0, 10.0, 20.0])
    """
    exponent = math.floor(math.log10(top)) - 2
    for power in range(exponent, exponent + 5):
        for lead in (1, 2, 5):
            unit = lead * 10.0**power
            count = int(top / unit * (1 + 1e-9)) + 1
            if count <= max(most, 2):
                return [float(f"{i * unit:.12g}") for i in range(count)]
    return [0.0]
