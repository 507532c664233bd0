"""One run or not? Steps whose change is out of line with their neighbours.

Folders hold restarts, foreign checkpoints and other runs' leftovers. Two figures betray them
and leave steady training, learning-rate drops and fine-tuning alone (shown on real runs by
``benchmarks/continuity.py``):

- *alignment*, the cosine between the weights of two neighbouring checkpoints, as the median
  over weight matrices: training turns a matrix step by step, while independent
  initialisations are at right angles;
- *kept*, how much of the distance from the start is left after a step: training does not
  walk home, a restart from the same seed does.

What neither can tell is a checkpoint of a sibling run, trained from the same initial weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats
from accweight_core.schema import Role
from accweight_core.store.header import Header

SMALLEST_MATRIX = 256
"""Elements below which a matrix says nothing: random ones of this size align by 1/16."""

LEAST_ALIGNMENT = 0.08
"""Neighbouring checkpoints whose matrices align less are taken for strangers: unrelated
networks reached 0.03, honest training went down to 0.11 once (from a tiny start with a large
learning rate) and else to 0.40."""

LEAST_KEPT = 0.5
"""Steps that leave less of the distance from the start are taken for restarts: training kept
0.99 of it or more, restarts from the same seed 0.35 or less, but for one at 0.80."""


@dataclass(frozen=True)
class Break:
    """A step that does not look like training from the step before.

    Attributes:
        step: The step after the break.
        previous_step: The step before it.
        reason: What is out of line, with the figures.
    """

    step: int
    previous_step: int
    reason: str

    def __str__(self) -> str:
        """Return one line for the user."""
        return (
            f"step {self.step} does not look like a continuation of step "
            f"{self.previous_step}: {self.reason}"
        )


@dataclass(frozen=True)
class Signals:
    """The figures per step; NaN where a step has none.

    Attributes:
        alignment: Median cosine between the weights of a step and of the step before.
        kept: Distance from the reference as a share of that of the step before.
    """

    alignment: Floats
    kept: Floats


def signals(header: Header, values: Floats) -> Signals:
    """Return the figures that `breaks` judges."""
    chosen = [
        index
        for index, parameter in enumerate(header.parameters)
        if parameter.role in (Role.WEIGHT, Role.EMBEDDING)
        and len(parameter.shape) > 1
        and parameter.elements >= SMALLEST_MATRIX
    ]
    square, moved, net = (
        values[:, chosen, SUMS.index(name)] for name in ("square", "step_square", "net_square")
    )
    before = _one_step_before(square)
    lengths = np.sqrt(square * before)
    distance = np.sqrt(net.sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (square + before - moved) / (2 * lengths)
        kept = distance / _one_step_before(distance)
    cosine[(moved == 0) | (lengths == 0)] = np.nan  # what stands still says nothing
    kept[~np.isfinite(kept)] = np.nan
    return Signals(_median(cosine), kept)


def _one_step_before(values: Floats) -> Floats:
    return np.concatenate([np.full_like(values[:1], np.nan), values[:-1]])


def _median(values: Floats) -> Floats:
    """Return the median over parameters of each step, NaN where none has a value."""
    known = ~np.isnan(values).all(axis=1) if values.size else np.zeros(len(values), bool)
    result = np.full(len(values), np.nan)
    result[known] = np.nanmedian(values[known], axis=1)
    return result


def breaks(header: Header, values: Floats) -> list[Break]:
    """Return the steps that do not look like training from the step before."""
    figures = signals(header, values)
    found = []
    for index in range(1, len(header.steps)):
        reason = _reason(figures, index)
        if reason:
            found.append(Break(int(header.steps[index]), int(header.steps[index - 1]), reason))
    return found


def _reason(figures: Signals, index: int) -> str:
    alignment, kept = figures.alignment[index], figures.kept[index]
    if alignment < LEAST_ALIGNMENT:
        return (
            f"their weights align by {alignment:.2f} (median cosine over matrices; unrelated "
            "networks are near 0, training stays near 1), so one of the two is probably a "
            "restart or from another run"
        )
    if kept < LEAST_KEPT:
        return (
            f"only {kept:.0%} of the distance from the first checkpoint is left (training keeps "
            "nearly all of it), so this is probably a restart from the same initial weights"
        )
    return ""
