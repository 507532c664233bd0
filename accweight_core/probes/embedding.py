"""The probe `embedding`: samples as points in the plane at every step, by the values of a node.

Pictures of single steps cannot be compared: t-SNE places points anew each time, and even principal
components turn. So the basis of PCA is that of the last step, or of all steps together, and t-SNE
and UMAP start from the last step and go backwards, each step from the one after it. How far points
move is `jump`; how well neighbours are kept is `trustworthiness`, without which no picture should
be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.context import Context
from accweight_core.probes.features import Features, attributes_of, need_sklearn
from accweight_core.probes.layouts import LAYOUTS, jumps, trust_in, warm_started
from accweight_core.probes.likeness import neighbours_of, same_class
from accweight_core.probes.planes import in_one_plane
from accweight_core.probes.probe import (
    Array,
    Needs,
    Probe,
    Results,
    Schema,
    array,
    final,
    option,
)

NEIGHBOURS = 12
"""Neighbours that trustworthiness counts."""


@dataclass
class Embedding(Probe):
    """Samples as points in the plane by the values of a layer, comparable between steps."""

    name, version, needs = "embedding", 3, Needs.FORWARD
    takes_finite_alone = True

    layer: str = option("", "layer or node; by default the last layer before the output")
    method: Literal["pca", "tsne", "umap"] = option(
        "pca", "principal components, t-SNE (openTSNE) or UMAP (umap-learn)"
    )
    basis: Literal["last", "joint"] = option("last", "PCA of the last step, or of all together")
    points: int = option(1000, "samples at most, each class with its share")
    perplexity: float = option(30.0, "perplexity of t-SNE, and neighbours of UMAP by half of it")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the features of the node."""
        need_sklearn(self.name)
        chosen = LAYOUTS.get(self.method)
        self._layout = chosen and chosen(self.perplexity, context.seed)
        self._features = Features.of(context, self.layer, self.points)
        rows, width = self._features.rows, self._features.width
        attributes = attributes_of(context, self._features)
        attributes["said"] = self._said()
        self._labels = np.array(attributes["targets"])
        return Schema.of(
            {"point": len(rows), "feature": width, "coordinate": 2},
            array("features", "step point feature", "values of the node", "float32"),
            final("coordinates", "step point coordinate", self._said()),
            final("trustworthiness", "step",
                  "how well neighbours in the plane are neighbours in the layer"),
            final("jump", "step", "mean move of a point since the step before, in radii"),
            final("purity", "step",
                  "share of neighbours in the plane that are of the same class"),
            attributes=attributes, rows=rows,
        )  # fmt: skip

    def _said(self) -> str:
        if self._layout is not None:
            return f"{self._layout.name}, each step begun where the next one ended"
        what = "the last step" if self.basis == "last" else "all steps together"
        return f"principal components of {what}"

    def end(self) -> Mapping[str, Array]:
        """Return the values of the node."""
        return {"features": self._features.whole()}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the points at all steps in a common plane."""
        places, steps = self._placed(results), range(len(results.steps))
        trust = [trust_in(results.at("features", at), places[at], NEIGHBOURS) for at in steps]
        near = [neighbours_of(places[at], NEIGHBOURS) for at in steps]
        return {
            "coordinates": places,
            "trustworthiness": np.array(trust),
            "jump": jumps(places),
            "purity": np.array([same_class(own, self._labels) for own in near]),
        }

    def _placed(self, results: Results) -> Array:
        """Return (steps, points, 2)."""
        steps = range(len(results.steps))

        def values(at: int) -> Array:
            return results.at("features", at).astype(np.float64)

        if self._layout is not None:
            return np.stack(warm_started(self._layout, map(values, reversed(steps)))[::-1])
        of = np.concatenate([*map(values, steps)]) if self.basis == "joint" else values(steps[-1])
        return in_one_plane(map(values, steps), of)

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return how the points were placed, and how far that can be trusted."""
        trust, said = result.array("trustworthiness"), result.attributes
        worth = f"trustworthiness {trust.min():.2f} to {trust.max():.2f}"
        return [f"{len(said['rows'])} samples by {said['node']}; {said['said']}; {worth}"]
