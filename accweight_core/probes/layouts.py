"""Layouts: points placed by which of them are near each other, from step to step without jumps.

t-SNE and UMAP have no axes: what is found depends on where the points begin. So a series of
pictures is laid out one after the other, each from where the one before it ended (`warm_started`).
How well neighbours are kept is `trust_in`, without which no picture should be read; how far points
move is `jumps`.

A further method is a class with the methods of `Layout`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import numpy as np

from accweight_core.errors import ArgumentValueError, MissingLibraryError
from accweight_core.probes.network import Array
from accweight_core.probes.planes import in_one_plane

FIRST_ROUNDS, EXAGGERATED, NEXT_ROUNDS = 500, 250, 250
"""Iterations of t-SNE for the first picture, before them with exaggeration, and for the others."""

SPREAD = 1e-4
"""Standard deviation of the first coordinates of t-SNE, as is usual, and of noise."""

UMAP_SIDE = 10.0
"""Side of the square in which UMAP begins."""

UMAP_NEXT_ROUNDS, UMAP_NEXT_RATE = 100, 0.05
"""Rounds and rate of UMAP for every picture but the first."""


class Layout(Protocol):
    """What places points in the plane, from where they are already.

    Attributes:
        name: What it is called.
    """

    name: ClassVar[str]

    def begin(self, vectors: Array) -> Array:
        """Return (points, 2): where the points of the first picture begin.

        Args:
            vectors: (points, features) of the first picture.

        Raises:
            ArgumentValueError: If there are too few points for it.
        """
        ...

    def placed(self, vectors: Array, places: Array, *, is_first: bool) -> Array:
        """Return (points, 2).

        Args:
            vectors: (points, features).
            places: (points, 2) where they begin.
            is_first: Whether they have not been placed before.
        """
        ...


def warm_started(layout: Layout, pictures: Iterable[Array]) -> list[Array]:
    """Return where the points of every picture are, each laid out from where the last one ended.

    Args:
        layout: What places them.
        pictures: (points, features) each, of the same points; read one at a time. For steps of a
            training, the last step comes first: it has most structure.
    """
    found: list[Array] = []
    for vectors in pictures:
        begin = found[-1] if found else layout.begin(vectors)
        found.append(layout.placed(vectors, begin, is_first=not found))
    return found


@dataclass(frozen=True)
class Tsne:
    """t-SNE of openTSNE, begun from principal components.

    Attributes:
        perplexity: How many neighbours count, about.
        seed: Seed of what is drawn.
    """

    name: ClassVar[str] = "t-SNE"

    perplexity: float
    seed: int

    def __post_init__(self) -> None:
        """Raise unless it is installed.

        Raises:
            MissingLibraryError: If it is not.
        """
        _library("openTSNE", "tsne", self.name, "openTSNE")

    def begin(self, vectors: Array) -> Array:
        """Return the principal components, small."""
        most = max((len(vectors) - 1) / 3, 1.0)
        if self.perplexity > most:
            raise ArgumentValueError(
                f"perplexity {self.perplexity:g} is too large for {len(vectors)} points; at most "
                f"{most:.0f}"
            )
        (places,) = in_one_plane([vectors], vectors)
        spread = max(float(places[:, 0].std()), np.finfo(float).tiny)
        return np.asarray(places * SPREAD / spread)

    def placed(self, vectors: Array, places: Array, *, is_first: bool) -> Array:
        """Return the points after some hundred iterations."""
        tsne = _library("openTSNE", "tsne", self.name, "openTSNE")
        how: dict[str, Any] = {"n_jobs": 1, "random_state": self.seed}
        alike = _library("openTSNE", "tsne", self.name, "openTSNE.affinity").PerplexityBasedNN(
            vectors, perplexity=self.perplexity, method="exact", **how
        )
        moving = tsne.TSNEEmbedding(places, alike, negative_gradient_method="bh", **how)
        if is_first:
            moving = moving.optimize(EXAGGERATED, exaggeration=12, momentum=0.5)
        return np.asarray(moving.optimize(FIRST_ROUNDS if is_first else NEXT_ROUNDS, momentum=0.8))


@dataclass(frozen=True)
class Umap:
    """UMAP of umap-learn (McInnes et al. 2018), begun from principal components.

    Attributes:
        perplexity: Twice the neighbours that count.
        seed: Seed of what is drawn.
    """

    name: ClassVar[str] = "UMAP"

    perplexity: float
    seed: int

    def __post_init__(self) -> None:
        """Raise unless it is installed.

        Raises:
            MissingLibraryError: If it is not.
        """
        _library("umap-learn", "umap", self.name, "umap")

    def begin(self, vectors: Array) -> Array:
        """Return the principal components; small noise along axes that have no reach."""
        narrow = vectors.astype(np.float32)
        (places,) = in_one_plane([narrow], narrow)
        flat = np.ptp(places, axis=0) == 0  # it divides by how far they reach
        noise = np.random.default_rng(self.seed).standard_normal(places.shape, np.float32)
        return np.asarray(np.where(flat, np.float32(SPREAD) * noise, places))

    def placed(self, vectors: Array, places: Array, *, is_first: bool) -> Array:
        """Return the points after some rounds; it begins in a square, whatever it is given."""
        how: dict[str, Any] = {"n_epochs": UMAP_NEXT_ROUNDS, "learning_rate": UMAP_NEXT_RATE}
        low, side = places.min(axis=0), np.ptp(places, axis=0) / UMAP_SIDE
        neighbours = max(2, min(round(self.perplexity / 2), len(vectors) - 1))
        moving = _library("umap-learn", "umap", self.name, "umap").UMAP(
            n_neighbors=neighbours, init=places.astype(np.float32), random_state=self.seed,
            n_jobs=1, **({} if is_first else how),
        )  # fmt: skip
        made = np.asarray(moving.fit_transform(vectors.astype(np.float32)), np.float64)
        return made if is_first else made * side + low


LAYOUTS: Mapping[str, Callable[[float, int], Layout]] = {"tsne": Tsne, "umap": Umap}
"""By the name of the method; they take perplexity and seed."""


def _library(name: str, extra: str, layout: str, module: str) -> Any:
    """Return a module of a library that is imported only where it is used."""
    try:
        return import_module(module)
    except ImportError:
        raise MissingLibraryError(name, extra, f"a layout by {layout}") from None


def trust_in(vectors: Array, places: Array, count: int) -> float:
    """Return how well neighbours in the plane are those of the vectors (Venna, Kaski 2001).

    Args:
        vectors: (points, features).
        places: (points, 2).
        count: Neighbours that count, at most.
    """
    from sklearn.manifold import trustworthiness

    neighbours = min(count, (len(places) - 1) // 2)
    return float(trustworthiness(vectors, places, n_neighbors=neighbours))


def jumps(places: Array) -> Array:
    """Return how far points move from the step before, in root mean square radii.

    At the first step there is no number.

    Args:
        places: (steps, points, 2).
    """
    found = [float("nan")]
    for before, after in pairwise(places):
        radius = np.sqrt(((before - before.mean(axis=0)) ** 2).sum(axis=1).mean())
        moved = np.linalg.norm(after - before, axis=1).mean()
        found.append(float(moved / radius) if radius > 0 else float("nan"))
    return np.array(found)
