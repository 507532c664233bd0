"""The probe `neuron_activation`: what each unit makes of subsets of the samples.

A row is a unit, a column a subset: a class, the samples that the network gets wrong, or those of a
rule of your own (after ActiVis: Kahng et al., IEEE TVCG 2018). Cells are the mean over the subset,
less the mean of all samples, in standard deviations of all: what units of any scale have in common.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt
from typing import ClassVar, Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.arguments import brief
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import Sums, flat_inputs
from accweight_core.probes.context import Context
from accweight_core.probes.features import class_names, labels_of
from accweight_core.probes.network import OUTPUT
from accweight_core.probes.probe import (
    Array,
    Batch,
    Field,
    Needs,
    Probe,
    Results,
    Schema,
    option,
)
from accweight_core.text import some

RULE = re.compile(r"(x(\d{1,9})|y|mean)(<=|>=|==|<|>)([-+.\deE]+)")
COMPARED: Mapping[str, Callable[[Array, float], Array]] = {
    "<": lt, "<=": le, ">": gt, ">=": ge, "==": eq,
}  # fmt: skip

MOST_CLASSES, MOST_UNITS = 40, 1024
WRONG = "wrong"


@dataclass
class NeuronActivation(Probe):
    """What units make of subsets of the samples: classes, the wrong ones, rules of your own."""

    name: ClassVar[str] = "neuron_activation"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.FORWARD
    reading: ClassVar[str] = (
        "A bright cell is a unit that answers to a subset more than to all samples. That the "
        "network uses it for that is shown by ablation alone."
    )

    layers: tuple[str, ...] = option((), "layers or nodes; by default the last two hidden ones")
    units: int = option(20, "units per layer that are shown: those that tell subsets apart most")
    rule: tuple[str, ...] = option((), "subsets: x12>0.5 (input number 12), y==3, mean<0.1")
    pool: Literal["mean", "max"] = option("mean", "value of a channel, over its positions")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the subsets and the units of the layers."""
        self._rules = [_parsed(text) for text in self.rule]
        layers = self.layers or context.layers_of_samples[:-1][-2:] or context.layers_of_samples
        self._axes, self._sums = context.axes_of(layers), context.collect(Sums(self._added))
        labels = labels_of(context, np.arange(len(context.data)))
        self._labels = None if labels is None else np.array(labels)
        names: tuple[str, ...] = ()
        if self._labels is not None:
            names = (*class_names(context, self._labels)[:MOST_CLASSES], WRONG)
        self._classes = max(len(names) - 1, 0)
        names = (*names, *self.rule)
        if not names:
            raise ArgumentValueError(
                f"probe {self.name!r} compares subsets of samples; {context.data.path} has no "
                "classes: say rule=x0>0.5 or save classes as y"
            )
        self._counts = {one: min(a.count, MOST_UNITS) for one, a in self._axes.items()}
        rows = tuple(f"{one}/{unit}" for one, n in self._counts.items() for unit in range(n))
        kept = sum(min(n, self.units) for n in self._counts.values())
        fields = (
            Field("means", ("step", "row", "subset"), (0, len(rows), len(names)),
                  "mean of a unit over a subset, in standard deviations above that of all"),
            Field("answers", ("step", "unit", "subset"), (0, kept, len(names)),
                  "mean of a unit over a subset, in standard deviations above that of all samples",
                  final=True),
            Field("explained", ("step", "layer"), (0, len(layers)),
                  "mean share of a unit's variance that the classes explain"),
            Field("order", ("unit",), (kept,), "rows of the units that are shown", final=True),
        )  # fmt: skip
        self._rows, self._shown = rows, [min(n, self.units) for n in self._counts.values()]
        return Schema(fields, {"row": rows, "subset": names, "layer": tuple(layers)})

    def _added(self, batch: Batch) -> Mapping[str, Array | int]:
        """Return what a batch adds to the sums of its subsets, and of all samples."""
        pooled = np.max if self.pool == "max" else np.mean
        whole = [axes.of(batch.outputs[one])[:, :MOST_UNITS] for one, axes in self._axes.items()]
        each = [pooled(values.astype(np.float64), axis=2) for values in whole]
        values = np.concatenate(each, axis=1)
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
        found = []
        if self._labels is not None:
            labels, scores = self._labels[batch.rows], batch.outputs[OUTPUT]
            found += [labels == label for label in range(self._classes)]
            is_scored = scores.ndim == 2 and scores.shape[1] > labels.max()
            wrong = scores.argmax(axis=1) != labels if is_scored else np.zeros(len(labels), bool)
            found.append(wrong)
        flat = flat_inputs(batch)
        for what, index, compared, bound in self._rules:
            if (what == "y" and self._labels is None) or index >= flat.shape[1]:
                raise ArgumentValueError(
                    f"probe {self.name!r}: rule {what}: samples have {flat.shape[1]} numbers, "
                    f"counted from 0, and {'no ' * (self._labels is None)}classes"
                )
            of = flat.mean(axis=1) if what == "mean" else flat[:, index]
            labels = of if self._labels is None else self._labels[batch.rows]
            found.append(compared(labels if what == "y" else of, bound))
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
        ends = np.cumsum(list(self._counts.values()))[:-1]
        explained = [part.mean() for part in np.split(own, ends)]
        return {
            "means": found,
            "explained": np.array(explained) if self._classes else np.nan * ends,
        }

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the units that tell most, those that answer to one subset side by side."""
        last = np.nan_to_num(results.at("means", len(results.steps) - 1), nan=-np.inf)
        order, start = [], 0
        for count, kept in zip(self._counts.values(), self._shown, strict=True):
            own = last[start : start + count]
            chosen = np.argsort(-own.max(axis=1), kind="stable")[:kept]
            order += [
                start + row for row in chosen[np.argsort(own[chosen].argmax(axis=1), kind="stable")]
            ]
            start += count
        found = [results.at("means", at)[order] for at in range(len(results.steps))]
        return {"answers": np.stack(found), "order": np.array(order, np.float64)}

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


def _parsed(text: str) -> tuple[str, int, Callable[[Array, float], Array], float]:
    """Return what a rule compares, the number of the input, how, and with what."""
    found = RULE.fullmatch(text)
    try:
        if found is not None:
            return found[1], int(found[2] or 0), COMPARED[found[3]], float(found[4])
    except ValueError:
        pass
    raise ArgumentValueError(f"rule {brief(text)} is none; expected x12>0.5, y==3 or mean<0.1")
