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
from typing import ClassVar

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.colours.themes import LIGHT
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.features import labels_of
from accweight_core.probes.links import Column, Links
from accweight_core.probes.network import OUTPUT, filled_up, samples_at_once
from accweight_core.probes.probe import (
    Array,
    Batch,
    Field,
    Needs,
    Probe,
    Results,
    Schema,
    Step,
    option,
)

ORANGE, BLUE = np.array([240.0, 130.0, 20.0]), np.array([20.0, 110.0, 220.0])

_INPUTS = ("input 0", "input 1")
MOST_SAMPLES = 1000
AT_ONCE = 4096


@dataclass
class DecisionSurface(Probe):
    """The plane as each unit of a network of two inputs sees it, and the decision boundary."""

    name: ClassVar[str] = "decision_surface"
    version: ClassVar[int] = 2
    needs: ClassVar[Needs] = Needs.FORWARD
    reading: ClassVar[str] = (
        "A unit is above 0 where it is orange, below where blue, each by its own largest value. "
        "The last picture is the class predicted, bright where the network is sure. A link is a "
        "weight: orange above 0, blue below, as wide as it is large, on one scale for all steps."
    )

    layers: tuple[str, ...] = option((), "layers or nodes; by default all layers")
    units: int = option(8, "units of each layer, from the first on")
    cells: int = option(64, "points of the grid along a side")
    margin: float = option(
        0.1, "how far the plane reaches beyond the samples, as a share of theirs"
    )

    def start(self, context: Context) -> Schema:
        """Return the arrays, and cover the plane of the samples with a grid."""
        data = context.data
        if len(data.inputs) != 1 or data.inputs[0].shape[1:] != (2,):
            shapes = ", ".join(str(one.shape[1:]) for one in data.inputs)
            raise ArgumentValueError(
                f"probe {self.name!r} shows the plane of two inputs; a sample of {data.path} has "
                f"shape {shapes}; of more inputs, representation and embedding show a plane"
            )
        if not 2 <= self.cells <= 512 or self.units < 0 or self.margin < 0:
            raise ArgumentValueError(
                f"probe {self.name!r}: cells are 2 to 512, units and margin 0 up"
            )
        layers = self.layers or context.layers_of_samples
        self._axes = {
            one: context.checked_axes(one, "choose others with layers=") for one in layers
        }
        rows = context.chosen_rows(MOST_SAMPLES)
        (portion,) = (next(context.portions(rows[:1])).inputs,)
        self._input, self._size = next(iter(portion)), samples_at_once(context.network.inputs)
        points = np.concatenate(
            [next(iter(p.inputs.values()))[: len(p.rows)] for p in context.portions(rows)]
        ).astype(np.float64)
        low, high = points.min(axis=0), points.max(axis=0)
        reach = self.margin * np.where(high > low, high - low, 1)
        low, high = low - reach, high + reach
        x, y = (np.linspace(low[at], high[at], self.cells) for at in (0, 1))
        self._grid = np.stack(np.meshgrid(x, y[::-1]), axis=-1).reshape(-1, 2).astype(np.float32)
        self._points, self._labels = (points - low) / (high - low), labels_of(context, rows)
        names = [f"{layer}/{unit}" for layer, axes in self._axes.items()
                 for unit in range(min(self.units, axes.count))]  # fmt: skip
        scores = context.tried()[OUTPUT]
        self._classes = scores.shape[1] if scores.ndim == 2 else 1
        columns = [
            Column("inputs", 2, 2),
            *(Column(n, a.count, min(self.units, a.count)) for n, a in self._axes.items()),
        ]
        self._links = Links.of(context.network, columns)
        count, side = len(names), self.cells
        fields: tuple[Field, ...] = (
            Field("surface", ("step", "point", "row", "rank"), (0, count, side, side),
                  "value of a unit on the grid, the second input upwards", "float32"),
            Field("predicted", ("step", "row", "rank"), (0, side, side), "class predicted"),
            Field("images", ("step", "unit", "height", "width", "channel"),
                  (0, count + 1, side, side, 3), "the plane: blue where a unit is below 0, orange "
                  "above; last the class predicted, with the samples", "uint8"),
            Field("shares", ("step", "class"), (0, max(self._classes, 2)),
                  "share of the plane that is given to a class"),
            Field("inputs", ("input", "height", "width", "channel"), (2, side, side, 3),
                  "the plane as the inputs", "uint8", final=True),
        )  # fmt: skip
        if self._links.ends:
            words = "units as they see the plane, linked by weights"
            fields += (Field("links", ("step", "link"), (0, len(self._links.ends)), words),)
        drawn = (*_INPUTS, *names, "predicted")
        labels = {
            "unit": drawn[2:],
            "input": _INPUTS,
            "link": tuple(f"{drawn[a]} to {drawn[b]}" for a, b in self._links.ends),
        }
        attributes = {
            "low": low.tolist(),
            "high": high.tolist(),
            "classes": list(data.classes),
            "columns": [[column.name, column.shown] for column in columns],
            "ends": [list(pair) for pair in self._links.ends],
        }
        return Schema(fields, labels, attributes, rows[:1])

    def begin(self, step: Step) -> None:
        """Run the grid through the network."""
        if step.network is None:
            raise ArgumentValueError(f"probe {self.name!r} needs a network")
        self._weights = self._links.weights(step.network)
        found: dict[str, list[Array]] = {}
        size = self._size or AT_ONCE
        for start in range(0, len(self._grid), size):
            part = self._grid[start : start + size]
            made = step.network.run(filled_up({self._input: part}, self._size), [*self._axes])
            for node, axes in self._axes.items():
                first = np.moveaxis(made[node], axes.samples, 0)[: len(part)]
                found.setdefault(node, []).append(axes.of(first)[:, : self.units].mean(axis=2))
            found.setdefault(OUTPUT, []).append(made[OUTPUT][: len(part)].reshape(len(part), -1))
        side = self.cells
        units = np.concatenate([np.concatenate(found[node]) for node in self._axes], axis=1)
        self._surfaces = units.T.reshape(-1, side, side)
        self._scores = np.concatenate(found[OUTPUT]).reshape(side, side, -1)

    def measure(self, batch: Batch) -> None:
        """Take no samples: the grid is what is run."""

    def end(self) -> Mapping[str, Array]:
        """Return the surfaces, and their pictures."""
        several = self._scores.shape[-1] > 1
        middle = 0.5 if ((self._scores >= 0) & (self._scores <= 1)).all() else 0.0
        predicted = self._scores.argmax(-1) if several else self._scores[..., 0] > middle
        sure = self._sure(several, middle)
        classes = max(self._classes, 2)
        shares = np.bincount(predicted.reshape(-1).astype(int), minlength=classes) / predicted.size
        decided = self._with_samples(_of_classes(predicted.astype(int), sure))
        return {
            "surface": self._surfaces,
            "predicted": predicted.astype(np.float64),
            "images": np.stack([*(signed_picture(s) for s in self._surfaces), decided]),
            "shares": shares[:classes],
            **({"links": self._weights} if self._links.ends else {}),
        }

    def _sure(self, several: bool, middle: float) -> Array:
        """Return how far the largest score is above the next one, 0 to 1."""
        if several:
            ordered = np.sort(self._scores, axis=-1)
            ahead = ordered[..., -1] - ordered[..., -2]
        else:
            ahead = np.abs(self._scores[..., 0] - middle)
        found: Array = np.tanh(ahead / (np.median(ahead) or 1.0))
        return found

    def _with_samples(self, picture: Array) -> Array:
        """Return a picture with a dot per sample, in the colour of its class."""
        if self._labels is not None:
            at = np.rint(self._points * (self.cells - 1)).astype(int)
            colours = _palette()[np.array(self._labels) % len(LIGHT.classes)]
            picture[self.cells - 1 - at[:, 1], at[:, 0]] = 0.6 * colours
        return picture

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the pictures of the inputs."""
        side = self.cells
        across, up = (self._grid[:, at].reshape(side, side).astype(float) for at in (0, 1))
        return {"inputs": np.stack([signed_picture(one) for one in (across, up)])}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which part of the plane is shown."""
        low, high = result.attributes["low"], result.attributes["high"]
        across, up = (f"{a:.3g} to {b:.3g}" for a, b in zip(low, high, strict=True))
        return [f"first input {across} across, second {up} upwards"]


def signed_picture(values: Array) -> Array:
    """Return (height, width, 3): orange above 0, blue below, white at 0; dark where not finite."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0) or 1.0
    share = np.sqrt(np.clip(np.abs(np.nan_to_num(values)) / largest, 0, 1))[..., None]
    tone = np.where((np.nan_to_num(values) > 0)[..., None], ORANGE, BLUE)
    mixed = np.where(np.isfinite(values)[..., None], 255 + share * (tone - 255), 40)
    return np.rint(mixed).astype(np.uint8)


def _palette() -> Array:
    return np.array([[int(c[at : at + 2], 16) for at in (1, 3, 5)] for c in LIGHT.classes], float)


def _of_classes(predicted: Array, sure: Array) -> Array:
    """Return (height, width, 3): the colours of classes, pale where the network is not sure."""
    tone = _palette()[predicted % len(LIGHT.classes)]
    found: Array = np.rint(255 + (0.15 + 0.6 * sure[..., None]) * (tone - 255)).astype(np.uint8)
    return found
