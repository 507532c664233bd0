"""The probe `top_images`: the samples that excite each unit most, and the part of each that does.

For a unit, the samples with the largest value (of a channel: at any position) are put together to
one picture (Zeiler and Fergus, arXiv 1311.2901; Yosinski et al., arXiv 1506.06579). What the value
does not depend on, by its gradient, is dark; in orange is what raises it (gradient times input,
above 0), each sample by its own largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.features import labels_of
from accweight_core.probes.network import samples_at_once
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
from accweight_core.probes.tiles import montage, tiles
from accweight_core.probes.unit_gradients import unit_gradients
from accweight_core.probes.varied import is_whole
from accweight_core.text import some

SAME = 0.8
"""Share of top samples of one class from which on a unit is said to answer to it."""


@dataclass
class TopImages(Probe):
    """The samples that excite each unit of a layer most, and the part of each that drives it."""

    name: ClassVar[str] = "top_images"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.FORWARD | Needs.INPUT_GRADIENT
    reading: ClassVar[str] = (
        "Dark is what the unit does not depend on; orange raises it. The samples at the top are "
        "its extremes, not what it usually sees, and none of them need be what it was trained for."
    )

    layer: str = option(
        "", "layer or node; by default the last one with maps, else the last hidden"
    )
    units: int = option(8, "units, from the first on")
    count: int = option(9, "samples per unit")
    points: int = option(2000, "samples that are looked at, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the shapes of samples and layer."""
        if len(context.data.inputs) != 1 or is_whole(context):
            raise ArgumentValueError(
                f"probe {self.name!r} shows samples of one input as pictures, with gradients; "
                "whole numbers and several inputs have none; see neuron_activation"
            )
        layers = context.layers_of_samples
        maps = [one for one in layers if (a := context.unit_axes(one)) and a.positions > 1]
        self._node = self.layer or (maps[-1:] or layers[-2:] or context.layers)[0]
        self._axes = context.checked_axes(self._node, "choose another one with layer=")
        self._rows = context.chosen_rows(self.points)
        self._size = samples_at_once(context.network.inputs)
        self._count = min(self.count, len(self._rows))
        units = min(self.units, self._axes.count)
        empty = tiles(np.zeros((self._count, *context.data.inputs[0].shape[1:]), np.float32))
        height, width = montage(empty).shape[:2]
        classes = labels_of(context, self._rows)
        self._labels = (
            None if classes is None else dict(zip(self._rows.tolist(), classes, strict=True))
        )
        fields = (
            Field("images", ("step", "unit", "height", "width", "channel"),
                  (0, units, height, width, 3), "the samples that excite a unit most: dark where "
                  "it does not depend on them, orange where they raise it", "uint8"),
            Field("rows", ("step", "unit", "rank"), (0, units, self._count), "their numbers"),
            Field("values", ("step", "unit", "rank"), (0, units, self._count), "values there"),
            Field("same_class", ("step", "unit"), (0, units), "share of them of one class"),
            Field("top_class", ("step", "unit", "rank"), (0, units, 1), "that class"),
            Field("kept", ("step", "unit"), (0, units),
                  "share of them that are there at the last step as well", final=True),
        )  # fmt: skip
        attributes = {"node": self._node, "classes": list(context.data.classes)}
        return Schema(fields, {"unit": tuple(map(str, range(units)))}, attributes, self._rows)

    def begin(self, step: Step) -> None:
        """Start a step with nothing."""
        self._network = step.network
        units, shape = min(self.units, self._axes.count), (0,)
        self._best = [(np.zeros(shape), np.zeros(shape, int), np.zeros(shape, int))] * units
        self._inputs: dict[int, Array] = {}

    def measure(self, batch: Batch) -> None:
        """Keep the samples of a batch that are among the best of a unit."""
        values = self._axes.of(batch.outputs[self._node])[:, : len(self._best)]
        (inputs,) = batch.inputs.values()
        values = np.where(np.isfinite(values), values, -np.inf)
        places = values.argmax(axis=2)
        for unit, (best, rows, at) in enumerate(self._best):
            mine = values[range(len(values)), unit, places[:, unit]].astype(np.float64)
            merged = np.concatenate([best, mine])
            order = np.argsort(-merged, kind="stable")[: self._count]
            self._best[unit] = (
                merged[order],
                np.concatenate([rows, batch.rows])[order],
                np.concatenate([at, places[:, unit]])[order],
            )
        wanted = {int(row) for _, rows, _ in self._best for row in rows}
        own = dict(zip(batch.rows.tolist(), inputs, strict=True))
        self._inputs = {row: x for row, x in {**self._inputs, **own}.items() if row in wanted}

    def end(self) -> Mapping[str, Array]:
        """Return the pictures of all units."""
        if self._network is None:
            raise ArgumentValueError(f"probe {self.name!r} needs a network")
        values, rows, places = (np.stack(each) for each in zip(*self._best, strict=True))
        x = np.stack([self._inputs[int(row)] for row in rows.reshape(-1)])
        units = np.repeat(np.arange(len(rows)), self._count)
        gradient = unit_gradients(
            self._network, self._node, self._axes, x, units, places.reshape(-1), self._size
        )
        shown = tiles(x, gradient).reshape(*rows.shape, *tiles(x[:1]).shape[1:])
        shares, classes = self._classes(rows)
        return {
            "images": np.stack([montage(own) for own in shown]),
            "rows": rows.astype(np.float64),
            "values": values,
            "same_class": shares,
            "top_class": classes[:, None],
        }

    def _classes(self, rows: Array) -> tuple[Array, Array]:
        """Return the most frequent class of every unit's samples, and its share; NaN without."""
        if self._labels is None:
            return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        known = self._labels
        counts = [np.unique([known[int(r)] for r in own], return_counts=True) for own in rows]
        shares = [count.max() / self._count for _, count in counts]
        return np.array(shares), np.array([float(c[n.argmax()]) for c, n in counts])

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return which samples stay until the last step."""
        count = len(results.steps)
        last = results.at("rows", count - 1)
        found = [
            [np.isin(a, b).mean() for a, b in zip(results.at("rows", at), last, strict=True)]
            for at in range(count)
        ]
        return {"kept": np.array(found)}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which units answer to one class at the last step."""
        names = result.attributes["classes"]
        told = []
        pairs = zip(
            result.array("same_class")[-1], result.array("top_class")[-1, :, 0], strict=True
        )
        for unit, (share, label) in enumerate(pairs):
            if share >= SAME:
                name = names[int(label)] if int(label) < len(names) else f"{label:.0f}"
                told.append(f"{unit}: {name} ({share:.0%})")
        lines = [
            f"top {result.fields['rows'].shape[2]} samples of units of {result.attributes['node']}"
        ]
        return [f"{lines[0]}; of one class, unit: class: {some(told, 8)}" if told else lines[0]]
