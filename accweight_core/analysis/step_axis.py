"""The axis of steps: where checkpoints lie on it, and which steps are labelled.

Checkpoints are placed by step. If some gaps are many times smaller than others, as after 1, 2, 4,
... 100000 updates, checkpoints would overlap: then they are equally spaced, and only the labels
show the distances. The viewer's timeline and the figures have the same axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.table import Floats

Positions = npt.NDArray[np.int64]

UNEVEN = 50
"""Ratio of the largest to the smallest gap from which checkpoints are equally spaced."""


def shares(steps: Positions) -> Floats:
    """Return the horizontal positions of steps, from 0 to 1.

    >>> shares(np.array([0, 1, 4])).tolist(), shares(np.array([0, 1, 1000])).tolist()
    ([0.0, 0.25, 1.0], [0.0, 0.5, 1.0])
    """
    if len(steps) < 2:
        return np.full(len(steps), 0.5)
    gaps = np.diff(steps)
    if gaps.max() > UNEVEN * gaps.min():
        return np.linspace(0, 1, len(steps))
    placed: Floats = (steps - steps[0]) / (steps[-1] - steps[0])
    return placed


def step_ticks(steps: Positions, x: Floats, widths: Sequence[float], gap: float) -> list[int]:
    """Return the indices of the steps whose labels fit, at regular distances if possible.

    Args:
        steps: All steps.
        x: Centre of each label in pixels.
        widths: Width of each label.
        gap: Least space between two labels.
    """
    everyone = np.arange(len(steps))
    regular = [everyone[steps % unit == 0] for unit in _round_numbers(int(abs(steps[-1])) + 1)]
    if np.allclose(np.diff(x, n=2), 0, atol=1e-6):
        regular += [everyone[everyone % stride == 0] for stride in range(1, len(steps) + 1)]
    best: list[int] = []
    for subset in regular:
        if len(subset) > max(len(best), 1) and _fit(subset, x, widths, gap):
            best = [int(i) for i in subset]
    best = _with_ends(best, x, widths, gap)
    some = _greedy(x, widths, gap)
    return some if len(some) > 2 * len(best) else best


def _round_numbers(largest: int) -> list[int]:
    powers = range(len(str(largest)))
    return [lead * 10**power for power in powers for lead in (1, 2, 5)]


def _fit(chosen: Sequence[int] | Positions, x: Floats, widths: Sequence[float], gap: float) -> bool:
    """Tell whether the labels of some steps fit next to each other."""
    at = np.asarray(chosen, dtype=np.int64)
    wide = np.asarray(widths, float)[at]
    return bool((np.diff(x[at]) >= (wide[1:] + wide[:-1]) / 2 + gap).all())


def _with_ends(chosen: list[int], x: Floats, widths: Sequence[float], gap: float) -> list[int]:
    """Return the chosen steps, plus the first and last if they fit."""
    for more in ([0, *chosen], [*chosen, len(x) - 1]):
        if _fit(more, x, widths, gap):
            chosen = sorted({*chosen, *more})
    return chosen


def _greedy(x: Floats, widths: Sequence[float], gap: float) -> list[int]:
    """Return the last step, the first one, and from there every step that fits."""
    last = len(x) - 1
    chosen: list[int] = []
    for at in range(last):
        clear = [*chosen[-1:], last]
        if all(abs(x[at] - x[o]) >= (widths[at] + widths[o]) / 2 + gap for o in clear):
            chosen.append(at)
    return [*chosen, last]
