"""Ratings of the parts of inputs by gradients: methods that are known by their names.

All take the gradient of one number of the output, sample by sample, as a function of the input:

- ``gradient``: the gradient itself (Simonyan, Vedaldi and Zisserman, arXiv 1312.6034);
- ``gradient_x_input``: times the input, so that parts add up for a linear network;
- ``smoothgrad``: the mean gradient over noisy copies (Smilkov et al., arXiv 1706.03825);
- ``integrated``: the mean gradient on the straight line from a baseline, times the distance; parts
  add up to the change of the output (Sundararajan, Taly and Yan, arXiv 1703.01365).

captum has them for torch modules; these are for whatever runs a network, in batches of any size
with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.probes.network import Array

Gradient = Callable[[Array], Array]
"""The gradient with respect to inputs, of their shape; every sample has its own."""

Method = Literal["gradient", "gradient_x_input", "smoothgrad", "integrated"]

LEAST_CHANGE = 1e-12
"""Change of an output below which shares of it mean nothing."""


@dataclass(frozen=True)
class Rating:
    """How parts are rated.

    Attributes:
        method: The method.
        points: Noisy copies of `smoothgrad`, or points on the line of `integrated`.
        noise: Noise of `smoothgrad`, in parts of the range of a sample.
        seed: Its seed.
    """

    method: Method = "gradient"
    points: int = 32
    noise: float = 0.1
    seed: int = 0

    @property
    def are_shares(self) -> bool:
        """Whether ratings share an output out, so that those of several parts may be added."""
        return self.method in ("gradient_x_input", "integrated")

    @property
    def adds_up(self) -> bool:
        """Whether ratings add up to the change of the output from that of a baseline."""
        return self.method == "integrated"

    def of(self, x: Array, gradient: Gradient, rows: Array, baseline: Array) -> Array:
        """Return the rating of every element.

        Args:
            x: (samples, ...) float32.
            gradient: The gradient.
            rows: (samples,) numbers of the samples, by which their noise is always the same.
            baseline: What `integrated` begins at, of the shape of x.
        """
        match self.method:
            case "gradient":
                return gradient(x)
            case "gradient_x_input":
                return gradient(x) * x
            case "smoothgrad":
                return self._smooth(x, gradient, rows)
        return self._integrated(x, gradient, baseline)

    def _smooth(self, x: Array, gradient: Gradient, rows: Array) -> Array:
        flat = x.reshape(len(x), -1)
        spread = self.noise * (flat.max(axis=1) - flat.min(axis=1))
        spread = spread.astype(np.float32).reshape(-1, *(1,) * (x.ndim - 1))
        total = np.zeros(x.shape, np.float64)
        for point in range(self.points):
            drawn = [np.random.default_rng([self.seed, int(row), point]) for row in rows]
            noise = np.stack([one.standard_normal(x.shape[1:], np.float32) for one in drawn])
            total += gradient(x + spread * noise)
        return total / self.points

    def _integrated(self, x: Array, gradient: Gradient, baseline: Array) -> Array:
        """Return the mean gradient at the middles of equal parts of the line, times its length."""
        total = np.zeros(x.shape, np.float64)
        for point in range(self.points):
            share = np.float32((point + 0.5) / self.points)
            total += gradient(baseline + share * (x - baseline))
        return (x - baseline) * total / self.points


def missing_shares(ratings: Array, change: Array) -> Array:
    """Return (samples,): the share of a change of the output that ratings do not add up to.

    Args:
        ratings: (samples, ...).
        change: (samples,) float64 by how much the output differs from that of the baseline.
    """
    apart = np.abs(ratings.reshape(len(ratings), -1).sum(axis=1) - change)
    found: Array = apart / np.maximum(np.abs(change), LEAST_CHANGE)
    return found


def largest_share(shares: Array) -> Array:
    """Return the largest of `missing_shares`; NaN if one is, as it then is not known."""
    return np.asarray(np.max(shares, initial=0.0))
