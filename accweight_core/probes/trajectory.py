"""The probe `trajectory`: the path of the weights, from their inner products alone.

G[s, t] = <W_s - W_0, W_t - W_0>, summed block by block, has everything that depends on distances
and angles between steps: principal components of the path, displacement, cosines. A path of 40
checkpoints with two million weights takes 0.4 s so, a randomised PCA of the weights 11 s, and both
agree to 2e-14. The walk of an analysis can observe it, so that nothing is read twice; the bits are
the same.

A random walk also looks like a smooth path in its principal components: they explain 6/(pi k)^2 of
its variance, 61 %, 15 % and 7 % (Antognini and Sohl-Dickstein, arXiv 1806.08805). What is found
has to be held against that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.metrics.paths import Path
from accweight_core.metrics.random_walk import walk_shares
from accweight_core.probes.context import Context
from accweight_core.probes.probe import Array, Lengths, Needs, Probe, Results, Schema, final, option
from accweight_core.probes.walking import grams_at, walked_parameters

MOST_BYTES = 1 << 30
"""Limit of the stored inner products."""


@dataclass
class Trajectory(Probe):
    """The path of the weights: principal components, distances and angles between steps."""

    name, version, needs = "trajectory", 1, Needs.WEIGHTS
    takes_grams = True

    components: int = option(3, "principal components to keep", least=1)

    def start(self, context: Context) -> Schema:
        """Return the arrays; all of them are computed in the end, from all steps."""
        self._context = context
        self._parameters = walked_parameters(context.run)
        count = len(context.run.checkpoints)
        size_bytes = 8 * len(self._parameters) * count**2
        if size_bytes > MOST_BYTES:
            raise ArgumentValueError(
                f"inner products of {count} steps and {len(self._parameters)} parameters take "
                f"{size_bytes >> 20} MiB, more than {MOST_BYTES >> 20}; thin out the run"
            )
        lengths: Lengths = {
            "parameter": [parameter.name for parameter in self._parameters],
            "layer": list(dict.fromkeys(parameter.layer for parameter in self._parameters)),
            "component": self.components,
        }
        return Schema.of(
            lengths,
            final("gram", "parameter step step", "inner products of W_t - W_0"),
            final("coordinates", "step component", "principal components of all"),
            final("variance", "component", "share of the variance that each explains"),
            final("cosine", "step step", "cosine between W_s - W_0 and W_t - W_0"),
            final("displacement", "step", "norm of W_t - W_0"),
            final("layer_displacement", "step layer", "the same per layer"),
            final("layer_step", "step layer", "norm of the last move"),
            final("layer_direction", "step layer", "cosine between W_t - W_0 and the last step's"),
            final("layer_coordinates", "step layer component", "principal components per layer"),
            final("layer_variance", "layer component",
                  "share of the variance that each explains, per layer"),
            attributes={"random_walk": walk_shares(count, self.components)},
        )  # fmt: skip

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Walk the run once, and return everything that follows from the inner products."""
        grams = grams_at(self._context, self._parameters, results.steps)
        layers = np.array([parameter.layer for parameter in self._parameters])
        whole = Path(grams.sum(axis=0))
        paths = [Path(grams[layers == name].sum(axis=0)) for name in dict.fromkeys(layers.tolist())]
        coordinates, variance = whole.components(self.components)
        own, shares = zip(*[path.components(self.components) for path in paths], strict=True)
        return {
            "gram": grams,
            "coordinates": coordinates,
            "variance": variance,
            "cosine": whole.cosines,
            "displacement": whole.norms,
            "layer_displacement": np.stack([path.norms for path in paths], axis=1),
            "layer_step": np.stack([path.moves for path in paths], axis=1),
            "layer_direction": np.stack([path.cosines[:, -1] for path in paths], axis=1),
            "layer_coordinates": np.stack(own, axis=1),
            "layer_variance": np.stack(shares),
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return what the components explain, beside what they explain of a random walk."""
        found, null = result.array("variance"), result.attributes["random_walk"]
        shares = [
            f"{k}: {share:.0%} ({chance:.0%})"
            for k, (share, chance) in enumerate(zip(found, null, strict=False), start=1)
        ]  # T checkpoints have T - 1 components at most
        return [f"variance explained by components (of a random walk): {', '.join(shares)}"]
