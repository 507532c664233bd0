"""Data of the timeline: positions of checkpoints, curves, measures, scales.

Checkpoints are placed by step. If some gaps are many times smaller than others, as after 1, 2, 4,
... 100000 updates, checkpoints would overlap: then they are equally spaced, and only the labels
show the distances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.totals import Floats
from accweight_viewer.model.session import Session

Positions = npt.NDArray[np.int64]

UNEVEN = 50
"""Ratio of the largest to the smallest gap from which checkpoints are equally spaced."""

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
        curves: Curves of each run.
        measures: Measures of the first run, at most four.
        top: Top of the vertical scale, which starts at 0.
    """

    def __init__(self, session: Session) -> None:
        self.steps = session.steps
        self.x = shares(self.steps)
        self.metric = session.settings.curve_metric
        self.names = list(session.layer_names)
        self.run_names = [run.name for run in session.runs]
        self.curves = [self._curves(session, run) for run in range(len(session.runs))]
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


def shares(steps: Positions) -> Floats:
    """Return the horizontal positions of steps, from 0 to 1.

    >>> shares(np.array([0, 1, 4])).tolist(), shares(np.array([0, 1, 1000])).tolist()
    ([0.0, 0.25, 1.0], [0.0, 0.5, 1.0])
    """
    if len(steps) < 2:
        return np.full(len(steps), 0.5)
    gaps = np.diff(steps)
    if gaps.max() > UNEVEN * gaps.min():
        return np.linspace(0, 1, len(steps))
    placed: Floats = (steps - steps[0]) / (steps[-1] - steps[0])
    return placed


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


def step_ticks(steps: Positions, x: Floats, widths: Sequence[float], gap: float) -> list[int]:
    """Return the indices of the steps whose labels fit, at regular distances if possible.

    Args:
        steps: All steps.
        x: Centre of each label in pixels.
        widths: Width of each label.
        gap: Least space between two labels.
    """
    everyone = np.arange(len(steps))
    regular = [everyone[steps % unit == 0] for unit in _round_numbers(int(abs(steps[-1])) + 1)]
    if np.allclose(np.diff(x, n=2), 0, atol=1e-6):
        regular += [everyone[everyone % stride == 0] for stride in range(1, len(steps) + 1)]
    best: list[int] = []
    for subset in regular:
        if len(subset) > max(len(best), 1) and _fit(subset, x, widths, gap):
            best = [int(i) for i in subset]
    best = _with_ends(best, x, widths, gap)
    some = _greedy(x, widths, gap)
    return some if len(some) > 2 * len(best) else best


def _round_numbers(largest: int) -> list[int]:
    powers = range(len(str(largest)))
    return [lead * 10**power for power in powers for lead in (1, 2, 5)]


def _fit(chosen: Sequence[int] | Positions, x: Floats, widths: Sequence[float], gap: float) -> bool:
    """Tell whether the labels of some steps fit next to each other."""
    at = np.asarray(chosen, dtype=np.int64)
    wide = np.asarray(widths, float)[at]
    return bool((np.diff(x[at]) >= (wide[1:] + wide[:-1]) / 2 + gap).all())


def _with_ends(chosen: list[int], x: Floats, widths: Sequence[float], gap: float) -> list[int]:
    """Return the chosen steps, plus the first and last if they fit."""
    for more in ([0, *chosen], [*chosen, len(x) - 1]):
        if _fit(more, x, widths, gap):
            chosen = sorted({*chosen, *more})
    return chosen


def _greedy(x: Floats, widths: Sequence[float], gap: float) -> list[int]:
    """Return the last step, the first one, and from there every step that fits."""
    last = len(x) - 1
    chosen: list[int] = []
    for at in range(last):
        clear = [*chosen[-1:], last]
        if all(abs(x[at] - x[o]) >= (widths[at] + widths[o]) / 2 + gap for o in clear):
            chosen.append(at)
    return [*chosen, last]
