"""The probe `feature_visualization`: inputs that excite units most, and since which step.

Gradient ascent ``x <- x + rate * dh/dx`` on the value h of a unit before its activation function
(Erhan et al., "Visualizing higher-layer features of a deep network", 2009): behind a ReLU that is
off, the gradient would be exactly 0. The units of a layer are optimised side by side, one sample
each. As published, there are 20 iterations at rate 1, and nothing else; `decay` and `blur` draw x
back to 0 and smooth it after every iteration (Yosinski et al., arXiv 1506.06579).

A feature has appeared at its *onset*: the first step from which on its optimum stays similar
(cosine 0.9) to that of the last step.

What a layer makes of different pictures of one class says whether its features are those of the
class: the mean cosine between pictures of one class, less that between classes, is its *agreement*.
It should rise with depth. Cosines are those of values less their mean over all pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.features import Features, labels_of
from accweight_core.probes.known import mean_of_known
from accweight_core.probes.likeness import directions, likeness_to_last
from accweight_core.probes.network import BoundNetwork, portions_of, samples_at_once
from accweight_core.probes.patches import with_mask
from accweight_core.probes.pixels import (
    PICTURE,
    as_pixels,
    bounds,
    picture_lengths,
    scale_field,
    shown,
)
from accweight_core.probes.probe import (
    Array,
    Lengths,
    Needs,
    Probe,
    Results,
    Schema,
    Step,
    array,
    final,
    option,
    stacked,
)
from accweight_core.probes.units import UnitAxes, unit_counts, unit_names
from accweight_core.probes.varied import is_whole
from accweight_core.text import some

SIMILAR = 0.9
"""Cosine to the optimum of the last step from which a feature counts as there."""

MOST_AT_ONCE = 64
"""Units that are optimised side by side."""


@dataclass
class FeatureVisualization(Probe):
    """Inputs that excite units most, by gradient ascent, and the step at which they appear."""

    name, version, needs = "feature_visualization", 2, Needs.FORWARD | Needs.INPUT_GRADIENT
    reading = (
        "What excites a unit most is not what it usually sees. A picture that keeps changing "
        "belongs to a unit that still learns."
    )

    layers: tuple[str, ...] = option((), "layers (or nodes); by default all with matrices")
    units: int = option(8, "units of each layer, from the first on", least=1)
    position: Literal["centre", "last", "all"] = option(
        "centre",
        "value of a channel: at the centre of its map (or sequence), at its end, or the sum",
    )
    iterations: int = option(20, "iterations of gradient ascent", least=1)
    rate: float = option(1.0, "rate of gradient ascent")
    begin_at: Literal["zero", "mean", "noise"] = option(
        "zero", "where the ascent begins: at 0, at the mean of the samples, or near 0"
    )
    decay: float = option(
        0.0, "share of x that is taken away after every iteration", least=0, below=1
    )
    blur: float = option(
        0.0, "share of every pixel that its neighbours get after every iteration", least=0, most=1
    )
    pictures: int = option(100, "samples whose agreement within classes is taken; 0 for none")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the shapes of the input and of the nodes."""
        if len(context.data.inputs) != 1:
            raise ArgumentValueError(
                "probe 'feature_visualization' takes networks of one input; this one takes "
                f"{len(context.data.inputs)}"
            )
        if is_whole(context):
            raise ArgumentValueError(
                "probe 'feature_visualization': the input is whole numbers, which cannot be "
                "optimised by gradients; --probe attribution says what the tokens of samples do"
            )
        self._at_once = samples_at_once(context.network.inputs)
        nodes = self.layers or _with_matrices(context)
        self._axes = context.axes_of(nodes)
        self._chosen = unit_counts(self._axes, self.units)
        self._shape = context.data.inputs[0].shape[1:]
        self._first = self._first_input(context)
        rows = context.chosen_rows(max(self.pictures, 1))
        labels = labels_of(context, rows) if self.pictures >= 4 else None
        self._labels = np.array(labels or [])
        self._values_of = [
            Features.of(context, node, self.pictures) for node in (self._axes if labels else ())
        ]
        return self._schema(rows if labels else rows[:1])

    def _first_input(self, context: Context) -> Array:
        if self.begin_at == "mean":
            total, count = np.zeros(self._shape, np.float64), 0
            for portion in context.portions(context.chosen_rows(1000)):
                (values,) = portion.inputs.values()
                values = values[: len(portion.rows)]
                total, count = total + values.sum(axis=0, dtype=np.float64), count + len(values)
            return (total / count).astype(np.float32)
        if self.begin_at == "noise":
            drawn = context.random().standard_normal(self._shape, np.float32)
            return np.asarray(np.float32(0.01) * drawn)
        return np.zeros(self._shape, np.float32)

    def _schema(self, rows: Array) -> Schema:
        shape = shown(np.zeros((1, *self._shape), np.float32)).shape[1:]
        own = {f"axis{at}": length for at, length in enumerate(self._shape)}
        words = "mean cosine of pictures of one class, less that of several"
        agreed = [array("agreement", "step layer", words)] if self._values_of else []
        lengths: Lengths = {
            "picture": unit_names(self._chosen), "layer": [*self._chosen], **own,
            **picture_lengths(shape),
        }  # fmt: skip
        return Schema.of(
            lengths,
            array("optimum", f"step picture {' '.join(own)}",
                  "the input that was found", "float32"),
            array("value", "step picture", "value of the unit there"),
            array("gain", "step layer", "mean rise of the value by the ascent"),
            final("similarity", "step layer", "mean cosine to the optima of the last step"),
            final("onset", "picture", "step from which on a feature is there"),
            final("images", f"step picture {PICTURE}",
                  "the inputs as pictures, each by its own largest value: 128 is 0", "uint8"),
            scale_field(),
            *agreed, attributes={"units": self._chosen}, rows=rows,
        )  # fmt: skip

    def begin(self, step: Step) -> None:
        """Climb from the first input for all units of all layers."""
        optima, values, gains = [], [], []
        for node, count in self._chosen.items():
            portions = portions_of(count, self._at_once, MOST_AT_ONCE)
            found = [self._climbed(step.bound, node, units) for units, _ in portions]
            optima += [x for x, _, _ in found]
            values += [value for _, value, _ in found]
            gains.append(np.concatenate([v - first for _, v, first in found]).mean())
        self._optima, self._values = np.concatenate(optima), np.concatenate(values)
        self._gains = np.array(gains)

    def _climbed(self, network: BoundNetwork, node: str, units: Array) -> tuple[Array, ...]:
        """Return optima of some units, their values there, and at the first input."""
        size, axes = self._at_once or len(units), self._axes[node]
        x = np.broadcast_to(self._first, (size, *self._shape)).copy()
        mask = np.zeros((size, axes.count, axes.positions), np.float32)
        for sample, unit in enumerate(units):
            mask[sample, unit, self._place(axes)] = 1
        masked = with_mask(network, node, axes, mask)
        first = self._value(masked, x, node)
        for _ in range(self.iterations):
            gradient = np.asarray(masked.gradient(x, (node, None)))
            x = self._regularised(x + np.float32(self.rate) * gradient)
        value, count = self._value(masked, x, node), len(units)
        return x[:count], value[:count], first[:count]

    def _place(self, axes: UnitAxes) -> Any:
        """Return the position of a unit that is excited."""
        if self.position == "all" or not axes.places:
            return slice(None)
        ends = [n // 2 if self.position == "centre" else n - 1 for n in axes.places]
        return int(np.ravel_multi_index(ends, axes.places))

    def _value(self, masked: BoundNetwork, x: Array, node: str) -> Array:
        found = np.moveaxis(masked.run(x, [node])[node], self._axes[node].samples, 0)
        return np.asarray(found.reshape(len(x), -1).sum(axis=1, dtype=np.float64))

    def _regularised(self, x: Array) -> Array:
        if self.decay:
            x = x * np.float32(1 - self.decay)
        if self.blur and len(self._shape) == 3:
            x = (1 - self.blur) * x + self.blur * smoothed(x)
        return x.astype(np.float32, copy=False)

    def end(self) -> Mapping[str, Array]:
        """Return the optima of the step."""
        found = {"optimum": self._optima, "value": self._values, "gain": self._gains}
        if self._values_of:
            agreed = [agreement(layer.whole(), self._labels) for layer in self._values_of]
            found["agreement"] = np.array(agreed)
        return found

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return pictures, each on a scale of its own, and when each feature appeared."""
        found = stacked(results, "optimum")
        sizes = np.max([np.abs(x).reshape(len(x), -1).max(axis=1) for x in found], axis=0)
        similar = likeness_to_last(found)
        own = np.where(sizes > 0, sizes, 1).reshape(-1, 1, 1, 1)
        images = [as_pixels(shown(optima) / own, 1.0) for optima in found]
        ends = np.cumsum([0, *self._chosen.values()])
        per_layer = [mean_of_known(similar[:, a:b]) for a, b in pairwise(ends.tolist())]
        return {
            "images": np.stack(images),
            "scale": bounds(np.ones(len(found))),
            "similarity": np.stack(per_layer, axis=1),
            "onset": onsets(similar, results.steps),
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return when the features of each layer appeared, and which units have no gradient."""
        onset, names = result.array("onset"), result.labels("picture")
        layers = [name.rpartition("/")[0] for name in names]
        told, flat = [], np.abs(result.array("optimum")[-1]).reshape(len(names), -1).max(axis=1)
        for layer in dict.fromkeys(layers):
            own = onset[[one == layer for one in layers]]
            known = own[np.isfinite(own)]
            told.append(f"{layer} {np.median(known):.0f}" if known.size else f"{layer} -")
        lines = [f"features are there from step (median of the units): {', '.join(told)}"]
        still = [name for name, largest in zip(names, flat, strict=True) if not largest]
        if still:
            lines.append(
                f"no gradient where the ascent begins: {some(still, 4)}; try "
                "begin_at=mean or begin_at=noise"
            )
        if "agreement" in result.arrays:
            pairs = zip(result.labels("layer"), result.array("agreement")[-1], strict=True)
            told_by = ", ".join(f"{layer} {value:.2f}" for layer, value in pairs)
            lines.append(f"agreement of pictures of one class by depth: {told_by}")
        return lines


def agreement(values: Array, labels: Array) -> float:
    """Return the mean cosine of samples of one class, less that of samples of several.

    Args:
        values: (samples, features); their mean over samples is taken away first.
        labels: The class of each sample. NaN if there are no two of one, or only one.
    """
    towards = directions(values - values.mean(axis=0))
    cosines = towards @ towards.T
    known = np.isfinite(cosines) & ~np.eye(len(labels), dtype=bool)
    same = labels[:, None] == labels
    within, between = cosines[known & same], cosines[known & ~same]
    if not within.size or not between.size:
        return float("nan")
    return float(within.mean() - between.mean())


def onsets(similar: Array, steps: Sequence[int]) -> Array:
    """Return the first step from which on a feature stays similar to what it becomes.

    Args:
        similar: (steps, features) cosines to the last step; NaN for features that are 0.
        steps: The steps.

    Returns:
        (features,); NaN for those that are 0 at the last step.

    >>> onsets(np.array([[0.1, 1.0], [0.95, 0.2], [0.99, 0.9], [1.0, 1.0]]), [0, 5, 10, 20])
    array([ 5., 10.])
    """
    there = similar >= SIMILAR
    stays = np.logical_and.accumulate(there[::-1], axis=0)[::-1]
    found: Array = np.asarray(steps, np.float64)[stays.argmax(axis=0)]
    found[~stays[-1]] = np.nan
    return found


def smoothed(x: Array) -> Array:
    """Return pictures in which every pixel is a mean of its neighbours, weighted 1 2 1 each way."""
    for axis in (-2, -1):
        edge = [(0, 0)] * x.ndim
        edge[axis] = (1, 1)
        wide = np.moveaxis(np.pad(x, edge, mode="edge"), axis, -1)
        x = np.moveaxis((wide[..., :-2] + 2 * wide[..., 1:-1] + wide[..., 2:]) / 4, -1, axis)
    return x


def _with_matrices(context: Context) -> tuple[str, ...]:
    """Return the layers that have a parameter of two axes or more: norms are left out."""
    matrices = [name for name, shape in context.network.parameters.items() if len(shape) > 1]
    layers = context.layers_of_samples
    found = tuple(
        layer
        for layer in layers
        if any(name == layer or name.startswith((f"{layer}.", f"{layer}/")) for name in matrices)
    )
    return found or layers
