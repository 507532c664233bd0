"""The probe `neuron_activation`: what each unit makes of subsets of the samples.

A row is a unit, a column a subset: a class, the samples that the network gets wrong, or those of a
rule of your own (after ActiVis: Kahng et al., IEEE TVCG 2018). Cells are the mean over the subset,
less the mean of all samples, in standard deviations of all: what units of any scale have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import Sums, flat_inputs
from accweight_core.probes.context import Context
from accweight_core.probes.features import class_names, labels_of
from accweight_core.probes.network import OUTPUT
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
from accweight_core.probes.units import by_node, side_by_side, unit_counts, unit_names
from accweight_core.samples.rules import Rule
from accweight_core.text import some

MOST_CLASSES, MOST_UNITS = 40, 1024
WRONG = "wrong"


@dataclass
class NeuronActivation(Probe):
    """What units make of subsets of the samples: classes, the wrong ones, rules of your own."""

    name, version, needs = "neuron_activation", 1, Needs.FORWARD
    reading = (
        "A bright cell is a unit that answers to a subset more than to all samples. That the "
        "network uses it for that is shown by ablation alone."
    )

    layers: tuple[str, ...] = option((), "layers or nodes; by default the last two hidden ones")
    units: int = option(20, "units per layer shown: those that tell subsets apart most", least=0)
    rule: tuple[str, ...] = option((), "subsets: x12>0.5 (input number 12), y==3, mean<0.1")
    pool: Literal["mean", "max"] = option("mean", "value of a channel, over its positions")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the subsets and the units of the layers."""
        hidden = context.layers_of_samples[:-1][-2:] or context.layers_of_samples
        self._axes = context.axes_of(self.layers or hidden)
        self._sums = context.collect(Sums(self._added))
        self._rules = [Rule.of(text) for text in self.rule]
        labels = labels_of(context, np.arange(len(context.data)))
        self._labels = None if labels is None else np.array(labels)
        of_classes = [text for text, rule in zip(self.rule, self._rules, strict=True) if rule.of_y]
        if labels is None and of_classes:
            raise ArgumentValueError(
                f"rule {of_classes[0]}: {context.data.path} has no classes; save them as y"
            )
        classes = class_names(context, labels or [])[:MOST_CLASSES]
        names = (*classes, *((WRONG,) if classes else ()), *self.rule)
        if not names:
            raise ArgumentValueError(
                f"probe {self.name!r} compares subsets of samples; {context.data.path} has no "
                "classes: say rule=x0>0.5 or save classes as y"
            )
        self._counts = counts = unit_counts(self._axes, MOST_UNITS)
        self._classes, self._rows = len(classes), unit_names(counts)
        kept = sum(min(count, self.units) for count in counts.values())
        return Schema.of(
            {"row": self._rows, "subset": names, "layer": [*self._axes], "unit": kept},
            array("means", "step row subset",
                  "mean of a unit over a subset, in standard deviations above that of all"),
            final("answers", "step unit subset",
                  "mean of a unit over a subset, in standard deviations above that of all samples"),
            array("explained", "step layer",
                  "mean share of a unit's variance that the classes explain"),
            final("order", "unit", "rows of the units that are shown"),
        )  # fmt: skip

    def _added(self, batch: Batch) -> Mapping[str, Array | int]:
        """Return what a batch adds to the sums of its subsets, and of all samples."""
        pooled = np.max if self.pool == "max" else np.mean
        values = side_by_side(
            self._axes, batch.outputs, MOST_UNITS, lambda v: pooled(v.astype(np.float64), axis=2)
        )
        member = self._members(batch).astype(np.float64)
        return {
            "subsets": values.T @ member,
            "sizes": member.sum(axis=0),
            "all": values.sum(axis=0),
            "squares": (values**2).sum(axis=0),
            "samples": len(values),
        }

    def _members(self, batch: Batch) -> Array:
        """Return (samples, subsets): which samples are in which subset."""
        labels = None if self._labels is None else self._labels[batch.rows]
        found = [rule.holds(flat_inputs(batch), labels) for rule in self._rules]
        if labels is not None:
            scores = batch.outputs[OUTPUT]
            is_scored = scores.ndim == 2 and scores.shape[1] > labels.max()
            said = scores.argmax(axis=1) if is_scored else labels
            classes = [labels == one for one in range(self._classes)]
            found = [*classes, said != labels, *found]
        return np.stack(found, axis=1)

    def end(self) -> Mapping[str, Array]:
        """Return the means over the subsets."""
        sums, samples = self._sums, self._sums["samples"]
        mean = sums["all"] / samples
        variance = np.maximum(sums["squares"] / samples - mean**2, 0)
        spread = np.where(variance > 1e-12 * (1 + mean**2), np.sqrt(variance), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (sums["subsets"] / sums["sizes"] - mean[:, None]) / spread[:, None]
        shares = sums["sizes"][: self._classes] / samples
        own = np.nan_to_num(found[:, : self._classes] ** 2) @ shares
        means = [part.mean() for part in by_node(own, self._counts).values()]
        explained = np.array(means) if self._classes else np.full(len(means), np.nan)
        return {"means": found, "explained": explained}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the units that tell most, those that answer to one subset side by side."""
        means = stacked(results, "means")
        last = np.nan_to_num(means[-1], nan=-np.inf)
        order: list[int] = []
        for rows in by_node(np.arange(len(last)), self._counts).values():
            best = rows[np.argsort(-last[rows].max(axis=1), kind="stable")[: self.units]]
            order += best[np.argsort(last[best].argmax(axis=1), kind="stable")].tolist()
        return {"answers": means[:, order], "order": np.array(order)}

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return the names of the units that are shown."""
        return {"unit": tuple(self._rows[int(row)] for row in values["order"])}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return the unit that answers to each subset most, at the last step."""
        means, rows = result.array("means")[-1], result.labels("row")
        told = []
        for place, subset in enumerate(result.labels("subset")):
            own = means[:, place]
            if np.isfinite(own).any():
                best = int(np.nanargmax(own))
                told.append(f"{subset} {rows[best]} ({own[best]:+.1f})")
        return [f"units that answer most to: {some(told, 12)}"]
