"""The probe `unit_saliency`: what the loss owes to each unit, and how much it pulls at its weights.

The saliency of a unit is |gradient times value|, summed over its positions before the modulus: to
first order, by how much the loss of a sample changes if the unit is set to 0 (Molchanov et al.,
arXiv 1611.06440). The gradient is the norm of the loss's gradient by the weights of the unit. Both
are of single samples, and their mean is stored: gradients of opposite samples do not cancel out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.binding.described import Described
from accweight_core.probes.context import Context
from accweight_core.probes.known import padded_rows
from accweight_core.probes.network import OUTPUT, filled_up, samples_at_once
from accweight_core.probes.probe import Array, Batch, Needs, Probe, Schema, Step, array, option
from accweight_core.probes.scoring import Form, Loss, scoring_of
from accweight_core.probes.unit_weights import UnitWeights
from accweight_core.probes.units import UnitAxes, unit_counts
from accweight_core.probes.varied import Explained
from accweight_core.schema import Kind, Layer
from accweight_core.text import some


@dataclass
class UnitSaliency(Probe):
    """What the loss owes to each unit, and how much it pulls at the weights of each."""

    name, version = "unit_saliency", 1
    needs = Needs.FORWARD | Needs.INPUT_GRADIENT | Needs.WEIGHT_GRADIENT
    reading = (
        "To first order, saliency is by how much the loss of a sample changes without the unit. A "
        "unit that others could stand in for has some all the same, and what is far from 0 changes "
        "more than that."
    )

    of: Literal["auto", "loss", "output"] = option(
        "auto", "what is differentiated: the loss, or the output of the class; auto: by the targets"
    )
    at: int = option(-1, "position of that output, where there are several, as of tokens")
    loss: Loss = option("auto", "loss: by default cross_entropy for classes, mse for numbers")
    output_is: Form = option("auto", "scores (logits) or probabilities; by default by its values")
    points: int = option(128, "samples, each class with its share", least=1)
    layers: tuple[str, ...] = option((), "layers; by default all")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the layers and what is differentiated."""
        self._axes = context.axes_of(self.layers, "leave it out")
        if not self._axes:
            raise ArgumentValueError(f"probe {self.name!r}: no layer has values of samples")
        self._weights = _weights_of(context, self._axes)
        self._rows = context.chosen_rows(self.points)
        self._size = samples_at_once(context.network.inputs)
        of = self._differentiated(context)
        self._width = max(unit_counts(self._axes).values())
        return Schema.of(
            {"layer": [*self._axes], "unit": self._width},
            array("layer_saliency", "step layer", "saliency of all units of a layer"),
            array("layer_gradient", "step layer",
                  f"mean norm of the gradient of the {of} by the weights of a layer"),
            array("saliency", "step layer unit",
                  f"what the {of} owes to a unit: mean |gradient x value|", "float32"),
            array("gradient", "step layer unit",
                  f"mean norm of the gradient of the {of} by the weights of a unit", "float32"),
            attributes={"of": of}, rows=self._rows,
        )  # fmt: skip

    def _differentiated(self, context: Context) -> str:
        """Choose what is differentiated, and return it in a word."""
        scores = context.tried()[OUTPUT]
        if self.of == "loss" and not context.data.has_targets:
            raise ArgumentValueError(
                f"probe {self.name!r}: {context.data.path} has no targets, so there is no loss; "
                "save them as y, or say of=output"
            )
        self._scoring = self._explained = None
        if self.of != "output" and context.data.has_targets:
            self._scoring = scoring_of(self.loss, self.output_is, context.data, scores)
            return "loss"
        self._explained = Explained.of(context, scores, self.at)
        self._labels = self._explained.classes(context.data.targets)
        return "output"

    def begin(self, step: Step) -> None:
        """Start the sums of a step."""
        self._network, self._count = step.bound, 0
        sizes = {node: axes.count for node, axes in self._axes.items()}
        self._saliency = {node: np.zeros(count) for node, count in sizes.items()}
        self._gradient = {node: np.zeros(count) for node, count in sizes.items()}
        self._whole = dict.fromkeys(sizes, 0.0)

    def measure(self, batch: Batch) -> None:
        """Differentiate by every sample of a batch."""
        factors = self._factors(batch)
        names = dict.fromkeys(n for one in self._weights.values() for n in one.names)
        for at in range(len(batch.rows)):
            own = {name: value[at : at + 1] for name, value in batch.inputs.items()}
            of = np.zeros((max(self._size, 1), *factors.shape[1:]), factors.dtype)
            of[0] = factors[at]
            x = filled_up(own, self._size)
            found = self._network.gradient(x, (OUTPUT, of), [*self._axes, *names])
            self._add(batch, at, dict(found))

    def _factors(self, batch: Batch) -> Array:
        """Return what is differentiated as factors of the output of each sample."""
        scores = batch.outputs[OUTPUT]
        if self._scoring is not None:
            return self._scoring.gradient(scores, batch.rows)
        assert self._explained is not None
        numbers = self._explained.scores(scores).argmax(axis=1)
        if self._labels is not None:
            numbers = self._labels[batch.rows]
        found = np.zeros(scores.shape)
        for at, number in enumerate(numbers):
            unit = self._explained.unit(int(number))
            found[(at, *(unit if isinstance(unit, tuple) else (unit,)))] = 1
        return found

    def _add(self, batch: Batch, at: int, found: Mapping[str, Array]) -> None:
        """Add what was found of one sample."""
        for node, axes in self._axes.items():
            value = axes.of(batch.outputs[node][at : at + 1])
            gradient = axes.made(found[node], 1)
            self._saliency[node] += np.abs(_dot(value, gradient))
            weights = self._weights[node]
            self._gradient[node] += np.sqrt(weights.squares(found))
            self._whole[node] += float(np.sqrt(sum(_square(found[n]) for n in weights.names)))
        self._count += 1

    def end(self) -> Mapping[str, Array]:
        """Return the means of the step."""
        saliency = [total / self._count for total in self._saliency.values()]
        gradient = [
            self._gradient[node] / self._count if weights.are_known else np.array([])
            for node, weights in self._weights.items()
        ]
        known = [bool(one.names) for one in self._weights.values()]
        wholes = np.array([*self._whole.values()]) / self._count
        return {
            "layer_saliency": np.array([v.sum() for v in self._saliency.values()]) / self._count,
            "layer_gradient": np.where(known, wholes, np.nan),
            "saliency": padded_rows(saliency, self._width, np.float32),
            "gradient": padded_rows(gradient, self._width, np.float32),
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return what was differentiated, and the units with most saliency at the last step."""
        names, values = result.labels("layer"), result.array("saliency")[-1]
        known = np.nan_to_num(values, nan=-1.0)
        best = np.argsort(-known, axis=None, kind="stable")[:5]
        places = [np.unravel_index(at, known.shape) for at in best if known.flat[at] > 0]
        told = [f"{names[layer]}/{unit} ({known[layer, unit]:.2g})" for layer, unit in places]
        of = result.attributes["of"]
        return [f"saliency for the {of}; most at the last step: {some(told, 5) or 'none'}"]


def _weights_of(context: Context, axes: Mapping[str, UnitAxes]) -> dict[str, UnitWeights]:
    """Return the weights of the units of layers; those of layers unknown to readers are none."""
    described = {layer.name: layer for layer in Described.of(context.network).layers}
    none = Layer("", Kind.OTHER, ())
    return {
        node: UnitWeights.of(described.get(node, replace(none, name=node)), one.count)
        for node, one in axes.items()
    }


def _dot(value: Array, gradient: Array) -> Array:
    """Return (units,): products of a sample, summed over positions."""
    wide = value[0].astype(np.float64), gradient[0].astype(np.float64)
    return np.asarray(np.einsum("ij,ij->i", *wide))


def _square(values: Array) -> float:
    flat = values.reshape(-1)
    return float(np.vdot(flat, flat).real)
