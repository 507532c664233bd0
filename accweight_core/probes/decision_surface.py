"""The probe `decision_surface`: the plane as a network of two inputs, and each unit, sees it.

The plane is covered with a grid of points, which go through the network at every step. Of a unit,
the picture is its value before the activation function, blue below 0 and orange above, white where
it is 0: for most activation functions, that is where it turns on. The last picture is the class
that is predicted, with the samples in it. Weights between layers that follow each other are
links (as in TensorFlow Playground: Smilkov et al., arXiv 1708.03788).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.features import labels_of
from accweight_core.probes.links import Links
from accweight_core.probes.network import OUTPUT
from accweight_core.probes.pixels import picture_lengths
from accweight_core.probes.plane_pictures import class_picture, decided, signed_picture, with_dots
from accweight_core.probes.probe import (
    Array,
    Needs,
    Probe,
    Results,
    Schema,
    Step,
    array,
    final,
    option,
)
from accweight_core.probes.units import side_by_side, unit_counts, unit_names

_INPUTS = ("input 0", "input 1")
MOST_SAMPLES = 1000


@dataclass
class DecisionSurface(Probe):
    """The plane as each unit of a network of two inputs sees it, and the decision boundary."""

    name, version, needs = "decision_surface", 3, Needs.FORWARD
    reading = (
        "A unit is above 0 where it is orange, below where blue, each by its own largest value. "
        "The last picture is the class predicted, pale where the network is not sure. A link is a "
        "weight: orange above 0, blue below, as wide as it is large, on one scale for all steps."
    )

    layers: tuple[str, ...] = option((), "layers or nodes; by default all layers")
    units: int = option(8, "units of each layer, from the first on", least=0)
    cells: int = option(64, "points of the grid along a side", least=2, most=512)
    margin: float = option(0.1, "reach beyond the samples, as a share of theirs", least=0)

    def start(self, context: Context) -> Schema:
        """Return the arrays, and cover the plane of the samples with a grid."""
        shapes = [one.shape[1:] for one in context.data.inputs]
        if shapes != [(2,)]:
            raise ArgumentValueError(
                f"probe {self.name!r} shows the plane of two inputs; a sample of "
                f"{context.data.path} has shape {', '.join(map(str, shapes))}; of more inputs, "
                "representation and embedding show a plane"
            )
        self._axes = context.axes_of(self.layers)
        rows = context.chosen_rows(MOST_SAMPLES)
        self._labels = labels_of(context, rows)
        ((self._input, points),) = context.samples(rows).items()
        low, high = self._cover(points.astype(np.float64))
        self._links = Links.of(context.network, 2, self._axes, self.units)
        scores, self._context = context.tried()[OUTPUT], context
        self._classes = max(scores.shape[1] if scores.ndim == 2 else 1, 2)
        shown = unit_counts(self._axes, self.units)
        counts = [[name, shown[name], axes.count] for name, axes in self._axes.items()]
        names = context.data.class_names
        known = names if len(names) == self._classes else tuple(map(str, range(self._classes)))
        said = {"low": low.tolist(), "high": high.tolist(), "classes": list(names),
                "key": list(known), "counts": counts}  # fmt: skip
        return self._schema({**said, **self._links.attributes}, rows[:1])

    def _cover(self, points: Array) -> tuple[Array, Array]:
        """Cover the plane of some points with a grid; return its lower and upper corner."""
        low, high = points.min(axis=0), points.max(axis=0)
        reach = self.margin * np.where(high > low, high - low, 1)
        low, high = low - reach, high + reach
        x, y = (np.linspace(low[at], high[at], self.cells) for at in (0, 1))
        self._grid = np.stack(np.meshgrid(x, y[::-1]), axis=-1).reshape(-1, 2).astype(np.float32)
        self._points = (points - low) / (high - low)
        return low, high

    def _schema(self, attributes: Mapping[str, Any], rows: Array) -> Schema:
        names, side = unit_names(unit_counts(self._axes, self.units)), self.cells
        drawn = (*_INPUTS, *names, "predicted")
        lengths = {
            "unit": drawn[2:], "input": _INPUTS, "link": self._links.names(drawn),
            "class": attributes["key"], "point": len(names), "row": side, "rank": side,
            **picture_lengths((side, side, 3)),
        }  # fmt: skip
        return Schema.of(
            lengths,
            array("surface", "step point row rank",
                  "value of a unit on the grid, the second input upwards", "float32"),
            array("predicted", "step row rank", "class predicted"),
            array("images", "step unit height width channel", "the plane: blue where a unit is "
                  "below 0, orange above; last the class predicted, with the samples", "uint8"),
            array("shares", "step class", "share of the plane that is given to a class"),
            final("inputs", "input height width channel", "the plane as the inputs", "uint8"),
            *self._links.fields, attributes=attributes, rows=rows,
        )  # fmt: skip

    def begin(self, step: Step) -> None:
        """Run the grid through the network."""
        self._weights, side = self._links.values(step.bound), self.cells
        units, scores = [], []
        for batch in self._context.batches(step.bound, {self._input: self._grid}, [*self._axes]):
            made = side_by_side(self._axes, batch.outputs, self.units, lambda v: v.mean(axis=2))
            units.append(made)
            scores.append(batch.outputs[OUTPUT])
        self._surfaces = np.concatenate(units).T.reshape(-1, side, side)
        self._scores = np.concatenate(scores).reshape(side, side, -1)

    def end(self) -> Mapping[str, Array]:
        """Return the surfaces, and their pictures."""
        predicted, sure = decided(self._scores)
        shares = np.bincount(predicted.reshape(-1), minlength=self._classes) / predicted.size
        last = with_dots(class_picture(predicted, sure), self._points, self._labels)
        return {
            "surface": self._surfaces,
            "predicted": predicted,
            "images": np.stack([*(signed_picture(s) for s in self._surfaces), last]),
            "shares": shares[: self._classes],
            **self._weights,
        }

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the pictures of the inputs."""
        planes = self._grid.T.reshape(2, self.cells, self.cells).astype(float)
        return {"inputs": np.stack([signed_picture(one) for one in planes])}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which part of the plane and which units are shown."""
        low, high = result.attributes["low"], result.attributes["high"]
        across, up = (f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True))
        cut = [
            f"{shown} of {count} units of {name}"
            for name, shown, count in result.attributes.get("counts") or []
            if shown < count
        ]
        line = f"first input {across} across, second {up} upwards"
        return [line, f"drawn are the first {', '.join(cut)}; units=N for more"] if cut else [line]
