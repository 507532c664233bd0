"""The probe `unit_series`: thousands of curves, one per filter, thinned without losing outliers.

A network has more filters than a chart has room for. Kept are the curves that leave the others, and
curves that are spread evenly over the rest: each is the one that is farthest from those chosen
before (after the blue-noise sampling of DGMTracker: Liu et al., IEEE TVCG 2018). Mean curves would
show neither. From weights alone: how far each filter moved since the step before, as a share of its
norm, or its norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.probe_scales import BANDS
from accweight_core.probes.context import Context
from accweight_core.probes.probe import Array, Needs, Probe, Results, Schema, final, option
from accweight_core.probes.unit_weights import filters_of, layers_with_filters
from accweight_core.probes.units import unit_names
from accweight_core.probes.walking import filters_at
from accweight_core.schema import Parameter
from accweight_core.text import some

OUTLIER = 6.0
"""Robust standard deviations from the median at some step, from which on a curve is an outlier."""

ROBUST = 1.4826
"""From the median absolute deviation to the standard deviation of normal numbers."""


@dataclass
class UnitSeries(Probe):
    """Curves of thousands of filters over the steps, thinned without losing outliers."""

    name, version, needs = "unit_series", 2, Needs.WEIGHTS
    reading = (
        "First come the curves that leave all others, then ones that stand for the rest. The band "
        "around the median has nine of ten curves: what is drawn above it is rare, not typical."
    )

    of: Literal["change", "norm"] = option(
        "change", "relative change since the step before, or norm"
    )
    layers: tuple[str, ...] = option((), "layers; by default all with filters")
    keep: int = option(40, "curves that are kept, at most half of them outliers", least=2)
    most: int = option(4096, "filters of a layer, from the first on", least=1)

    def start(self, context: Context) -> Schema:
        """Return the arrays, and choose the layers."""
        self._layers, self._context = layers_with_filters(context, self.layers), context
        self._names = unit_names(
            {name: min(filters_of(p), self.most) for name, p in self._layers.items()}
        )
        words = "relative change since the step before" if self.of == "change" else "norm"
        return Schema.of(
            {"unit": min(self.keep, len(self._names))},
            final("series", "step unit", f"{words} of a filter"),
            final("deviation", "unit", "largest robust deviation of a curve"),
            final("median", "step", f"{words}: median of all filters, in a band with nine of ten"),
            final("low", "step", "what one filter of twenty is below"),
            final("high", "step", "what one filter of twenty is above"),
            final("outliers", "step", "filters that leave the others at the step"),
            attributes={"filters": len(self._names), BANDS: {"median": ["low", "high"]}},
        )

    def _curves(self, parameter: Parameter, steps: Sequence[int]) -> Array:
        """Return (steps, filters) of one layer."""
        before, curves = None, []
        for whole in filters_at(self._context, parameter, steps):
            rows = whole[: self.most]
            norms = np.linalg.norm(rows, axis=1)
            moved = np.zeros(len(rows)) if before is None else np.linalg.norm(rows - before, axis=1)
            curves.append(norms if self.of == "norm" else moved / np.where(norms > 0, norms, 1))
            before = rows
        return np.array(curves)

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Walk through the run layer by layer, and thin the curves."""
        layers = self._context.one_by_one([*self._layers.values()])
        parts = [self._curves(parameter, results.steps) for parameter in layers]
        series = np.concatenate(parts, axis=1)
        far = deviations(series)
        self._chosen = thinned(series, far.max(axis=0), min(self.keep, series.shape[1]))
        low, middle, high = np.nanquantile(series, [0.05, 0.5, 0.95], axis=1)
        if self.of == "change":  # there is no step before the first
            for known in (series, low, middle, high):
                known[0] = np.nan
        return {
            "series": series[:, self._chosen],
            "deviation": far.max(axis=0)[self._chosen],
            "median": middle,
            "low": low,
            "high": high,
            "outliers": (far > OUTLIER).sum(axis=1),
        }

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return the filters whose curves are kept."""
        return {"unit": tuple(self._names[at] for at in self._chosen)}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return how many curves are kept of how many, and the outliers."""
        far, names = result.array("deviation"), result.labels("unit")
        steps = result.steps[np.argmax(np.nan_to_num(result.array("series")), axis=0)]
        known = zip(names, far, steps, strict=True)
        told = [f"{name} (most at step {step})" for name, one, step in known if one > OUTLIER]
        line = f"{len(names)} of {result.attributes['filters']} curves"
        return [
            f"{line}; that leave the others: {some(told, 6)}"
            if told
            else f"{line}; none leaves the others"
        ]


def deviations(series: Array) -> Array:
    """Return how far curves are above or below the median at each step, in robust deviations.

    Args:
        series: (steps, curves); what is not finite is infinitely far.
    """
    known = np.where(np.isfinite(series), series, np.nan)
    middle = np.nanmedian(known, axis=1, keepdims=True)
    away = np.abs(known - middle)
    spread = ROBUST * np.nanmedian(away, axis=1, keepdims=True)
    found = np.divide(away, spread, out=np.zeros_like(away), where=spread > 0)
    return np.where(np.isnan(known), np.inf, found)


def thinned(series: Array, deviation: Array, count: int) -> Array:
    """Return which curves are kept: outliers, the farthest first, then ones that cover the rest.

    Args:
        series: (steps, curves).
        deviation: (curves,) how far each is from all others.
        count: Curves to keep.
    """
    order = np.argsort(-deviation, kind="stable")
    chosen = [int(at) for at in order[: count // 2] if deviation[at] > OUTLIER]
    scaled = np.nan_to_num(series.T, posinf=0.0, neginf=0.0)
    rest = np.where(deviation > OUTLIER, -1.0, np.inf)  # outliers do not stand for others
    typical = int(np.argmin(np.where(rest > 0, deviation, np.inf)))
    while len(chosen) < count:
        following = typical if np.isinf(rest).any() else int(rest.argmax())
        if rest[following] <= 0:
            left = [int(at) for at in order if int(at) not in set(chosen)]
            return np.array([*chosen, *left[: count - len(chosen)]])
        chosen.append(following)
        near = np.linalg.norm(scaled - scaled[following], axis=1)
        rest = np.where(rest < 0, rest, np.minimum(rest, near))
    return np.array(chosen)
