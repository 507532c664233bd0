"""The null beside a movement: what a random walk with steps of the same sizes would have given.

A number such as an efficiency of 0.4 means little by itself: the straightness of a path falls with
the number of checkpoints even where there is nothing but noise. The walk here has the norms of the
steps that were measured, each in a random direction. In many dimensions random directions are
nearly orthogonal, to each other and to the first weights, so with steps s_1 ... s_t

- ``|W_t - W_0|^2 = sum of s_i^2`` (displacement of a random walk), so ``relative`` is
  ``r = sqrt(sum of s_i^2) / |W_0|``;
- ``cos(W_t, W_0) = 1 / sqrt(1 + r^2)``, so ``rotation`` is ``1 - 1 / sqrt(1 + r^2)``;
- with m_i the mean of abs(step i), ``efficiency`` is ``sqrt(sum of m_i^2) / sum of m_i``, which is
  1 / sqrt(t) for equal steps. This takes the steps of a weight to be normal, as sums of many
  updates are; if all have the same size (a sign), it is up to a fifth lower;
- principal components of the path explain ``6 / (pi k)^2`` of its variance: 61%, 15%, 7%
  (Antognini and Sohl-Dickstein, 2018, arXiv 1806.08805).

Bands hold 95% of such walks if all weights step independently. Noise that training has in few
directions spreads more, so a value just outside a band says little.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from accweight_core.metrics.table import Floats
from accweight_core.metrics.totals import Totals

SURE = 1.96
"""Standard deviations on either side within which 95% of walks lie."""

WALKED = ("relative", "rotation", "efficiency")
"""Metrics that have a null."""


@dataclass(frozen=True)
class Expected:
    """What walks give, and the band that holds 95% of them.

    Attributes:
        value: In the middle.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Tell whether a value is one that a random walk could have given."""
        return bool(self.low <= value <= self.high)

    def to_json(self) -> dict[str, float]:
        """Return plain JSON values."""
        return asdict(self)


_UNKNOWN = Expected(np.nan, np.nan, np.nan)


def random_walk(totals: Totals, step_index: int) -> dict[str, Expected]:
    """Return what walks with the measured sizes of steps give at a step, by metric.

    Args:
        totals: Sums of a layer or parameter at all steps.
        step_index: Index of the step, from 0.

    Returns:
        `Expected` of every metric in `WALKED`; NaN where nothing has moved up to the step, and
        where the metric itself is undefined.
    """
    last = step_index % len(totals.values)
    moved = slice(1, last + 1)
    squares, sizes = totals.column("step_square")[moved], totals.column("step_sum")[moved]
    reference = float(totals.column("reference_square")[last])
    elements = totals.elements
    if not squares.sum() > 0:
        return dict.fromkeys(WALKED, _UNKNOWN)
    sizes = sizes[sizes > 0]  # NaN, where an analysis lacks the sum, is not
    found = {"efficiency": _efficiency(sizes, elements)} if sizes.size else {}
    if reference > 0:
        found |= _displaced(squares / reference, elements)
    return {name: found.get(name, _UNKNOWN) for name in WALKED}


def _displaced(squares: Floats, elements: int) -> dict[str, Expected]:
    """Return `relative` and `rotation` of walks.

    ``|W_t - W_0|^2`` varies by the cosines between steps, whose variance is 1 / n; the cosine to
    W_0 also by the component of the displacement along W_0, whose variance is r^2 / n.

    Args:
        squares: Squares of the steps over that of W_0.
        elements: Number of weights n.
    """
    total = float(squares.sum())  # r^2
    apart = max(total**2 - float((squares**2).sum()), 0.0)  # 0 for a single step
    spread = math.sqrt(2 * apart / elements)
    slope = 0.5 * (1 + total) ** -1.5  # of the rotation by r^2
    along = (total / (1 + total)) ** 1.5 / math.sqrt(elements)
    turned = 1 - (1 + total) ** -0.5
    low, high = max(total - SURE * spread, 0.0), total + SURE * spread
    return {
        "relative": Expected(math.sqrt(total), math.sqrt(low), math.sqrt(high)),
        "rotation": _around(turned, math.hypot(slope * spread, along), 0.0, 2.0),
    }


def _efficiency(sizes: Floats, elements: int) -> Expected:
    """Return the efficiency of walks, with the variance of the ratio of two sums of n weights."""
    total, end = float(sizes.sum()), float(np.sqrt((sizes**2).sum()))
    share = np.minimum(sizes / end, 1.0)  # correlation of a step with the displacement
    # covariance of the absolute values of two normal variables, over the product of their means
    together = np.sqrt(1 - share**2) + share * np.arcsin(share) - 1
    single = np.pi / 2 - 1
    variance = single * (1 + (end / total) ** 2) - 2 * float((sizes * together).sum()) / total
    value = end / total
    return _around(value, value * math.sqrt(max(variance, 0.0) / elements), 0.0, 1.0)


def _around(value: float, spread: float, least: float, most: float) -> Expected:
    low, high = value - SURE * spread, value + SURE * spread
    return Expected(value, max(low, least), min(high, most))


def walk_shares(points: int, components: int = 3) -> list[float]:
    """Return the variance that principal components of a random walk explain, largest first.

    The covariance of a walk of T centred points has the eigenvalues
    ``1 / (4 sin^2(pi k / 2T))``; their shares tend to ``6 / (pi k)^2`` as T grows.

    Args:
        points: Number of checkpoints T.
        components: Number of components.

    >>> [round(share, 2) for share in walk_shares(1000)]
    [0.61, 0.15, 0.07]
    """
    if points < 2:
        return []
    values = 1 / (2 * np.sin(np.pi * np.arange(1, points) / (2 * points))) ** 2
    shares: list[float] = (values / values.sum())[:components].tolist()
    return shares
