"""The probe `stability`: since when each layer has come to rest, and which filters are of no use.

A layer that has come to rest needs no more training; one that has not by the last step was stopped
early. Filters that are almost 0 compute nothing, and one of two that point the same way is enough:
both say that a layer could be smaller (after DeepEyes: Pezzotti et al., IEEE TVCG 2018). From
weights alone: a filter is the weights of one output of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.context import Context
from accweight_core.probes.known import padded_rows
from accweight_core.probes.probe import Array, Needs, Probe, Results, Schema, final, option
from accweight_core.probes.since import held_since
from accweight_core.probes.unit_weights import filters_of, layers_with_filters
from accweight_core.probes.walking import filters_at
from accweight_core.schema import Parameter
from accweight_core.text import some

DEGENERATE = 0.01
"""Norm of a filter, as a share of the median of its layer, below which it computes nothing."""

LEAST_WEIGHTS = 4
"""Weights of a filter below which two point the same way by chance."""


@dataclass
class Stability(Probe):
    """Since when each layer is stable, and which of its filters are degenerate or duplicates."""

    name, version, needs = "stability", 2, Needs.WEIGHTS
    reading = (
        "A layer is stable once its speed stays below a tenth of its largest. A falling learning "
        "rate brings every layer to rest: that it rests does not say that it has learned."
    )

    quiet: float = option(
        0.1, "share of its largest speed below which a layer is stable", above=0, below=1
    )
    alike: float = option(
        0.99, "absolute cosine from which on two filters are duplicates", above=0, most=1
    )
    most: int = option(1024, "filters of a layer compared, from the first on", least=2)

    def start(self, context: Context) -> Schema:
        """Return the arrays of all layers with filters."""
        self._layers, self._context = layers_with_filters(context), context
        self._width = min(max(map(filters_of, self._layers.values())), self.most)
        return Schema.of(
            {"layer": [*self._layers], "unit": self._width},
            final("speed", "step layer", "relative change since the step before, per step"),
            final("distance", "step layer", "relative change since the step before"),
            final("settled", "step layer",
                  "share of filters that point where they do at the last step (cosine 0.9)"),
            final("degenerate", "step layer", "filters that are almost 0"),
            final("duplicate", "step layer", "filters that point where another one does"),
            final("since", "layer", "step since which a layer is stable"),
            final("norms", "step layer unit", "norm of a filter, by the layer's median"),
            final("twin", "step layer unit", "largest absolute cosine with another filter"),
        )  # fmt: skip

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Walk through the run layer by layer."""
        layers = self._context.one_by_one([*self._layers.values()])
        found = [self._of_layer(parameter, results.steps) for parameter in layers]
        whole = {name: np.stack([one[name] for one in found], axis=1) for name in found[0]}
        gaps = np.diff(np.asarray(results.steps, np.float64), prepend=np.nan)[:, None]
        whole["speed"] = whole["distance"] / gaps
        return {**whole, "since": stable_since(whole["speed"], results.steps, self.quiet)}

    def _of_layer(self, parameter: Parameter, steps: Sequence[int]) -> dict[str, Array]:
        """Return what is said of one layer at all steps."""
        (last,) = filters_at(self._context, parameter, steps[-1:])
        ends, before = _directions(last)[0], None
        there = ends.any(axis=1)  # a filter of zeros points nowhere
        found: list[dict[str, Any]] = []
        for rows in filters_at(self._context, parameter, steps):
            ways, norms = _directions(rows)
            alike = (ways * ends.conj()).sum(axis=1).real >= 0.9
            twin, median = twins(ways[: self.most]), np.median(norms)
            found.append({
                "distance": np.nan if before is None else _change(before, rows),
                "settled": alike[there].mean() if there.any() else np.nan,
                "degenerate": np.count_nonzero((norms < DEGENERATE * median) | (norms == 0)),
                "duplicate": np.count_nonzero(twin >= self.alike),
                "norms": padded_rows([norms / (median or 1.0)], self._width)[0],
                "twin": padded_rows([twin], self._width)[0],
            })  # fmt: skip
            before = rows
        return {name: np.array([one[name] for one in found]) for name in found[0]}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which layers are stable, and the filters that are degenerate or duplicates."""
        layers, since = result.labels("layer"), result.array("since")
        moving = [layer for layer, step in zip(layers, since, strict=True) if np.isnan(step)]
        stable = [f"{layer} {step:.0f}" for layer, step in zip(layers, since, strict=True)
                  if not np.isnan(step)]  # fmt: skip
        lines = [f"stable since step: {some(stable, 8)}"] if stable else []
        lines += [f"not stable at step {result.steps[-1]}: {some(moving, 8)}"] if moving else []
        few = result.array("norms")[-1] < DEGENERATE
        same = result.array("twin")[-1] >= result.options["alike"]
        for word, mask in (("almost 0", few), ("pointing where another one does", same)):
            named = [f"{layers[at]}/{unit}" for at, unit in np.argwhere(mask)]
            lines += [f"filters {word}: {some(named, 12)}"] if named else []
        return lines


def _directions(rows: Array) -> tuple[Array, Array]:
    """Return rows of length 1, those that are 0 left so, and the norms of all."""
    norms = np.linalg.norm(rows, axis=1)
    return rows / np.where(norms > 0, norms, 1)[:, None], norms


def _change(before: Array, after: Array) -> float:
    size = float(np.linalg.norm(before)) or float(np.linalg.norm(after)) or 1.0
    return float(np.linalg.norm(after - before)) / size


def twins(directions: Array) -> Array:
    """Return the largest absolute cosine of each direction with another one; NaN of short ones."""
    if directions.shape[1] < LEAST_WEIGHTS or len(directions) < 2:
        return np.full(len(directions), np.nan)
    cosines = np.abs(directions @ directions.conj().T)
    np.fill_diagonal(cosines, 0)
    found: Array = cosines.max(axis=1)
    return found


def stable_since(speed: Array, steps: Sequence[int], quiet: float) -> Array:
    """Return the step since which each layer moves slower than a share of its largest speed.

    Args:
        speed: (steps, layers) speed up to each step; that of the first step is not used.
        steps: The steps.
        quiet: The share.

    Returns:
        (layers,); NaN for layers that are faster at the last step.

    >>> stable_since(np.array([[0.0, 0.0], [1.0, 0.2], [0.0, 1.0], [0.0, 1.0]]), [0, 5, 9, 12], 0.1)
    array([ 5., nan])
    """
    paces = speed[1:]
    if not len(paces):
        return np.full(speed.shape[1], np.nan)
    slow = paces <= quiet * paces.max(axis=0)
    return np.where(np.isfinite(paces).all(axis=0), held_since(slow, steps[:-1]), np.nan)
