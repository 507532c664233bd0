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
from typing import Any

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import Sums
from accweight_core.probes.context import Context
from accweight_core.probes.features import need_sklearn
from accweight_core.probes.probe import (
    Array,
    Batch,
    Needs,
    Probe,
    Results,
    Schema,
    array,
    final,
    option,
    stacked,
)
from accweight_core.probes.timed import States
from accweight_core.probes.varied import named
from accweight_core.text import some


@dataclass
class HiddenResponse(Probe):
    """What each hidden unit answers to: its expected response, units and inputs in groups."""

    name, version, needs = "hidden_response", 3, Needs.FORWARD
    reading = (
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
        self._states = States.of(context, self.layer)
        self._sums = context.collect(Sums(self._changes))
        rows, samples = context.chosen_rows(self.points), context.data.inputs[0]
        node, times, units = self._states.node, self._states.times, self._states.units
        self._are_tokens = samples.ndim == 2 and samples.dtype.kind in "iu"
        are_told = len(context.data.inputs) == 1 and samples.shape[1:2] == (times,)
        if not (are_told and (self._are_tokens or samples.ndim == 3)):
            raise ArgumentValueError(
                f"probe {self.name!r}: {node} has {times} times, and a sample has shape "
                f"{samples.shape[1:]}; expected times of whole numbers, or (times, features)"
            )
        are_named = self._are_tokens or len(context.data.vocabulary) == samples.shape[-1]
        self._names = context.data.vocabulary if are_named else ()
        self._chosen = np.arange(samples.shape[-1])[: self.inputs]
        if self._are_tokens:
            found, counts = np.unique(samples[rows], return_counts=True)
            self._chosen = np.sort(found[np.argsort(-counts, kind="stable")][: self.inputs])
        most = min(units, len(self._chosen))
        self._groups = self.groups or min(4, most)
        if not 1 < self._groups <= most:
            raise ArgumentValueError(
                f"probe {self.name!r}: groups is {self._groups}; {units} units and "
                f"{len(self._chosen)} inputs have 2 to {most}"
            )
        self._seed, inputs = context.seed, len(self._chosen)
        return Schema.of(
            {"row": units, "unit": units, "rank": inputs, "input": inputs},
            array("responses", "step row rank", "mean change of a unit's state at an input"),
            final("response", "step unit input",
                  "mean change of a unit's state at an input, by groups"),
            array("size", "step", "mean size of a response"),
            final("unit_group", "row", "group of a unit"),
            final("input_group", "rank", "group of an input"),
            attributes={"node": node}, rows=rows,
        )  # fmt: skip

    def _changes(self, batch: Batch) -> Mapping[str, Array]:
        """Return the changes of a batch at each input, and how often each comes."""
        states = self._states.of_batch(batch).astype(np.float64)
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
        return {"responses": found, "size": np.abs(found).mean()}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return units and inputs in groups, those of the last step."""
        responses = stacked(results, "responses")
        units, inputs = co_clusters(np.abs(responses[-1]), self._groups, self._seed)
        self._order = [np.argsort(one, kind="stable") for one in (units, inputs)]
        return {
            "response": responses[:, self._order[0]][:, :, self._order[1]],
            "unit_group": units,
            "input_group": inputs,
        }

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return the units and the inputs in the order of their groups."""
        units, inputs = self._order
        numbers = self._chosen[inputs].tolist()
        return {
            "unit": tuple(map(str, units.tolist())), "input": tuple(named(numbers, self._names)),
        }  # fmt: skip

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
