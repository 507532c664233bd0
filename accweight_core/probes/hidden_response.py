"""The probe `hidden_response`: what each hidden unit answers to, and which units answer alike.

The expected response of a hidden unit to an input is by how much its state changes, on average,
when that input comes (Ming et al., "Understanding hidden memories of recurrent neural networks",
the system RNNVis, VAST 2017). Units and inputs are put into groups together, by spectral
co-clustering of the sizes of the responses at the last step (Dhillon, KDD 2001), so that each group
of units stands beside the inputs that it answers to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import Sums
from accweight_core.probes.context import Context
from accweight_core.probes.features import need_sklearn
from accweight_core.probes.hidden_state import recurrent_layer
from accweight_core.probes.probe import (
    Array,
    Batch,
    Field,
    Needs,
    Probe,
    Results,
    Schema,
    option,
    stacked,
)
from accweight_core.text import some


@dataclass
class HiddenResponse(Probe):
    """What each hidden unit answers to: its expected response, units and inputs in groups."""

    name: ClassVar[str] = "hidden_response"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.FORWARD
    reading: ClassVar[str] = (
        "Bright: the state rises when this input comes, dark: it falls. A mean over all contexts: "
        "a unit that answers to an input in one context alone has a pale cell."
    )

    layer: str = option("", "recurrent layer or node; by default the first one with times")
    inputs: int = option(48, "inputs at most: the most frequent tokens, or the first features")
    groups: int = option(0, "groups of units and inputs; by default 4, or as many as there can be")
    points: int = option(1000, "sequences, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the units of the layer and the inputs."""
        need_sklearn(self.name)
        self._node = self.layer or recurrent_layer(context)
        self._axes = context.checked_axes(self._node, "choose another one with layer=")
        self._sums = context.collect(Sums(self._changes))
        self._rows, samples = context.chosen_rows(self.points), context.data.inputs[0]
        times, units = self._axes.positions, self._axes.count
        self._are_tokens = samples.ndim == 2 and samples.dtype.kind in "iu"
        if (
            len(context.data.inputs) != 1
            or samples.shape[1:2] != (times,)
            or not (self._are_tokens or samples.ndim == 3)
        ):
            raise ArgumentValueError(
                f"probe {self.name!r}: {self._node} has {times} times, and a sample has shape "
                f"{samples.shape[1:]}; expected times of whole numbers, or (times, features)"
            )
        if self._are_tokens:
            found, counts = np.unique(samples[self._rows], return_counts=True)
            self._chosen = np.sort(found[np.argsort(-counts, kind="stable")][: self.inputs])
        else:
            self._chosen = np.arange(min(samples.shape[2], self.inputs))
        count = len(self._chosen)
        self._groups = self.groups or min(4, count, units)
        if not 1 < self._groups <= min(count, units):
            raise ArgumentValueError(
                f"groups is {self._groups}; {units} units and {count} inputs have 2 to "
                f"{min(count, units)}"
            )
        self._seed, shape = context.seed, (0, units, count)
        fields = (
            Field("responses", ("step", "row", "rank"), shape,
                  "mean change of a unit's state at an input"),
            Field("response", ("step", "unit", "input"), shape,
                  "mean change of a unit's state at an input, by groups", final=True),
            Field("size", ("step",), (0,), "mean size of a response"),
            Field("unit_group", ("row",), (units,), "group of a unit", final=True),
            Field("input_group", ("rank",), (count,), "group of an input", final=True),
        )  # fmt: skip
        return Schema(fields, attributes={"node": self._node}, rows=self._rows)

    def _changes(self, batch: Batch) -> Mapping[str, Array]:
        """Return the changes of a batch at each input, and how often each comes."""
        states = self._axes.of(batch.outputs[self._node]).astype(np.float64)
        changes = np.diff(states, axis=2, prepend=0)
        (samples,) = batch.inputs.values()
        if self._are_tokens:
            there = (samples[..., None] == self._chosen).astype(np.float64)
        else:
            there = samples[..., self._chosen].astype(np.float64)
        return {
            "changes": np.einsum("nut,nti->ui", changes, there),
            "inputs": np.abs(there).sum(axis=(0, 1)),
        }

    def end(self) -> Mapping[str, Array]:
        """Return the responses of all units."""
        inputs = self._sums["inputs"]
        found = self._sums["changes"] / np.where(inputs > 0, inputs, 1)
        return {"responses": found, "size": np.array(np.abs(found).mean())}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return units and inputs in groups, those of the last step."""
        responses = stacked(results, "responses")
        units, inputs = co_clusters(np.abs(responses[-1]), self._groups, self._seed)
        self._order = [np.argsort(one, kind="stable") for one in (units, inputs)]
        return {
            "response": responses[:, self._order[0]][:, :, self._order[1]],
            "unit_group": units.astype(np.float64),
            "input_group": inputs.astype(np.float64),
        }

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return the units and the inputs in the order of their groups."""
        units, inputs = self._order
        return {
            "unit": tuple(map(str, units.tolist())),
            "input": tuple(str(self._chosen[at]) for at in inputs.tolist()),
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which units answer to which inputs."""
        units, inputs = result.labels("unit"), result.labels("input")
        of_units = np.sort(result.array("unit_group"))
        of_inputs = np.sort(result.array("input_group"))
        told = []
        for group in np.unique(of_units):
            own = [unit for unit, one in zip(units, of_units, strict=True) if one == group]
            to = [name for name, one in zip(inputs, of_inputs, strict=True) if one == group]
            told.append(f"units {some(own, 6)} to {some(to, 6) if to else 'none'}")
        return [
            f"units of {result.attributes['node']} that answer to inputs alike: {'; '.join(told)}"
        ]


def co_clusters(sizes: Array, groups: int, seed: int) -> tuple[Array, Array]:
    """Return the groups of rows and of columns of a matrix of sizes; what is 0 is in the last one.

    Args:
        sizes: (rows, columns), not below 0.
        groups: How many.
        seed: Seed of the clustering.
    """
    from sklearn.cluster import SpectralCoclustering

    rows, columns = sizes.sum(axis=1) > 0, sizes.sum(axis=0) > 0
    found = [np.full(len(one), groups - 1) for one in (rows, columns)]
    inner = sizes[rows][:, columns]
    if min(inner.shape, default=0) >= groups:
        model: Any = SpectralCoclustering(groups, random_state=seed).fit(inner)
        found[0][rows], found[1][columns] = model.row_labels_, model.column_labels_
    return found[0], found[1]
