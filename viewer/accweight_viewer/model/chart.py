"""Data of the timeline: positions of checkpoints, curves, measures, scales."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.step_axis import Positions, shares
from accweight_core.metrics.totals import Floats
from accweight_core.text import plain
from accweight_viewer.model.curve_scale import CurveScale, smoothed
from accweight_viewer.model.session import Session

MOST_MEASURES = 4


@dataclass(frozen=True)
class Curves:
    """The curves of one run.

    Attributes:
        run: Index of the run.
        names: Layers.
        positions: (steps,) indices of its checkpoints among those of all runs.
        x: (steps,) horizontal positions, from 0 to 1.
        values: (layers, steps); NaN where there is no value.
        drawn: (layers, steps); the values, smoothed if that is chosen.
    """

    run: int
    names: tuple[str, ...]
    positions: Positions
    x: Floats
    values: Floats
    drawn: Floats


@dataclass(frozen=True)
class Measure:
    """A loss, an accuracy or the like, with a scale shared by similar measures.

    Attributes:
        name: Name in the checkpoints.
        values: (steps,) NaN where a checkpoint has none.
        low: Bottom of the scale, 0 unless values are negative.
        high: Top of the scale.
        run: Index of its run.
    """

    name: str
    values: Floats
    low: float
    high: float
    run: int = 0


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
        measures: Measures of all runs, at most four names.
        scale: The vertical scale of the curves.
        smoothing: Share of a value in the one after it; 0 smooths nothing.
    """

    def __init__(self, session: Session) -> None:
        self.steps = session.steps
        self.x = shares(self.steps)
        self.metric = session.settings.curve_metric
        self.words = plain(session.probes.metric_words.get(self.metric, self.metric))
        self.names = list(session.layer_names)
        self.short_names = session.short_names
        self.run_names = [run.name for run in session.runs]
        self.curves = [self._curves(session, run) for run in range(len(session.runs))]
        self.broken = [run.first_nonfinite for run in session.runs if run.first_nonfinite]
        self.measures = chosen_measures([run.measures for run in session.runs])
        self.smoothing = session.settings.smoothing
        logarithmic = session.settings.curve_scale == "logarithmic"
        self.scale = CurveScale.of([c.values for c in self.curves], logarithmic=logarithmic)

    def _curves(self, session: Session, run: int) -> Curves:
        shown = session.runs[run]
        positions = np.searchsorted(self.steps, shown.steps)
        names = tuple(layer.name for layer in shown.layers)
        values = session.curves(run)
        drawn = smoothed(values, session.settings.smoothing)
        return Curves(run, names, positions, self.x[positions], values, drawn)

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


def chosen_measures(runs: Sequence[Mapping[str, Floats]]) -> list[Measure]:
    """Return measures of at most four names: validation first, losses and accuracies before others.

    Those of one name follow each other, in the order of the runs.
    """
    known = [
        {name: np.asarray(v, float) for name, v in measures.items() if np.isfinite(v).any()}
        for measures in runs
    ]
    names = dict.fromkeys(name for measures in known for name in measures)
    chosen = sorted(names, key=_importance)[:MOST_MEASURES]
    families: dict[str, list[Floats]] = {}
    for name in chosen:
        held = [measures[name] for measures in known if name in measures]
        families.setdefault(_family(name), []).extend(held)
    found = []
    for name in chosen:
        together = np.concatenate(families[_family(name)])
        low, high = min(0.0, float(np.nanmin(together))), float(np.nanmax(together))
        top = high if high > low else low + 1.0
        found += [
            Measure(name, measures[name], low, top, run)
            for run, measures in enumerate(known)
            if name in measures
        ]
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


def spread(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Return places that are at least so far apart, as near as possible to the ones wanted.

    >>> spread([1.0, 1.0, 9.0], 2.0, 0.0, 10.0)
    [0.0, 2.0, 9.0]

    Args:
        wanted: Ascending places.
        apart: Least distance between two.
        low: The smallest place allowed.
        high: The largest place allowed, if there is room for all.
    """
    groups: list[list[float]] = []  # of neighbours: the places wanted of their first ones
    starts: list[float] = []
    for place in wanted:
        groups.append([place])
        starts.append(place)
        while len(groups) > 1 and starts[-2] + len(groups[-2]) * apart > starts[-1]:
            last = groups.pop()
            starts.pop()
            groups[-1] += [other - len(groups[-1]) * apart for other in last]
            starts[-1] = sum(groups[-1]) / len(groups[-1])
    places = [
        start + at * apart
        for start, group in zip(starts, groups, strict=True)
        for at in range(len(group))
    ]
    for at in range(len(places) - 1, -1, -1):
        places[at] = min(places[at], high - (len(places) - 1 - at) * apart)
    for at in range(len(places)):
        places[at] = max(places[at], low + at * apart)
    return places
