"""What has to be said with a comparison of runs: whether it means anything, what ranks hide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from accweight_core.alignment.rates import rate_series
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.table import TABLE, Floats

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis

CHANCE = 0.05
"""Permutation p from which an agreement may be chance."""

FEWEST = 5
"""Layers below which no order can be told from chance: of 4, one order in 12 is perfect or its
reverse."""

ALIKE = 1.25
"""Ratio of values up to which two runs are not told apart."""

BY_CHECKPOINTS = frozenset({"efficiency", "update_ratio"})
"""Metrics without a unit that depend on the number of checkpoints all the same."""

SHOWN = 4
"""Items listed in a note."""


def agreement_text(rho: float, p: float, pairs: int, per: str = "layer") -> str:
    """Return what a rank correlation can be taken for, in a sentence without a full stop."""
    if math.isnan(rho):
        return f"{pairs} {per}s with values: no rank correlation"
    which = "agreement" if rho >= 0 else "disagreement"
    if pairs < FEWEST:
        return (
            f"{pairs} {per}s are too few for ranks to tell {which} from chance (p = {p:.2g}); "
            "look at the values"
        )
    if p > CHANCE:
        return f"chance explains as much {which} of {pairs} {per}s (permutation p = {p:.2g})"
    return (
        f"more {which} of {pairs} {per}s than chance (permutation p = {p:.2g}); "
        "equal ranks are not equal values"
    )


def scale_text(a: Sequence[float], b: Sequence[float], by: str) -> str:
    """Return how many times larger the values of one side are, over all layers; '' if alike."""
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x > 0 and y > 0]
    if not pairs or TABLE[by].unit == "a count":
        return ""
    ratios = np.array([x / y for x, y in pairs])
    middle = float(np.exp(np.log(ratios).mean()))
    side, other = ("a", "b") if middle >= 1 else ("b", "a")
    if middle < 1:
        ratios, middle = 1 / ratios, 1 / middle
    if middle < ALIKE and ratios.max() < ALIKE and ratios.min() > 1 / ALIKE:
        return ""
    return (
        f"{by} is {middle:.2g} times as large in {side} as in {other} (geometric mean; "
        f"{ratios.min():.2g} to {ratios.max():.2g} by layer)"
    )


def run_cautions(a: Analysis, b: Analysis, at: tuple[int, int], by: str) -> list[str]:
    """Return warnings where two runs were not measured alike: start, steps, learning rate.

    Args:
        a: One analysis.
        b: The other.
        at: Index of the step in a and in b.
        by: The metric.
    """
    steps = [
        side.steps[: index % len(side.steps) + 1] for side, index in zip((a, b), at, strict=True)
    ]
    notes = []
    if same_reference(a, b) is False:
        first, second = steps[0][0], steps[1][0]
        where = f"{first} in both" if first == second else f"{first} in a, {second} in b"
        notes.append(
            f"the weights of the first checkpoints differ (step {where}): {_why_apart(a, b)}; each "
            "run is measured from its own"
        )
    if not np.array_equal(steps[0], steps[1]):
        told = " and ".join(
            f"{len(found)} checkpoints to step {found[-1]} in {name}"
            for name, found in zip("ab", steps, strict=True)
        )
        notes.append(f"the steps differ: {told}{_grows(by)}")
    rates = [_rate(side, index) for side, index in zip((a, b), at, strict=True)]
    known = [rate for rate in rates if rate is not None]
    if len(known) == 2 and max(known) > ALIKE * min(known):
        notes.append(
            f"the learning rates differ ({known[0]:.3g} in a, {known[1]:.3g} in b, on average)"
            f"{'' if _is_scale_free(by) else f', and {by} grows with them'}"
        )
    return notes


def _why_apart(a: Analysis, b: Analysis) -> str:
    """Return why two runs may begin with other weights."""
    for first, then, names in ((a, b, "ab"), (b, a, "ba")):
        restart = then.header.restart
        if restart and first.path and restart.after == first.path.name:
            return f"{names[1]} is what the job of {names[0]} did after it was restarted"
    return "other seeds, or not the same start"


def group_cautions(runs: Sequence[Analysis], values: Floats, by: str) -> list[str]:
    """Return warnings where runs of groups were not measured alike, or were given twice.

    Args:
        runs: All runs.
        values: (runs, layers) of the metric.
        by: The metric.
    """
    notes = []
    spans = {(len(run.steps), int(run.steps[0]), int(run.steps[-1])) for run in runs}
    if len(spans) > 1:
        told = ", ".join(f"{n} to step {last}" for n, _, last in sorted(spans)[:SHOWN])
        notes.append(f"the runs have different checkpoints ({told}){_grows(by)}")
    elif not _is_scale_free(by):
        notes.append(
            f"{by} grows with the learning rate: where runs differ in it, compare by relative"
        )
    if len(np.unique(values, axis=0)) < len(values):
        notes.append("some runs have equal values: if a run was given twice, it counts twice")
    return notes


def _is_scale_free(by: str) -> bool:
    return TABLE[by].unit.startswith("none")


def _grows(by: str) -> str:
    """Return what other steps do to a metric."""
    if not _is_scale_free(by):
        return f"; {by} grows with steps and learning rate: compare by relative or rotation"
    if by in BY_CHECKPOINTS:
        return f"; {by} depends on how many there are: look at the walk in brackets"
    return "; longer training moves weights farther"


def same_reference(a: Analysis, b: Analysis) -> bool | None:
    """Tell whether two runs began with the same weights, by sums over parameters of equal names.

    Returns:
        None if no parameter has the same name and shape in both, or sums are missing.
    """
    column = SUMS.index("reference_square")
    there = {p.name: at for at, p in enumerate(b.parameters)}
    pairs = [
        (here, there[p.name])
        for here, p in enumerate(a.parameters)
        if p.name in there and b.parameters[there[p.name]].shape == p.shape
    ]
    sums = [
        (float(a.values[0, here, column]), float(b.values[0, other, column]))
        for here, other in pairs
    ]
    known = [(x, y) for x, y in sums if not math.isnan(x) and not math.isnan(y)]
    return all(x == y for x, y in known) if known else None


def _rate(side: Analysis, index: int) -> float | None:
    """Return the mean learning rate up to a step, if the checkpoints hold it."""
    found = rate_series(side, index)
    known = found[np.isfinite(found) & (found > 0)] if found is not None else np.zeros(0)
    return float(known.mean()) if known.size else None
