"""The probe `linear_probe`: how well classes can be told apart at every layer, and since when.

A logistic regression is fitted on the values of a layer for one part of the samples, and asked
about the other part (Alain and Bengio, "Understanding intermediate layers using linear classifier
probes", arXiv 1610.01644). What it gets right among those it was fitted on rises with every feature
that a layer has; what it gets right among the others rises only with features that tell classes
apart. If the second falls while the first does not, a layer has come to know its samples instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.features import attributes_of, features_by_class, inputs_of
from accweight_core.probes.linear_classifier import accuracy_of_parts
from accweight_core.probes.probe import Array, Needs, Probe, Schema, array, option

ERRORS = 2.0
"""Standard errors of the difference by which held-out accuracy has to fall to be a warning."""


@dataclass
class LinearProbe(Probe):
    """How well a linear classifier tells classes apart at every layer, on samples held out."""

    name, version, needs = "linear_probe", 1, Needs.FORWARD
    reading = (
        "Held-out accuracy says what a layer has made easy to read, not what the network uses. "
        "If it falls while that of the fitted samples does not, the layer learns its samples."
    )

    layers: tuple[str, ...] = option((), "layers or nodes; by default all layers")
    points: int = option(1000, "samples at most, each class with its share")
    trained: int = option(
        0, "samples, the first of the file, that the network was trained on: the classifier is "
        "fitted on these; 0 for a random half",
    )  # fmt: skip

    def start(self, context: Context) -> Schema:
        """Return the arrays, and split the samples."""
        self._layers, self._labels = features_by_class(context, self.layers, self.points)
        rows = self._layers[0].rows
        self._fitted = self._split(context, rows)
        shares = np.bincount(self._labels[~self._fitted])
        return Schema.of(
            {"layer": [layer.node for layer in self._layers]},
            array("held_out", "step layer",
                  "share of the held-out samples whose class a linear classifier tells"),
            array("fitted", "step layer", "the same of those it was fitted on"),
            attributes={
                **attributes_of(context, self._layers[0]),
                "node": "",
                "input": accuracy_of_parts(inputs_of(context, rows), self._labels, self._fitted)[0],
                "chance": float(shares.max() / shares.sum()),
                "held_out": int((~self._fitted).sum()),
            },
            rows=rows,
        )  # fmt: skip

    def _split(self, context: Context, rows: Array) -> Array:
        """Return which samples the classifier is fitted on."""
        if self.trained:
            fitted: Array = rows < self.trained
        else:  # every other sample of a class
            order = context.random().permutation(len(rows))
            order = order[np.argsort(self._labels[order], kind="stable")]
            fitted = np.zeros(len(rows), bool)
            fitted[order[::2]] = True
        if len(set(self._labels[fitted])) < 2 or fitted.all():
            raise ArgumentValueError(
                f"probe {self.name!r}: of {len(rows)} samples {fitted.sum()} are fitted; both "
                "parts need samples, the first one of two classes (trained=N)"
            )
        return fitted

    def end(self) -> Mapping[str, Array]:
        """Return the accuracies of a classifier per layer."""
        found = np.array(
            [accuracy_of_parts(layer.whole(), self._labels, self._fitted) for layer in self._layers]
        )
        return {"held_out": found[:, 0], "fitted": found[:, 1]}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which layer tells most at the last step, and where held-out accuracy fell."""
        said, layers, steps = result.attributes, result.labels("layer"), result.steps
        held, fitted = result.array("held_out"), result.array("fitted")
        lines: list[str] = []
        if np.isfinite(held[-1]).any():
            best = int(np.nanargmax(held[-1]))
            lines.append(
                f"{said['held_out']} held-out samples: most are told at {layers[best]}, "
                f"{held[-1, best]:.0%} at step {steps[-1]}; by the input {said['input']:.0%}, "
                f"by chance {said['chance']:.0%}"
            )
        for place, layer in enumerate(layers):
            top = fallen(held[:, place], fitted[:, place], said["held_out"])
            if top is not None:
                lines.append(
                    f"warning: {layer} tells fewer held-out samples since step {steps[top]} "
                    f"({held[top, place]:.0%} to {held[-1, place]:.0%}), and no fewer of "
                    f"the fitted ({fitted[top, place]:.0%} to {fitted[-1, place]:.0%})"
                )
        return lines


def fallen(held: Array, fitted: Array, count: int) -> int | None:
    """Return the place of the best held-out accuracy, if it has fallen since; None if not.

    Args:
        held: (steps,) accuracy among held-out samples.
        fitted: Likewise among those fitted on.
        count: Held-out samples. A fall counts from two standard errors of a difference on.

    >>> fallen(np.array([0.5, 0.9, 0.6]), np.array([0.5, 0.9, 1.0]), 100)
    1
    >>> fallen(np.array([0.5, 0.9, 0.85]), np.array([0.5, 0.9, 1.0]), 100)
    >>> fallen(np.array([0.5, 0.9, 0.6]), np.array([0.5, 0.9, 0.8]), 100)  # all is forgotten
    """
    if not np.isfinite(held).any() or not np.isfinite(held[-1]):
        return None
    top = int(np.nanargmax(held))
    both = (held[top] + held[-1]) / 2
    error = np.sqrt(2 * both * (1 - both) / count)
    is_lower = held[top] - held[-1] > ERRORS * error
    return top if is_lower and fitted[-1] >= fitted[top] else None
