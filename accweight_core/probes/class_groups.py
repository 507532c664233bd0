"""Groups of classes that are confused, and the classes whose means samples are nearest to."""

from __future__ import annotations

from typing import Any

import numpy as np

from accweight_core.probes.probe import Array


def nearest_mean(values: Array, labels: Array) -> Array:
    """Return, per sample, the class whose mean is nearest; its own class is without it.

    Args:
        values: (samples, features).
        labels: (samples,) classes, from 0 on.
    """
    wide = np.nan_to_num(values.astype(np.float64))
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), wide.shape[1]))
    np.add.at(sums, labels, wide)
    means = sums / np.maximum(counts, 1)[:, None]
    square = (wide**2).sum(axis=1)[:, None] - 2 * wide @ means.T + (means**2).sum(axis=1)
    square[:, counts == 0] = np.inf
    rest = counts[labels] / np.maximum(counts[labels] - 1, 1)  # x - m' = n/(n - 1) (x - m)
    own = np.arange(len(labels)), labels
    square[own] *= rest**2
    found: Array = square.argmin(axis=1)
    return found


def hierarchy(confusion: Array, groups: int) -> tuple[Array, Array]:
    """Return the group of each class, and the order of the classes in their hierarchy.

    Args:
        confusion: (classes, classes) how much a class is taken for another, above chance.
        groups: Number of groups; 0 to cut where joining two of them costs most, at two to half as
            many as there are classes.

    >>> hierarchy(np.array([[0, 0, 1], [0, 0, 0], [3, 0, 0]]), 2)[0]
    array([0, 1, 0])
    """
    from sklearn.cluster import AgglomerativeClustering

    alike = np.maximum(confusion / np.maximum(np.abs(confusion).max(), 1e-12), 0)
    far = 1 - (alike + alike.T) / 2
    np.fill_diagonal(far, 0)
    how: Any = {"metric": "precomputed", "linkage": "average"}
    tree: Any = AgglomerativeClustering(None, distance_threshold=0, **how).fit(far)
    if not groups:
        gains = np.diff(tree.distances_)[::-1][: max(len(far) // 2 - 1, 1)]  # to 2 groups, 3, ...
        groups = 2 + int(gains.argmax())
    found = AgglomerativeClustering(groups, **how).fit_predict(far)
    first = list(dict.fromkeys(found.tolist()))
    under = [[leaf] for leaf in range(len(far))]
    for one, other in tree.children_:
        under.append(under[one] + under[other])
    return np.array([first.index(one) for one in found]), np.array(under[-1])


def excess(counts: Array) -> Array:
    """Return by how much pairs are more frequent than if rows and columns had nothing in common.

    A network that says one class of everything mixes up no two classes more than others. Pairs
    that are rarer are 0: a step at which all is right says nothing of who was mixed up before.

    Args:
        counts: (..., classes, classes).

    Returns:
        (..., classes, classes), as shares of the samples of a class.

    >>> excess(np.array([[4, 0], [4, 0]])).tolist(), excess(np.array([[2, 2], [0, 4]])).tolist()
    ([[0.0, 0.0], [0.0, 0.0]], [[0.25, 0.0], [0.0, 0.25]])
    """
    rows, columns = counts.sum(axis=-1, keepdims=True), counts.sum(axis=-2, keepdims=True)
    total = np.maximum(counts.sum(axis=(-2, -1), keepdims=True), 1)
    found: Array = np.maximum(counts - rows * columns / total, 0) / np.maximum(rows, 1)
    return found
