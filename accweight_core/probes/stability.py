"""The probe `stability`: since when each layer has come to rest, and which filters are of no use.

A layer that has come to rest needs no more training; one that has not by the last step was stopped
early. Filters that are almost 0 compute nothing, and one of two that point the same way is enough:
both say that a layer could be smaller (after DeepEyes: Pezzotti et al., IEEE TVCG 2018). From
weights alone: a filter is the weights of one output of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.filters import layers_with_filters
from accweight_core.probes.probe import (
    Array,
    Field,
    Needs,
    Probe,
    Results,
    Schema,
    named_layers,
    option,
)
from accweight_core.probes.unit_weights import filters_of, rows_of
from accweight_core.probes.walking import weights_at
from accweight_core.schema import Parameter
from accweight_core.text import some

DEGENERATE = 0.01
"""Norm of a filter, as a share of the median of its layer, below which it computes nothing."""

LEAST_WEIGHTS = 4
"""Weights of a filter below which two point the same way by chance."""


@dataclass
class Stability(Probe):
    """Since when each layer is stable, and which of its filters are degenerate or duplicates."""

    name: ClassVar[str] = "stability"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.WEIGHTS
    reading: ClassVar[str] = (
        "A layer is stable once its speed stays below a tenth of its largest. A falling learning "
        "rate brings every layer to rest: that it rests does not say that it has learned."
    )

    quiet: float = option(0.1, "share of its largest speed below which a layer is stable")
    alike: float = option(0.99, "absolute cosine from which on two filters are duplicates")
    most: int = option(1024, "filters of a layer that are compared, from the first on")

    def start(self, context: Context) -> Schema:
        """Return the arrays of all layers with filters."""
        if not (0 < self.quiet < 1 and 0 < self.alike <= 1 and self.most > 1):
            raise ArgumentValueError(
                f"probe {self.name!r}: quiet is between 0 and 1, alike above 0 and at most 1, most "
                "at least 2"
            )
        self._layers = layers_with_filters(context.run)
        if not self._layers:
            raise ArgumentValueError(f"{context.run.source}: has no layer with filters")
        self._context, count = context, len(self._layers)
        units = min(max(filters_of(p) for p in self._layers.values()), self.most)
        shape, wide = (0, count), (0, count, units)
        fields = (
            _final("speed", "step layer", shape, "relative change since the step before, per step"),
            _final("distance", "step layer", shape, "relative change since the step before"),
            _final("settled", "step layer", shape,
                   "share of filters that point where they point at the last step (cosine 0.9)"),
            _final("degenerate", "step layer", shape, "filters that are almost 0"),
            _final("duplicate", "step layer", shape, "filters that point where another one does"),
            _final("since", "layer", (count,), "step since which a layer is stable"),
            _final("norms", "step layer unit", wide, "norm of a filter, by the layer's median"),
            _final("twin", "step layer unit", wide, "largest absolute cosine with another filter"),
        )  # fmt: skip
        return Schema(fields, named_layers(tuple(self._layers)))

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Walk through the run layer by layer."""
        units = min(max(filters_of(p) for p in self._layers.values()), self.most)
        found: dict[str, list[Array]] = {}
        for place, parameter in enumerate(self._layers.values()):
            for name, values in self._of_layer(parameter, results.steps, units).items():
                found.setdefault(name, []).append(values)
            self._context.advance(place + 1, len(self._layers))
        whole = {name: np.stack(each, axis=1) for name, each in found.items()}
        gaps = np.diff(np.asarray(results.steps, np.float64), prepend=np.nan)[:, None]
        whole["speed"] = whole["distance"] / gaps
        return {**whole, "since": stable_since(whole["speed"], results.steps, self.quiet)}

    def _of_layer(self, parameter: Parameter, steps: Sequence[int], units: int) -> dict[str, Array]:
        """Return what is said of one layer at all steps."""
        (last,) = (
            rows_of(w, parameter) for w in weights_at(self._context, parameter.name, steps[-1:])
        )
        ends, before = _directions(last)[0], None
        found: dict[str, list[Array | float]] = {}
        for weights in weights_at(self._context, parameter.name, steps):
            rows = rows_of(weights, parameter)
            ways, norms = _directions(rows)
            twin = twins(ways[: self.most])
            small = norms < DEGENERATE * np.median(norms)
            said: dict[str, Array | float] = {
                "distance": np.nan if before is None else _change(before, rows),
                "settled": float(((ways * ends.conj()).sum(axis=1).real >= 0.9).mean()),
                "degenerate": float(np.count_nonzero(small | (norms == 0))),
                "duplicate": float(np.count_nonzero(twin >= self.alike)),
                "norms": _padded(norms / (np.median(norms) or 1.0), units),
                "twin": _padded(twin, units),
            }
            for name, value in said.items():
                found.setdefault(name, []).append(value)
            before = rows
        return {name: np.array(values) for name, values in found.items()}

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


def _final(name: str, axes: str, shape: tuple[int, ...], words: str) -> Field:
    return Field(name, tuple(axes.split()), shape, words, final=True)


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


def _padded(values: Array, units: int) -> Array:
    kept = values[:units]
    return np.pad(kept, (0, units - len(kept)), constant_values=np.nan)


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
    found = np.full(speed.shape[1], np.nan)
    for layer, own in enumerate(speed[1:].T):
        if len(own) and np.isfinite(own).all():
            fast = np.flatnonzero(own > quiet * own.max())
            place = int(fast[-1]) + 1 if len(fast) else 0
            found[layer] = steps[place] if place < len(own) else np.nan
    return found
