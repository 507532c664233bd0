"""The probe `representation`: what each layer makes of the samples, as points in two or three axes.

A layer moves the samples twice: an affine map takes the values before it to its own, then the
activation function bends them. Both are shown as motion: between two stages, points go straight
from one place to the next, which for the affine map is the map with ``(1 - s) I + s W`` in place
of W. At s = 0 and s = 1 they are the values themselves. Whether classes can be told apart by a
plane is said by a logistic regression on all values of a stage, not on the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.collecting import Values, flat_inputs
from accweight_core.probes.context import Context
from accweight_core.probes.features import (
    MOST_FEATURES,
    Features,
    attributes_of,
    need_sklearn,
    projection_of,
)
from accweight_core.probes.linear_classifier import accuracy_of_halves
from accweight_core.probes.planes import planes_along
from accweight_core.probes.probe import (
    Array,
    Lengths,
    Needs,
    Probe,
    Results,
    Schema,
    array,
    final,
    option,
)
from accweight_core.text import told

INPUT = "input"
"""The first stage."""
BENT = ", bent"
"""What stands behind a layer's name for what its function makes of it."""

FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "none": lambda x: x,
}


@dataclass
class Representation(Probe):
    """What each layer makes of the samples: its affine map, then its activation function."""

    name, version, needs = "representation", 2, Needs.FORWARD

    layers: tuple[str, ...] = option((), "layers in their order; by default all")
    activation: Literal["relu", "tanh", "sigmoid", "none"] = option(
        "relu", "activation function behind all layers but the last"
    )
    axes: Literal["2", "3"] = option("2", "axes of the pictures")
    points: int = option(500, "samples at most, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays: a stage before and behind every activation function."""
        need_sklearn(self.name)
        names = self.layers or context.layers_of_samples
        self._layers = [Features.of(context, name, self.points) for name in names]
        self._inputs = context.collect(Values(flat_inputs))
        self._rows = self._layers[0].rows
        self._axes = int(self.axes)
        self._first: float | None = None
        attributes = {**attributes_of(context, self._layers[0]), "node": ""}
        self._labels = np.array(attributes["targets"])
        if self._axes == 3:
            attributes["said"] = "the first two of three axes"
        self._chance = context.random
        inputs = sum(math.prod(values.shape[1:]) for values in context.data.inputs)
        self._width = min(max([inputs, *(layer.width for layer in self._layers)]), MOST_FEATURES)
        lengths: Lengths = {
            "stage": stages_of(names), "point": len(self._rows), "feature": self._width,
            "coordinate": self._axes,
        }  # fmt: skip
        return Schema.of(
            lengths,
            array("features", "step stage point feature", "values at every stage", "float32"),
            array("separability", "step stage",
                  "share of samples whose class a logistic regression tells"),
            final("views", "step stage point coordinate", "points at every stage"),
            final("coordinates", "step point coordinate",
                  "points at the last stage before the output"),
            attributes=attributes, rows=self._rows,
        )  # fmt: skip

    def end(self) -> Mapping[str, Array]:
        """Return the values at all stages, and how far classes can be told apart there."""
        bend = FUNCTIONS[self.activation]
        stages = [self._inputs.whole().astype(np.float32)]
        for place, layer in enumerate(self._layers):
            values = layer.whole()
            stages.append(values)
            if place < len(self._layers) - 1:
                stages.append(bend(values))
        kept = np.zeros((len(stages), len(self._rows), self._width), np.float32)
        for place, values in enumerate(stages):
            narrow = self._narrowed(values)
            kept[place, :, : narrow.shape[1]] = narrow
        if self._first is None:  # the inputs are the same at every step
            self._first = accuracy_of_halves(stages[0], self._labels)
        apart = [self._first, *(accuracy_of_halves(v, self._labels) for v in stages[1:])]
        return {"features": kept, "separability": np.array(apart)}

    def _narrowed(self, values: Array) -> Array:
        """Return values with no more features than there is room for: of more, projections."""
        projection = projection_of(self._chance(), values.shape[1])
        return values if projection is None else np.asarray(values @ projection)

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return points at all stages, each stage seen from the same side at all steps."""
        count = len(results.steps)
        last = results.at("features", count - 1).astype(np.float64)
        planes = planes_along(last, self._axes)
        views = []
        for at in range(count):
            stages = results.at("features", at).astype(np.float64)
            shown = [plane.shown(stage) for plane, stage in zip(planes, stages, strict=True)]
            views.append(np.stack(shown))
        whole = np.stack(views)
        behind = max(whole.shape[1] - 2, 0)
        return {"views": whole, "coordinates": whole[:, behind]}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return how far classes can be told apart at each stage, at the last step."""
        found = result.array("separability")[-1]
        if np.isnan(found).all():
            return []
        stages = told(result.labels("stage"), found, ".0%")
        if result.options["activation"] == "none":  # behind it stands what is before it
            stages = [one for one in stages if BENT not in one]
        shares = "; ".join(stages)
        return [f"told apart by a plane at step {result.steps[-1]}: {shares}"]


def stages_of(layers: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the stages: the input, and every layer before and behind its function.

    >>> stages_of(["a", "b"])
    ('input', 'a', 'a, bent', 'b')
    """
    found = [INPUT]
    for place, layer in enumerate(layers):
        found.append(layer)
        if place < len(layers) - 1:
            found.append(f"{layer}{BENT}")
    return tuple(found)
