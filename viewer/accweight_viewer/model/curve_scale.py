"""The vertical scale of curves, linear or logarithmic, and their smoothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.metrics.totals import Floats

HEADROOM = 1.06
"""Top of a linear scale, relative to the largest value."""

LONGEST = 6.0
"""Most powers of ten on a logarithmic scale; what is smaller is not drawn."""


@dataclass(frozen=True)
class CurveScale:
    """A vertical scale.

    Attributes:
        low: Its bottom: 0, or the smallest value that a logarithmic scale shows.
        high: Its top.
        is_logarithmic: Whether equal factors have equal heights.
    """

    low: float
    high: float
    is_logarithmic: bool = False

    @classmethod
    def of(cls, curves: Sequence[Floats], *, logarithmic: bool) -> CurveScale:
        """Return the scale of some curves; values that are not finite do not count."""
        finite = np.concatenate([np.zeros(0), *(c[np.isfinite(c)].ravel() for c in curves)])
        positive = finite[finite > 0]
        if not logarithmic or not len(positive):
            return cls(0.0, float(finite.max(initial=0.0)) * HEADROOM or 1.0)
        top = float(positive.max())
        low = max(float(positive.min()), top / 10**LONGEST)
        reach = math.log10(top / low)
        return cls(low, top * 10 ** (max(reach, 0.5) * (HEADROOM - 1)), True)

    def heights(self, values: Floats) -> Floats:
        """Return the heights of values, 0 at the bottom and 1 at the top; NaN where undrawn."""
        if not self.is_logarithmic:
            shares: Floats = (values - self.low) / (self.high - self.low)
            return shares
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = np.where(values >= self.low * (1 - 1e-9), values, np.nan)
            logs: Floats = np.log10(drawn / self.low) / math.log10(self.high / self.low)
        return logs

    def ticks(self, most: int) -> list[float]:
        """Return round values on the scale, at most that many and at least two if there are."""
        if not self.is_logarithmic:
            return _round_steps(self.high, most)
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high))
        every = max(1, math.ceil((last - first + 1) / max(most, 2)))
        powers = [10.0**power for power in range(first, last + 1, every)]
        if len(powers) >= 2:
            return powers
        leads = [lead * 10.0**power for power in range(first - 1, last + 1) for lead in (1, 2, 5)]
        return [float(f"{tick:.12g}") for tick in leads if self.low <= tick <= self.high][:most]


def _round_steps(top: float, most: int) -> list[float]:
    """Return round values from 0 to `top`, at most that many.

    >>> _round_steps(0.37, 4), _round_steps(23, 3)
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


def smoothed(values: Floats, share: float) -> Floats:
    """Return the running mean of curves, in which each value counts `share` of the one after it.

    The first values are not drawn towards 0, and missing ones are left out: TensorBoard smooths
    its curves in the same way.

    Args:
        values: (..., steps).
        share: From 0, which changes nothing, to below 1.

    >>> smoothed(np.array([1.0, np.nan, 3.0]), 0.5).round(3).tolist()
    [1.0, nan, 2.333]
    """
    if not share:
        return values
    known = np.isfinite(values)
    total, weight = np.zeros(values.shape[:-1]), np.zeros(values.shape[:-1])
    means = np.full(values.shape, np.nan)
    for at in range(values.shape[-1]):
        here = known[..., at]
        total = np.where(here, share * total + (1 - share) * values[..., at], total)
        weight = np.where(here, share * weight + (1 - share), weight)
        means[..., at] = np.where(here, total / np.where(weight > 0, weight, 1), values[..., at])
    return means
