"""Vectors as points on a few axes: principal components, seen from the same side at every step.

Pictures that are made one by one cannot be compared: even principal components turn. So either all
have one basis (`in_one_plane`), or each is turned to be as like the one before it as can be
(`planes_along`): what remains of the motion is that of the points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from accweight_core.probes.network import Array


def fitted_components(values: Array, count: int) -> Any:
    """Return scikit-learn's `PCA` of the first principal components, fitted.

    Two of 1,000 samples by 1,024 features take 17 ms by ARPACK and 139 ms by all singular values;
    the components differ by 1e-5 at most.

    Args:
        values: (samples, features).
        count: Components, of which there are not more than samples or features.
    """
    from sklearn.decomposition import PCA

    count = min(count, *values.shape)
    is_iterative = 4 * count < min(values.shape) and bool(np.ptp(values, axis=0).any())
    solver = "arpack" if is_iterative else "full"
    return PCA(count, svd_solver=solver, random_state=0).fit(values)


def in_one_plane(pictures: Iterable[Array], of: Array) -> Array:
    """Return (pictures, points, 2): vectors in the plane of the principal components of some.

    Args:
        pictures: (points, features) each.
        of: (points, features) that the components are of. Where there is but one, the second
            coordinate is 0.
    """
    fitted = fitted_components(of, 2)
    found = [fitted.transform(vectors) for vectors in pictures]
    return np.stack([np.pad(own, ((0, 0), (0, 2 - own.shape[1]))) for own in found])


@dataclass(frozen=True)
class Plane:
    """What takes vectors to points on a few axes.

    Attributes:
        centre: (features,) the vector that is at 0.
        basis: (features, axes).
    """

    centre: Array
    basis: Array

    @classmethod
    def of(cls, vectors: Array, axes: int) -> Plane:
        """Return that of the principal components; of vectors of few features, these themselves.

        Args:
            vectors: (points, features); features that are 0 everywhere do not count.
            axes: Axes of the picture.
        """
        basis = np.zeros((vectors.shape[1], axes))
        if is_plain(vectors, axes):
            kept = min(axes, vectors.shape[1])
            basis[range(kept), range(kept)] = 1
            return cls(np.zeros(vectors.shape[1]), basis)
        fitted = fitted_components(vectors, axes)
        basis[:, : len(fitted.components_)] = fitted.components_.T
        return cls(fitted.mean_, basis)

    def shown(self, vectors: Array) -> Array:
        """Return (points, axes)."""
        return np.asarray((vectors - self.centre) @ self.basis)

    def turned(self, vectors: Array, before: Array) -> Plane:
        """Return it turned, or mirrored, so that vectors are as near as can be to points.

        This is the orthogonal Procrustes problem (Schoenemann, Psychometrika 1966).

        Args:
            vectors: (points, features).
            before: (points, axes) where they are to be, around 0.
        """
        left, _, right = np.linalg.svd(self.shown(vectors).T @ before)
        return replace(self, basis=self.basis @ (left @ right))


def is_plain(vectors: Array, axes: int) -> bool:
    """Tell whether no more features than axes are in use, so that they can be shown themselves."""
    return not np.any(vectors[:, axes:])


def planes_along(pictures: Iterable[Array], axes: int) -> list[Plane]:
    """Return a plane per picture, each turned to be as like the one before it as can be.

    Those of vectors that have no more features than axes are not turned.

    Args:
        pictures: (points, features) each, of the same points.
        axes: Axes of the pictures.
    """
    found: list[Plane] = []
    before: Array | None = None
    for vectors in pictures:
        plane = Plane.of(vectors, axes)
        if before is not None and not is_plain(vectors, axes):
            plane = plane.turned(vectors, before)
        found.append(plane)
        before = (vectors - vectors.mean(axis=0)) @ plane.basis
    return found
