"""The probe `top_images`: the samples that excite each unit most, and the part of each that does.

For a unit, the samples with the largest value (of a channel: at any position) are put together to
one picture (Zeiler and Fergus, arXiv 1311.2901; Yosinski et al., arXiv 1506.06579). What the value
does not depend on, by its gradient, is dark; in orange is what raises it (gradient times input,
above 0), each sample by its own largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.collecting import Top
from accweight_core.probes.context import Context
from accweight_core.probes.features import labels_of
from accweight_core.probes.network import samples_at_once
from accweight_core.probes.pixels import PICTURE, picture_lengths
from accweight_core.probes.probe import (
    Array,
    Batch,
    Field,
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
from accweight_core.probes.tiles import montage, tiles
from accweight_core.probes.unit_gradients import unit_gradients
from accweight_core.probes.varied import differentiable_input
from accweight_core.text import some

SAME = 0.8
"""Share of top samples of one class from which on a unit is said to answer to it."""


@dataclass
class TopImages(Probe):
    """The samples that excite each unit of a layer most, and the part of each that drives it."""

    name, version, needs = "top_images", 1, Needs.FORWARD | Needs.INPUT_GRADIENT
    reading = (
        "Dark is what the unit does not depend on; orange raises it. The samples at the top are "
        "its extremes, not what it usually sees, and none of them need be what it was trained for."
    )

    layer: str = option(
        "", "layer or node; by default the last one with maps, else the last hidden"
    )
    units: int = option(8, "units, from the first on", least=1)
    count: int = option(9, "samples per unit", least=1)
    points: int = option(2000, "samples that are looked at, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the shapes of samples and layer."""
        shape = differentiable_input(
            context, "neuron_activation says what units make of such samples"
        ).shape[1:]
        layers = context.layers_of_samples
        maps = [one for one in layers if (a := context.unit_axes(one)) and a.positions > 1]
        self._node = self.layer or (maps[-1:] or layers[-2:] or context.layers)[0]
        self._axes = context.checked_axes(self._node, "choose another one with layer=")
        self._context = context
        rows = context.chosen_rows(self.points)
        self._count = min(self.count, len(rows))
        self._top = context.collect(Top(self._largest, "values", self._count))
        self._labels = labels_of(context, np.arange(len(context.data)))
        units = min(self.units, self._axes.count)
        drawn = montage(tiles(np.zeros((self._count, *shape), np.float32)))
        return Schema.of(
            {
                "unit": list(map(str, range(units))), "rank": self._count,
                **picture_lengths(drawn.shape),
            },
            array("images", f"step unit {PICTURE}", "the samples that excite a unit most: dark "
                  "where it does not depend on them, orange where they raise it", "uint8"),
            array("rows", "step unit rank", "their numbers"),
            array("values", "step unit rank", "values there"),
            array("same_class", "step unit", "share of them of one class"),
            Field("top_class", ("step", "unit", "rank"), (0, units, 1), "that class"),
            final("kept", "step unit", "share of them that are there at the last step as well"),
            attributes={"node": self._node, "classes": list(context.data.class_names)}, rows=rows,
        )  # fmt: skip

    def begin(self, step: Step) -> None:
        """Take the network of a step."""
        self._network = step.bound

    def _largest(self, batch: Batch) -> Mapping[str, Array]:
        """Return the largest value of every unit for the samples of a batch, and its place."""
        values = self._axes.of(batch.outputs[self._node])[:, : self.units]
        values = np.where(np.isfinite(values), values, -np.inf)
        rows = np.broadcast_to(batch.rows[:, None], values.shape[:2])
        return {"values": values.max(axis=2), "rows": rows, "places": values.argmax(axis=2)}

    def end(self) -> Mapping[str, Array]:
        """Return the pictures of all units."""
        rows, values = self._top["rows"], self._top["values"]
        known, where = np.unique(rows, return_inverse=True)
        (samples,) = self._context.samples(known).values()
        x = samples[where.reshape(-1)]
        of_rows = np.repeat(np.arange(len(rows)), self._count)
        places = self._top["places"].reshape(-1)
        at_once = samples_at_once(self._context.network.inputs)
        gradient = unit_gradients(
            self._network, self._node, self._axes, x, of_rows, places, at_once
        )
        shown = np.split(tiles(x, gradient), len(rows))
        shares, classes = self._classes(rows)
        return {
            "images": np.stack([montage(own) for own in shown]),
            "rows": rows,
            "values": values,
            "same_class": shares,
            "top_class": classes[:, None],
        }

    def _classes(self, rows: Array) -> tuple[Array, Array]:
        """Return the most frequent class of every unit's samples, and its share; NaN without."""
        if self._labels is None:
            return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        counts = [np.unique(own, return_counts=True) for own in np.array(self._labels)[rows]]
        shares = [count.max() / self._count for _, count in counts]
        return np.array(shares), np.array([float(c[n.argmax()]) for c, n in counts])

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return which samples stay until the last step."""
        rows = stacked(results, "rows")
        found = [[np.isin(a, b).mean() for a, b in zip(own, rows[-1], strict=True)] for own in rows]
        return {"kept": np.array(found)}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which units answer to one class at the last step."""
        names, told = result.attributes["classes"], []
        pairs = zip(result.array("same_class")[-1], result.array("top_class")[-1], strict=True)
        for unit, (share, (label,)) in enumerate(pairs):
            if share >= SAME:
                name = names[int(label)] if int(label) < len(names) else f"{label:.0f}"
                told.append(f"{unit}: {name} ({share:.0%})")
        count, node = result.fields["rows"].shape[2], result.attributes["node"]
        line = f"top {count} samples of units of {node}"
        return [f"{line}; of one class, unit: class: {some(told, 8)}" if told else line]
