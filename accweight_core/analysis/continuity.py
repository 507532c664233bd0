"""Detect steps that do not continue the run: restarts and checkpoints of other runs.

Folders hold restarts, foreign checkpoints and leftovers of other runs. Two figures reveal them
without flagging steady training, learning-rate drops and fine-tuning (shown on real runs by
``benchmarks/continuity.py``):

- *alignment*, the cosine between the weights of two consecutive checkpoints, as the median
  over weight matrices: training turns a matrix gradually, while independent
  initialisations are orthogonal;
- *kept*, the distance from the start after a step divided by the distance before it:
  training does not return to the start, a restart from the same seed does.

Neither detects a checkpoint of another run that was trained from the same initial weights. Networks
of small matrices need more than the sums of neighbouring steps: `small_networks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats
from accweight_core.schema import Role
from accweight_core.store.header import Header

SMALLEST_MATRIX = 256
"""Fewest elements of a matrix that counts: random ones of this size have cosines up to 1/16."""

LEAST_ALIGNMENT = 0.08
"""Alignment below which a step is reported. Unrelated networks reached 0.03; real training had a
minimum of 0.11 (a tiny initialisation with a large learning rate), and 0.40 in all other runs."""

LEAST_KEPT = 0.5
"""Share of the distance from the start below which a step is reported. Training kept 0.99 or more;
restarts from the same seed kept 0.35 or less, with one exception at 0.80."""


BREAK = re.compile(r"step (-?\d+) does not look like a continuation of step ")
"""Beginning of the message of a break, with its step."""


UNRELATED = (
    " (median cosine over matrices; unrelated networks are near 0, training stays near 1), "
    "so one of the two is probably a restart or from another run"
)
RETURNED = (
    " (training keeps almost all of it), so this is probably a restart from the same "
    "initial weights"
)
"""What the figures of a break mean; said once."""


@dataclass(frozen=True)
class Break:
    """A step that does not continue the step before it.

    Attributes:
        step: The step after the break.
        previous_step: The step before it.
        reason: What is unusual, with the figures.
    """

    step: int
    previous_step: int
    reason: str

    def __str__(self) -> str:
        """Return a one-line message for the user."""
        return (
            f"step {self.step} does not look like a continuation of step "
            f"{self.previous_step}: {self.reason}"
        )


@dataclass(frozen=True)
class Signals:
    """The figures per step; NaN where a step has none.

    Attributes:
        alignment: Median cosine between the weights of a step and of the step before it.
        kept: Distance from the reference, divided by that of the step before.
    """

    alignment: Floats
    kept: Floats


def signals(header: Header, values: Floats) -> Signals:
    """Return the figures that `breaks` evaluates."""
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
    cosine[(moved == 0) | (lengths == 0)] = np.nan  # no direction
    kept[~np.isfinite(kept)] = np.nan
    return Signals(_median(cosine), kept)


def _one_step_before(values: Floats) -> Floats:
    return np.concatenate([np.full_like(values[:1], np.nan), values[:-1]])


def _median(values: Floats) -> Floats:
    """Return the median over parameters per step; NaN where no parameter has a value."""
    known = ~np.isnan(values).all(axis=1) if values.size else np.zeros(len(values), bool)
    result = np.full(len(values), np.nan)
    result[known] = np.nanmedian(values[known], axis=1)
    return result


def breaks(header: Header, values: Floats, told: Iterable[str] = ()) -> list[Break]:
    """Return the steps that do not continue the step before them.

    Args:
        header: Header of the steps.
        values: (steps, parameters, sums).
        told: Warnings on earlier steps; what they explain is not explained again.
    """
    figures = signals(header, values)
    found = []
    told = tuple(told)
    explained = {m for m in (UNRELATED, RETURNED) if any(m in warning for warning in told)}
    for index in range(1, len(header.steps)):
        reason = _reason(figures, index, explained)
        if reason:
            found.append(Break(int(header.steps[index]), int(header.steps[index - 1]), reason))
    return found


def _reason(figures: Signals, index: int, explained: set[str]) -> str:
    """Return why a step does not continue the one before, '' if it does.

    Args:
        figures: The figures of all steps.
        index: Index of the step.
        explained: What has been explained before, and is not explained again; receives the rest.
    """
    alignment, kept = figures.alignment[index], figures.kept[index]
    if alignment < LEAST_ALIGNMENT:
        told = f"their weights align by {alignment:.2f}"
        meaning = UNRELATED
    elif kept < LEAST_KEPT:
        told = f"only {kept:.0%} of the distance from the first checkpoint remains"
        meaning = RETURNED
    else:
        return ""
    if meaning in explained:
        return f"{told}, as above"
    explained.add(meaning)
    return told + meaning
