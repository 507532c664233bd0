"""How well each metric of movement predicts criticality, over the layers of one run.

Spearman's rank correlation over the layers that moved, with a bootstrap interval over layers
(percentiles) and the band that holds 95 % of the correlations of layers in random order. A run has
few layers, so both are wide; one run is one case, and no test of the metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.metrics.table import METRICS

Floats = npt.NDArray[np.float64]

SAMPLES = 2000
"""Samples of layers, and orders of them, that are drawn."""

FEWEST = 3
"""Layers from which on a correlation is given."""

BAND = (2.5, 97.5)

FLAT = 1e-9
"""Spread of ranks, in parts of its most, from which on all are taken for one."""


@dataclass(frozen=True)
class Prediction:
    """How well one metric predicts criticality.

    Attributes:
        by: The metric.
        spearman: The rank correlation; None if all values of one side are equal.
        low: Lower end of its 95 % interval, layers drawn with replacement.
        high: Upper end.
        null: Half the width of the band of layers in random order (95 %).
        layers: Number of layers that it rests on.
    """

    by: str
    spearman: float | None
    low: float | None
    high: float | None
    null: float | None
    layers: int

    @property
    def tells(self) -> bool:
        """Whether it says anything: there is one, and the band of chance does not reach +-1."""
        return self.spearman is not None and (self.null is None or self.null < 1 - FLAT)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class LayerCriticality:
    """One layer of a rewind beside its movement.

    Attributes:
        layer: Its name.
        lost: What is lost when it is put back, by step.
        random: What is lost with random draws, on average; NaN without any.
        moved: Whether it has moved since the first of the steps.
        metrics: Metrics of the analysis at its last step, by name; empty for layers that it does
            not rank (a norm by itself).
        rank: Rank by what is lost at the first of the steps, from 1; None if it has not moved.
    """

    layer: str
    lost: dict[int, float]
    random: float
    moved: bool
    metrics: dict[str, float]
    rank: int | None


def layers_of(analysis: Analysis, result: ProbeResult, name: str) -> list[LayerCriticality]:
    """Return the layers of a rewind beside their movement, in network order.

    Args:
        analysis: The analysis that holds it.
        result: The results of the probe.
        name: "loss_rise" or "accuracy_fall".
    """
    steps = [int(step) for step in result.steps]
    lost, moved = result.array(name), result.array("moved")
    drawn = result.array(f"random_{name}") if f"random_{name}" in result.arrays else None
    rows = {row.name: row for row in analysis.shown.rows}
    names = result.labels("layer")
    order = [at for at in np.argsort(-lost[0], kind="stable") if moved[0, at]]
    ranks = {int(at): rank for rank, at in enumerate(order, start=1)}
    return [
        LayerCriticality(
            layer,
            {step: float(lost[row, at]) for row, step in enumerate(steps)},
            math.nan if drawn is None else float(drawn[:, at].mean()),
            bool(moved[0, at]),
            {m: float(v[-1]) for m, v in rows[layer].metrics.items()} if layer in rows else {},
            ranks.get(at),
        )
        for at, layer in enumerate(names)
    ]


def predictions(layers: Sequence[LayerCriticality], seed: int = 0) -> list[Prediction]:
    """Return how well every metric predicts criticality at the first of the steps.

    Layers that have not moved are left out: their criticality is 0 by construction, and so is
    their movement.

    Args:
        layers: The layers of a rewind.
        seed: Seed of what is drawn.
    """
    used = [one for one in layers if one.moved and one.metrics]
    known = [name for name in METRICS if all(name in one.metrics for one in used)] if used else []
    return [_predicted(name, used, seed) for name in known]


def _predicted(by: str, layers: Sequence[LayerCriticality], seed: int) -> Prediction:
    pairs = [(one.metrics[by], next(iter(one.lost.values()))) for one in layers]
    finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
    count = len(finite)
    if count < FEWEST:
        return Prediction(by, None, None, None, None, count)
    left, right = np.array(finite).T
    chance = np.random.default_rng(seed)
    once = np.ones((1, count))
    found = float(_weighted(left, right, once)[0])
    if math.isnan(found):
        return Prediction(by, None, None, None, None, count)
    samples = chance.multinomial(count, np.full(count, 1 / count), SAMPLES)
    low, high = np.nanpercentile(_weighted(left, right, samples), BAND)
    orders = np.argsort(chance.random((SAMPLES, count)), axis=1)
    null = float(np.percentile(np.abs(_permuted(left, right, orders)), 95))
    return Prediction(by, found, float(low), float(high), null, count)


def _weighted(left: Floats, right: Floats, counts: npt.NDArray[Any]) -> Floats:
    """Return rank correlations of samples in which each item comes several times.

    Args:
        left: (items,).
        right: (items,).
        counts: (samples, items): how often each item is in a sample.

    Returns:
        (samples,); NaN where all values of one side are equal.
    """
    total = counts.sum(axis=1, keepdims=True)
    ranks = [_ranks(side, counts) for side in (left, right)]
    centred = [r - (counts * r).sum(axis=1, keepdims=True) / total for r in ranks]
    squares = [(counts * c * c).sum(axis=1) for c in centred]
    product = (counts * centred[0] * centred[1]).sum(axis=1)
    most = total[:, 0] ** 3
    told = np.minimum(*squares) > FLAT * most
    found = np.full(len(counts), np.nan)
    np.divide(product, np.sqrt(squares[0] * squares[1]), out=found, where=told)
    return np.asarray(np.clip(found, -1, 1))


def _ranks(values: Floats, counts: npt.NDArray[Any]) -> Floats:
    """Return the ranks of items in samples; equal values share the mean of theirs."""
    distinct, which = np.unique(values, return_inverse=True)
    per_value = counts @ np.eye(len(distinct))[which]
    below = np.cumsum(per_value, axis=1) - per_value
    return np.asarray((below + (per_value + 1) / 2)[:, which])


def _permuted(left: Floats, right: Floats, orders: npt.NDArray[Any]) -> Floats:
    """Return the rank correlations with one side in other orders."""
    once = np.ones((1, len(left)))
    one, other = (side - side.mean() for side in (_ranks(left, once)[0], _ranks(right, once)[0]))
    product = one[orders] @ other
    return np.asarray(product / math.sqrt(float(one @ one) * float(other @ other)))
