"""The probe `feature_visualization`: inputs that excite units most, and since which step.

Gradient ascent ``x <- x + rate * dh/dx`` on the value h of a unit before its activation function
(Erhan et al., "Visualizing higher-layer features of a deep network", 2009): behind a ReLU that is
off, the gradient would be exactly 0. The units of a layer are optimised side by side, one sample
each. As published, there are 20 iterations at rate 1, and nothing else; `decay` and `blur` draw x
back to 0 and smooth it after every iteration (Yosinski et al., arXiv 1506.06579).

A feature has appeared at its *onset*: the first step from which on its optimum stays similar
(cosine 0.9) to that of the last step.

What a layer makes of different pictures of one class says whether its features are those of the
class: the mean cosine between pictures of one class, less that between classes, is its *agreement*.
It should rise with depth. Cosines are those of values less their mean over all pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.shown_names import SHOWN_AS
from accweight_core.probes.ascent import Ascent, Beginning, beginning, exciting_inputs
from accweight_core.probes.context import Context
from accweight_core.probes.features import Agreement
from accweight_core.probes.known import mean_of_known, median_of_known
from accweight_core.probes.likeness import likeness_to_last
from accweight_core.probes.network import samples_at_once
from accweight_core.probes.pixels import (
    drawn_lengths,
    picture_fields,
    pictured_each,
    sample_lengths,
    shown,
)
from accweight_core.probes.probe import (
    Array,
    Lengths,
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
from accweight_core.probes.since import held_since
from accweight_core.probes.units import Position, by_node, names_by_class, unit_counts, unit_names
from accweight_core.probes.varied import differentiable_input
from accweight_core.text import some, told

SIMILAR = 0.9
"""Cosine to the optimum of the last step from which a feature counts as there."""


@dataclass
class FeatureVisualization(Probe):
    """Inputs that excite units most, by gradient ascent, and the step at which they appear."""

    name, version, needs = "feature_visualization", 3, Needs.FORWARD | Needs.INPUT_GRADIENT
    reading = (
        "What excites a unit most is not what it usually sees. A picture that keeps changing "
        "belongs to a unit that still learns."
    )

    layers: tuple[str, ...] = option((), "layers (or nodes); by default all with matrices")
    units: int = option(8, "units of each layer, from the first on", least=1)
    position: Position = option(
        "centre",
        "value of a channel: at the centre of its map (or sequence), at its end, or the sum",
    )
    iterations: int = option(20, "iterations of gradient ascent", least=1)
    rate: float = option(1.0, "rate of gradient ascent")
    begin_at: Beginning = option(
        "zero", "where the ascent begins: at 0, at the mean of the samples, or near 0"
    )
    decay: float = option(
        0.0, "share of x that is taken away after every iteration", least=0, below=1
    )
    blur: float = option(
        0.0, "share of every pixel that its neighbours get after every iteration", least=0, most=1
    )
    pictures: int = option(100, "samples whose agreement within classes is taken; 0 for none")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the shapes of the input and of the nodes."""
        samples = differentiable_input(
            context, "--probe attribution says what the tokens of samples do"
        )
        self._shape, self._begin = samples.shape[1:], beginning(context, self.begin_at)
        self._at_once = samples_at_once(context.network.inputs)
        self._axes = context.axes_of(self.layers or context.layers_with_matrices)
        self._chosen = unit_counts(self._axes, self.units)
        self._agreement = Agreement.of(context, self._axes, self.pictures)
        return self._schema(context)

    def _schema(self, context: Context) -> Schema:
        own, classes = sample_lengths(self._shape), {context.layers[-1]: context.data.class_names}
        named = names_by_class(self._chosen, self._axes, classes)
        lengths: Lengths = {
            "picture": unit_names(self._chosen), "layer": [*self._chosen], **own,
            **drawn_lengths(shown, self._shape),
        }  # fmt: skip
        return Schema.of(
            lengths,
            array("optimum", f"step picture {' '.join(own)}",
                  "the input that was found", "float32"),
            array("value", "step picture", "value of the unit there"),
            array("gain", "step layer", "mean rise of the value by the ascent"),
            final("similarity", "step layer", "mean cosine to the optima of the last step"),
            final("onset", "picture", "step from which on a feature is there"),
            *picture_fields(
                "picture", "the inputs as pictures, each by its own largest value", is_own=True
            ),
            *self._agreement.fields,
            attributes={"units": self._chosen, SHOWN_AS: {"picture": named}},
            rows=self._agreement.rows,
        )  # fmt: skip

    def begin(self, step: Step) -> None:
        """Climb from the first input for all units of all layers."""
        ascent = Ascent(self.iterations, self.rate, self.decay, self.blur)
        self._climbed = [
            exciting_inputs(
                step.bound, node, self._axes[node], count, self._begin, ascent,
                position=self.position, at_once=self._at_once,
            )
            for node, count in self._chosen.items()
        ]  # fmt: skip

    def end(self) -> Mapping[str, Array]:
        """Return the optima of the step."""
        return {
            "optimum": np.concatenate([one.x for one in self._climbed]),
            "value": np.concatenate([one.value for one in self._climbed]),
            "gain": np.array([(one.value - one.before).mean() for one in self._climbed]),
            **self._agreement.values(),
        }

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return pictures, each on a scale of its own, and when each feature appeared."""
        found = stacked(results, "optimum")
        similar = likeness_to_last(found)
        per_layer = [mean_of_known(own) for own in by_node(similar, self._chosen).values()]
        return {
            **pictured_each(found, shown),
            "similarity": np.stack(per_layer, axis=1),
            "onset": held_since(similar >= SIMILAR, results.steps),
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return when the features of each layer appeared, and which units have no gradient."""
        onset = by_node(result.array("onset"), result.attributes["units"])
        there = told(onset, map(median_of_known, onset.values()), ".0f")
        lines = [f"features are there from step (median of the units): {', '.join(there)}"]
        pairs = zip(result.labels("picture"), result.array("optimum")[-1], strict=True)
        still = [name for name, optimum in pairs if not optimum.any()]
        if still:
            lines.append(
                f"no gradient where the ascent begins: {some(still, 4)}; try "
                "begin_at=mean or begin_at=noise"
            )
        if "agreement" in result.arrays:
            agreed = told(result.labels("layer"), result.array("agreement")[-1], ".2f")
            lines.append(f"agreement of pictures of one class by depth: {', '.join(agreed)}")
        return lines
