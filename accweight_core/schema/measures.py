"""Training figures as they are kept: finite ones as numbers, and the others apart, as words.

A loss that is NaN or infinite is what a user most wants to be told of, but no scale can show it,
and plain JSON has no number for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

Word = Literal["nan", "inf", "-inf"]
"""What stands for a figure that is not finite."""


def finite_and_not(figures: Mapping[str, float]) -> tuple[dict[str, float], dict[str, Word]]:
    """Return the figures that are finite, and the others as "nan", "inf" or "-inf", by name.

    >>> finite_and_not({"loss": float("nan"), "lr": 0.5})
    ({'lr': 0.5}, {'loss': 'nan'})
    """
    finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
    others = {name: _word(value) for name, value in figures.items() if not math.isfinite(value)}
    return finite, others


def _word(value: float) -> Word:
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"


def figures_from(finite: Mapping[str, float], others: Mapping[str, Word]) -> dict[str, float]:
    """Return all figures as numbers; the inverse of `finite_and_not`."""
    return {**finite, **{name: float(word) for name, word in others.items()}}
