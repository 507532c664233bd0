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
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError, MissingLibraryError
from accweight_core.probes.context import Context
from accweight_core.probes.features import Features, attributes_of, fitted_components, need_sklearn
from accweight_core.probes.likeness import neighbours_of
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

FIRST_ROUNDS, EXAGGERATED, NEXT_ROUNDS = 500, 250, 250
"""Iterations of t-SNE at the last step, before them with exaggeration, and at every other step."""

SPREAD = 1e-4
"""Standard deviation of the first coordinates of t-SNE, as is usual."""

UMAP_SIDE = 10.0
"""Side of the square in which UMAP begins."""

UMAP_NEXT_ROUNDS, UMAP_NEXT_RATE = 100, 0.05
"""Rounds and rate of UMAP at every step but the last."""


@dataclass
class Embedding(Probe):
    """Samples as points in the plane by the values of a layer, comparable between steps."""

    name, version, needs = "embedding", 3, Needs.FORWARD

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
        if self.method != "pca":
            _LIBRARIES[self.method]()
        self._seed = context.seed
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
        if self.method != "pca":
            name = "t-SNE" if self.method == "tsne" else "UMAP"
            return f"{name}, each step begun where the next one ended"
        what = "the last step" if self.basis == "last" else "all steps together"
        return f"principal components of {what}"

    def end(self) -> Mapping[str, Array]:
        """Return the values of the node."""
        return {"features": self._features.whole()}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the points at all steps in a common plane."""
        steps = len(results.steps)
        if self.method == "pca":
            places = by_components(results, joint=self.basis == "joint")
        elif self.method == "tsne":
            places = by_tsne(results, self.perplexity, self._seed)
        else:
            places = by_umap(results, self.perplexity, self._seed)
        trust = [trust_in(results.at("features", at), places[at]) for at in range(steps)]
        purities = [purity(places[at], self._labels, NEIGHBOURS) for at in range(steps)]
        return {
            "coordinates": places,
            "trustworthiness": np.array(trust),
            "jump": jumps(places),
            "purity": np.array(purities),
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return how the points were placed, and how far that can be trusted."""
        trust, said = result.array("trustworthiness"), result.attributes
        worth = f"trustworthiness {trust.min():.2f} to {trust.max():.2f}"
        return [f"{len(said['rows'])} samples by {said['node']}; {said['said']}; {worth}"]


def by_components(results: Results, *, joint: bool) -> Array:
    """Return (steps, points, 2): principal components in one basis for all steps."""
    steps = len(results.steps)
    last = results.at("features", steps - 1).astype(np.float64)
    chosen = [results.at("features", at).astype(np.float64) for at in range(steps)]
    fitted = fitted_components(np.concatenate(chosen) if joint else last, 2)
    found = [fitted.transform(features) for features in chosen]
    return np.stack([_two_columns(places) for places in found])


def _two_columns(places: Array) -> Array:
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))


def by_tsne(results: Results, perplexity: float, seed: int) -> Array:
    """Return (steps, points, 2) by t-SNE, from the last step backwards.

    The last step starts from its principal components, every other one from the step after it.
    """
    tsne: Any = _open_tsne()
    steps = len(results.steps)
    last = results.at("features", steps - 1).astype(np.float64)
    most = max((len(last) - 1) / 3, 1.0)
    if perplexity > most:
        raise ArgumentValueError(
            f"perplexity {perplexity:g} is too large for {len(last)} points; at most {most:.0f}"
        )
    start = fitted_components(last, 2).transform(last)
    places = _two_columns(start) * SPREAD / max(float(start[:, 0].std()), np.finfo(float).tiny)
    found: list[Array] = []
    for at in reversed(range(steps)):
        features = results.at("features", at).astype(np.float64)
        alike = tsne.affinity.PerplexityBasedNN(
            features, perplexity=perplexity, method="exact", n_jobs=1, random_state=seed
        )
        moving = tsne.TSNEEmbedding(
            places, alike, negative_gradient_method="bh", n_jobs=1, random_state=seed
        )
        if not found:
            moving = moving.optimize(EXAGGERATED, exaggeration=12, momentum=0.5)
        rounds = NEXT_ROUNDS if found else FIRST_ROUNDS
        places = np.asarray(moving.optimize(rounds, momentum=0.8))
        found.append(places)
    return np.stack(found[::-1])


def by_umap(results: Results, perplexity: float, seed: int) -> Array:
    """Return (steps, points, 2) by UMAP, from the last step backwards (McInnes et al. 2018).

    The last step starts from its principal components, every other one from the step after it.
    """
    umap: Any = _open_umap()
    steps = len(results.steps)
    last = results.at("features", steps - 1).astype(np.float32)
    neighbours = max(2, min(round(perplexity / 2), len(last) - 1))
    places = _two_columns(fitted_components(last, 2).transform(last))
    found: list[Array] = []
    for at in reversed(range(steps)):
        features = results.at("features", at).astype(np.float32)
        how = {"n_epochs": UMAP_NEXT_ROUNDS, "learning_rate": UMAP_NEXT_RATE} if found else {}
        low, side = places.min(axis=0), np.ptp(places, axis=0) / UMAP_SIDE
        moving = umap.UMAP(
            n_neighbors=neighbours, init=places.astype(np.float32), random_state=seed, n_jobs=1,
            **how,
        )  # fmt: skip
        made = np.asarray(moving.fit_transform(features), np.float64)
        places = made * side + low if found else made  # it begins in a square, whatever it is given
        found.append(places)
    return np.stack(found[::-1])


def _open_umap() -> Any:
    try:
        import umap
    except ImportError:
        raise MissingLibraryError("umap-learn", "umap", "embedding:method=umap") from None
    return umap


def _open_tsne() -> Any:
    try:
        import openTSNE
        import openTSNE.affinity
    except ImportError:
        raise MissingLibraryError("openTSNE", "tsne", "embedding:method=tsne") from None
    return openTSNE


_LIBRARIES = {"tsne": _open_tsne, "umap": _open_umap}


def trust_in(features: Array, places: Array) -> float:
    """Return how well neighbours in the plane are neighbours in the layer (Venna, Kaski 2001)."""
    from sklearn.manifold import trustworthiness

    neighbours = min(NEIGHBOURS, (len(places) - 1) // 2)
    return float(trustworthiness(features, places, n_neighbors=neighbours))


def jumps(places: Array) -> Array:
    """Return how far points move from the step before, in root mean square radii; NaN at the first.

    Args:
        places: (steps, points, 2).
    """
    found = [float("nan")]  # a 0 would be a move, and no logarithmic scale has it
    for before, after in pairwise(places):
        radius = np.sqrt(((before - before.mean(axis=0)) ** 2).sum(axis=1).mean())
        moved = np.linalg.norm(after - before, axis=1).mean()
        found.append(float(moved / radius) if radius > 0 else float("nan"))
    return np.array(found)


def purity(points: Array, labels: Array, count: int) -> float:
    """Return the share of nearest neighbours that are of the same class; NaN without classes."""
    if len(labels) != len(points):
        return float("nan")
    nearest = neighbours_of(points, count)
    return float((labels[nearest] == labels[:, None]).mean())
