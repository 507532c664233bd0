"""How alike things are, filters, pictures or samples: cosines, nearest neighbours, classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from accweight_core.probes.probe import Array


def directions(values: Array) -> Array:
    """Return (things, elements) float64: things as vectors of length 1; NaN for those that are 0.

    Args:
        values: (things, ...).
    """
    flat = values.reshape(len(values), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    found: Array = np.divide(flat, norms, out=np.full_like(flat, np.nan), where=norms > 0)
    return found


def likeness_to_last(found: Sequence[Array] | Array) -> Array:
    """Return (steps, things): the cosine between each thing and what it is at the last step.

    Args:
        found: (things, ...) at every step.
    """
    last = directions(found[-1])
    return np.stack([(directions(values) * last).sum(axis=1) for values in found])


def neighbours_of(points: Array, count: int, metric: str = "euclidean") -> Array:
    """Return (points, count): the nearest other points of each, nearest first."""
    from sklearn.neighbors import NearestNeighbors

    count = min(count, len(points) - 1)
    search: Any = NearestNeighbors(n_neighbors=count, algorithm="brute", metric=metric).fit(points)
    found: Array = search.kneighbors(return_distance=False)
    return found


def vote_of(nearest: Array, labels: Array) -> tuple[Array, Array]:
    """Return the class that most of the nearest have; of equally many, that of the nearest one.

    Args:
        nearest: (samples, neighbours), the nearest first.
        labels: Classes by sample.

    Returns:
        (samples,) classes, and the nearest neighbour of that class.
    """
    votes = labels[nearest]
    first = (votes[:, :, None] == votes[:, None, :]).sum(axis=2).argmax(axis=1)
    samples = np.arange(len(nearest))
    return votes[samples, first], nearest[samples, first]


def same_class(nearest: Array, labels: Array) -> float:
    """Return the share of neighbours that are of the same class; NaN without classes.

    Args:
        nearest: (points, neighbours).
        labels: (points,), or none.
    """
    if len(labels) != len(nearest):
        return float("nan")
    return float((labels[nearest] == labels[:, None]).mean())


def agreement(values: Array, labels: Array) -> float:
    """Return the mean cosine of samples of one class, less that of samples of several.

    Args:
        values: (samples, features); their mean over samples is taken away first.
        labels: The class of each sample. NaN if there are no two of one, or only one.
    """
    towards = directions(values - values.mean(axis=0))
    cosines = towards @ towards.T
    known = np.isfinite(cosines) & ~np.eye(len(labels), dtype=bool)
    same = labels[:, None] == labels
    within, between = cosines[known & same], cosines[known & ~same]
    if not within.size or not between.size:
        return float("nan")
    return float(within.mean() - between.mean())
