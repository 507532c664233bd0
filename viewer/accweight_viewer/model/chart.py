"""What the timeline draws, in numbers: where checkpoints stand, curves, measures, and scales.

Steps stand where they are in training. Where some lie hundreds of times closer together than
others, as after 1, 2, 4, ... 100000 updates, they would cover each other: then they stand at
equal distances, and only the numbers below tell how far apart they are.
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
"""Ratio of the largest to the smallest gap from which steps stand at equal distances."""

MOST_MEASURES = 4

HEADROOM = 1.06
"""The vertical scale ends so far above the largest value."""


@dataclass(frozen=True)
class Curves:
    """The curves of one run.

    Attributes:
        run: Position of the run.
        names: Layers.
        positions: (steps,) positions of its checkpoints among those of all runs.
        x: (steps,) where they stand, from 0 to 1.
        values: (layers, steps); NaN where there is no value.
    """

    run: int
    names: tuple[str, ...]
    positions: Positions
    x: Floats
    values: Floats


@dataclass(frozen=True)
class Measure:
    """A loss, an accuracy or the like, with the scale that it shares with its family.

    Attributes:
        name: As in the checkpoints.
        values: (steps,) NaN where a checkpoint has none.
        low: Value at the bottom, 0 unless some are negative.
        high: Value at the top.
    """

    name: str
    values: Floats
    low: float
    high: float


class Chart:
    """Curves and measures of a session, as they are at one moment.

    Attributes:
        steps: Steps of all runs.
        x: Where they stand, from 0 to 1.
        metric: What the curves show.
        curves: Of each run.
        measures: Of the first run, at most four.
        top: Upper end of the vertical scale, which begins at 0.
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
        """Return where a position stands, also one between two checkpoints."""
        return float(np.interp(position, np.arange(len(self.x)), self.x))

    def nearest_position(self, x: float) -> int:
        """Return the checkpoint that stands nearest to a share of the width."""
        return int(np.abs(self.x - x).argmin())

    def ranked(self, run: int = 0) -> list[str]:
        """Return the layers with a value at the end, largest first."""
        curves = self.curves[run]
        at_end = curves.values[:, -1] if curves.values.size else np.empty(0)
        order = np.argsort(-at_end, kind="stable")
        return [curves.names[i] for i in order if math.isfinite(at_end[i])]


def shares(steps: Positions) -> Floats:
    """Return where steps stand between 0 and 1.

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
    """Return what measures on one scale have in common."""
    return next((family for family in ("loss", "acc") if family in name.lower()), name)


def _importance(name: str) -> tuple[bool, bool, bool]:
    family = _family(name)
    return (
        family == name and family not in ("loss", "acc"),
        "val" not in name.lower(),
        (family != "loss"),
    )


def value_ticks(top: float, most: int) -> list[float]:
    """Return round values from 0 to `top`, as many as there may be.

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
    """Return positions of the steps whose numbers fit, regular ones if there are any.

    Args:
        steps: All steps.
        x: Where the middle of each number would be, in pixels.
        widths: How wide each number is.
        gap: Room between two numbers.
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
    """Tell whether the numbers of some steps have room beside each other."""
    at = np.asarray(chosen, dtype=np.int64)
    wide = np.asarray(widths, float)[at]
    return bool((np.diff(x[at]) >= (wide[1:] + wide[:-1]) / 2 + gap).all())


def _with_ends(chosen: list[int], x: Floats, widths: Sequence[float], gap: float) -> list[int]:
    """Return the chosen steps, and the first and last where they fit."""
    for more in ([0, *chosen], [*chosen, len(x) - 1]):
        if _fit(more, x, widths, gap):
            chosen = sorted({*chosen, *more})
    return chosen


def _greedy(x: Floats, widths: Sequence[float], gap: float) -> list[int]:
    """Return the last one, the first one, and from there every one that fits."""
    last = len(x) - 1
    chosen: list[int] = []
    for at in range(last):
        clear = [*chosen[-1:], last]
        if all(abs(x[at] - x[o]) >= (widths[at] + widths[o]) / 2 + gap for o in clear):
            chosen.append(at)
    return [*chosen, last]
