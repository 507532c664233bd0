"""The probe `activations`: maps of a node for chosen inputs, dead units and sparsity of all layers.

The node of a layer is its result before the activation function. Behind a ReLU, a unit that is
above 0 for no sample is dead: nothing depends on it, and it learns no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.collecting import Sums, Values
from accweight_core.probes.context import Context
from accweight_core.probes.known import padded_rows
from accweight_core.probes.pixels import (
    PICTURE,
    as_picture,
    picture_fields,
    picture_lengths,
    pictured,
)
from accweight_core.probes.probe import (
    Array,
    Batch,
    Lengths,
    Needs,
    Probe,
    Results,
    Schema,
    array,
    option,
)
from accweight_core.probes.units import UnitAxes, unit_counts


@dataclass
class Activations(Probe):
    """Maps of a node for chosen inputs; dead units and sparsity of every layer."""

    name, version, needs = "activations", 2, Needs.FORWARD
    reading = (
        "A unit that is above 0 for no sample is dead behind a ReLU; one that is always above "
        "0 tells no samples apart."
    )

    node: str = option("", "node of the maps; by default the first layer")
    samples: int = option(6, "samples that maps are kept of, drawn from all classes")
    rows: tuple[str, ...] = option((), "samples that maps are kept of, by their numbers")
    units: int = option(16, "units that maps are kept of, from the first on")
    layers: tuple[str, ...] = option((), "layers that are counted; by default all")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the shapes of the nodes for a few samples."""
        self._axes = context.axes_of(self.layers, "leave it out")
        self._node = self.node or next(iter(self._axes), context.layers[0])
        self._map_axes = context.checked_axes(self._node, "choose another one with node=")
        named = context.checked_rows(self.rows)
        self._rows = named if self.rows else context.chosen_rows(self.samples)
        self._sums = {
            layer: context.collect(Sums(partial(_counted, layer, axes)))
            for layer, axes in self._axes.items()
        }
        self._kept = context.collect(Values(self._of_chosen))
        return self._schema(self._maps(context.tried(self._node)[self._node]).shape[1:])

    def _schema(self, map_shape: tuple[int, ...]) -> Schema:
        units, height, width = map_shape
        rows = self._rows.tolist()
        self._width = max(unit_counts(self._axes).values(), default=1)
        lengths: Lengths = {
            "layer": [*self._axes], "picture": [f"{row}/{u}" for row in rows for u in range(units)],
            "unit": self._width, **picture_lengths((height, width, 1)),
        }  # fmt: skip
        attributes = {
            "node": self._node,
            "rows": rows,
            "units": {layer: axes.count for layer, axes in self._axes.items()},
        }
        return Schema.of(
            lengths,
            array("sparsity", "step layer", "share of values not above 0"),
            array("dead", "step layer", "units above 0 for no sample: dead behind a ReLU"),
            array("mean", "step layer", "mean of all values"),
            array("std", "step layer", "standard deviation of all values"),
            array("values", "step layer unit",
                  "share of samples for which a unit is above 0 anywhere", "float32"),
            array("maps", f"step picture {PICTURE}", "maps of the node, by sample/unit", "float32"),
            *picture_fields("picture", "pictures of the maps"),
            attributes=attributes,
        )  # fmt: skip

    def _of_chosen(self, batch: Batch) -> Array:
        """Return the values of the node for the chosen samples of a batch."""
        return batch.outputs[self._node][np.isin(batch.rows, self._rows)]

    def _maps(self, values: Array) -> Array:
        """Return (samples, units, height, width) of a node."""
        whole, places = self._map_axes.of(values).astype(np.float32), self._map_axes.places
        if len(places) == 2:
            found: Array = whole[:, : self.units].reshape(len(whole), -1, *places)
            return found
        if not places:  # units without positions are one picture
            return as_picture(whole[:, :, 0])[:, None]
        return whole[:, None]  # units and tokens are one picture

    def end(self) -> Mapping[str, Array]:
        """Return the arrays of the step."""
        sums = [*self._sums.values()]
        counts = [max(one["values"], 1) for one in sums]
        means = [one["sum"] / count for one, count in zip(sums, counts, strict=True)]
        variances = [
            one["squares"] / count - mean**2
            for one, count, mean in zip(sums, counts, means, strict=True)
        ]
        maps = self._maps(self._kept.whole())
        return {
            "sparsity": 1 - np.array([one["above"] for one in sums]) / np.array(counts),
            "dead": np.array([np.count_nonzero(one["positive"] == 0) for one in sums]),
            "mean": np.array(means),
            "std": np.sqrt(np.maximum(variances, 0.0)),
            "values": padded_rows(
                (one["positive"] / max(one["samples"], 1) for one in sums), self._width, np.float32
            ),
            "maps": maps.reshape(-1, *maps.shape[2:], 1),
        }

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the maps as pictures on one scale for all steps."""
        return pictured(results, "maps")

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return how many units are dead at the last step, of how many."""
        units = result.attributes["units"]
        dead = dict(zip(result.labels("layer"), result.array("dead")[-1], strict=True))
        named = [f"{layer} {n:.0f} of {units[layer]}" for layer, n in dead.items() if n]
        return [f"units above 0 for no sample: {', '.join(named[:6])}"] if named else []


def _counted(layer: str, axes: UnitAxes, batch: Batch) -> dict[str, Any]:
    """Return what a batch adds to the sums over the values of one layer."""
    whole = axes.of(batch.outputs[layer])
    if whole.dtype.itemsize < 4:
        whole = whole.astype(np.float32)
    above = whole > 0
    rows = whole.reshape(len(whole), -1)  # in its own type per sample: half the time
    return {
        "samples": len(whole),
        "values": whole.size,
        "positive": np.count_nonzero(above.any(axis=2), axis=0),
        "above": int(np.count_nonzero(above)),
        "sum": float(rows.sum(axis=1).sum(dtype=np.float64)),
        "squares": float(np.einsum("ij,ij->i", rows, rows).sum(dtype=np.float64)),
    }
