"""The probe `unit_saliency`: what the loss owes to each unit, and how much it pulls at its weights.

The saliency of a unit is |gradient times value|, summed over its positions before the modulus: to
first order, by how much the loss of a sample changes if the unit is set to 0 (Molchanov et al.,
arXiv 1611.06440). The gradient is the norm of the loss's gradient by the weights of the unit. Both
are of single samples, and their mean is stored: gradients of opposite samples do not cancel out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import SumsOfSamples
from accweight_core.probes.context import Context
from accweight_core.probes.differentiated import Differentiated, What
from accweight_core.probes.known import padded_rows
from accweight_core.probes.probe import Array, Batch, Needs, Probe, Schema, Step, array, option
from accweight_core.probes.scoring import Form, Loss
from accweight_core.probes.unit_weights import UnitWeights
from accweight_core.probes.units import by_node, unit_counts
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

    of: What = option(
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
        self._weights = UnitWeights.of_nodes(context.network, self._axes)
        self._of = Differentiated.chosen(context, self.of, self.loss, self.output_is, self.at)
        self._sums = context.collect(SumsOfSamples(self._terms))
        self._width, of = max(unit_counts(self._axes).values()), self._of.word
        return Schema.of(
            {"layer": [*self._axes], "unit": self._width},
            array("layer_saliency", "step layer", "saliency of all units of a layer"),
            array("layer_gradient", "step layer",
                  f"mean norm of the gradient of the {of} by the weights of a layer"),
            array("saliency", "step layer unit",
                  f"what the {of} owes to a unit: mean |gradient x value|", "float32"),
            array("gradient", "step layer unit",
                  f"mean norm of the gradient of the {of} by the weights of a unit", "float32"),
            attributes={"of": of}, rows=context.chosen_rows(self.points),
        )  # fmt: skip

    def begin(self, step: Step) -> None:
        """Keep the network of a step."""
        self._network = step.bound

    def _terms(self, batch: Batch) -> Iterator[Mapping[str, Any]]:
        """Yield what every sample adds to the sums over units, those of the first layer first."""
        layers = self._weights.values()
        names = dict.fromkeys(name for weights in layers for name in weights.names)
        samples = self._of.gradients(self._network, batch, [*self._axes, *names])
        for at, found in enumerate(samples):
            owed = [
                np.abs(_dot(axes.of(batch.outputs[node][at : at + 1]), axes.made(found[node], 1)))
                for node, axes in self._axes.items()
            ]
            yield {
                "samples": 1,
                "saliency": np.concatenate(owed),
                "gradient": np.concatenate([np.sqrt(own.squares(found)) for own in layers]),
                "whole": np.array([own.norm(found) for own in layers]),
            }

    def end(self) -> Mapping[str, Array]:
        """Return the means of the step."""
        sums, count = self._sums, self._sums["samples"]
        sizes = {node: axes.count for node, axes in self._axes.items()}
        saliency, gradient = (by_node(sums[name], sizes) for name in ("saliency", "gradient"))
        pulls = [
            gradient[node] / count if weights.are_known else np.array([])
            for node, weights in self._weights.items()
        ]
        known = [bool(one.names) for one in self._weights.values()]
        return {
            "layer_saliency": np.array([own.sum() for own in saliency.values()]) / count,
            "layer_gradient": np.where(known, sums["whole"] / count, np.nan),
            "saliency": padded_rows(
                (own / count for own in saliency.values()), self._width, np.float32
            ),
            "gradient": padded_rows(pulls, self._width, np.float32),
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


def _dot(value: Array, gradient: Array) -> Array:
    """Return (units,): products of a sample, summed over positions."""
    wide = value[0].astype(np.float64), gradient[0].astype(np.float64)
    return np.asarray(np.einsum("ij,ij->i", *wide))
