"""Training figures: those that are finite are numbers, of the others it is kept what they were.

A loss that is NaN or infinite is what a user most wants to be told of, but it has no place on a
scale, and plain JSON has none for it. So it is kept beside the finite ones, as a word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def finite_and_not(figures: Mapping[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the figures that are finite, and the others as "nan", "inf" or "-inf", by name.

    >>> finite_and_not({"loss": float("nan"), "lr": 0.5})
    ({'lr': 0.5}, {'loss': 'nan'})
    """
    finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
    others = {name: str(float(v)) for name, v in figures.items() if not math.isfinite(v)}
    return finite, others


def figures_from(finite: Mapping[str, float], others: Mapping[str, str]) -> dict[str, float]:
    """Return all figures as numbers; the inverse of `finite_and_not`."""
    return {**finite, **{name: float(word) for name, word in others.items()}}
