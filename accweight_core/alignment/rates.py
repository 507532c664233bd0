"""Change per unit of learning rate: what is left of a movement when the rate is divided out.

``A_T / sum of rate x steps``: the mean path of the weights over the sum of the learning rate, taken
between checkpoints by the trapezoidal rule. For plain SGD, whose step is rate x gradient, this is
the mean absolute gradient, as far as steps between two checkpoints do not undo each other. Momentum
multiplies it by a constant; Adam divides the gradient by its size, so that hardly anything but the
rate is left. So it compares runs of one optimizer, with checkpoints equally far apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from accweight_core.errors import ArgumentValueError
from accweight_core.metrics.table import Floats

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis

PER_RATE = "mean_per_rate"
"""Name of the figure."""

RATES = ("learning_rate", "lr", "train_lr", "learning_rate_0")
"""Names of the learning rate among the figures of checkpoints."""

APART = 1.25
"""Ratio of the distances between checkpoints from which on paths are not compared unsaid."""

Sums = tuple[float, float]


def rate_series(side: Analysis, index: int) -> Floats | None:
    """Return the learning rate of every checkpoint up to one, NaN where it is not known.

    Returns:
        None if no checkpoint holds any.
    """
    measures = side.header.measures
    for name in RATES:
        found: Floats | None = measures.get(name)
        if found is not None:
            known = found[: index % len(found) + 1]
            return known if np.isfinite(known).any() else None
    return None


def rate_sum(side: Analysis, index: int, given: float | None = None) -> float | None:
    """Return the sum of the learning rate over the steps up to a checkpoint.

    A checkpoint that does not hold it, as the one before training, has that of the next one.

    Args:
        side: An analysis.
        index: Index of the checkpoint.
        given: The learning rate, if it is known to be constant.

    Returns:
        None if it is not known, or 0.
    """
    steps = np.asarray(side.steps[: index % len(side.steps) + 1], np.float64)
    if given is not None:
        total = given * float(steps[-1] - steps[0])
    else:
        rates = rate_series(side, index)
        if rates is None:
            return None
        known = np.flatnonzero(np.isfinite(rates))
        filled = rates[known[np.minimum(np.searchsorted(known, np.arange(len(rates))),
                                        len(known) - 1)]]  # fmt: skip
        total = float(np.sum((filled[1:] + filled[:-1]) / 2 * np.diff(steps)))
    return total if total > 0 and math.isfinite(total) else None


def rate_sums(
    sides: tuple[Analysis, Analysis],
    at: tuple[int, int],
    given: Sequence[float] | None,
) -> tuple[Sums | None, list[str]]:
    """Return the sums of both sides, or why nothing can be divided by them, with warnings.

    Args:
        sides: Both analyses.
        at: Index of the step in each.
        given: Constant learning rates of a and b.

    Raises:
        ArgumentValueError: If those given are not two positive numbers.
    """
    if given is not None and (len(given) != 2 or not all(0 < rate < math.inf for rate in given)):
        told = ", ".join(f"{rate:g}" for rate in given)
        raise ArgumentValueError(f"rates must be two positive numbers, of a and of b, got {told}")
    sums = [
        rate_sum(side, index, None if given is None else given[place])
        for place, (side, index) in enumerate(zip(sides, at, strict=True))
    ]
    if sums[0] is None or sums[1] is None:
        missing = [name for name, total in zip("ab", sums, strict=True) if total is None]
        if len(missing) == 1:
            text = (
                f"no change per unit of learning rate: that of {missing[0]} is not in its "
                "checkpoints; if both are constant, give them with --rates A,B"
            )
            return None, [text]
        return None, []
    text = (
        f"{PER_RATE} is the mean path over the sum of the learning rate ({sums[0]:.3g} and "
        f"{sums[1]:.3g}); it means something for runs of the same optimizer alone, and for Adam "
        "hardly anything"
    )
    notes = [text]
    between = [
        float(np.median(np.diff(side.steps[: index % len(side.steps) + 1])))
        for side, index in zip(sides, at, strict=True)
    ]
    if max(between) > APART * min(between):
        notes.append(
            f"checkpoints are {between[0]:g} steps apart in a and {between[1]:g} in b: the path "
            f"between two of them is not seen, so {PER_RATE} is smaller where they are farther"
        )
    return (sums[0], sums[1]), notes
