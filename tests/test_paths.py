"""Paths of weights from inner products: what they tell is what the weights themselves tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from accweight_core.metrics.paths import Path
from accweight_core.metrics.random_walk import walk_shares

WALK: np.ndarray[Any, Any] = np.random.default_rng(0).standard_normal((7, 40)).cumsum(axis=0)
MOVED = WALK - WALK[0]
FOUND = Path(MOVED @ MOVED.T)


def test_distances_and_angles_are_those_of_the_weights() -> None:
    lengths = np.linalg.norm(MOVED, axis=1)
    moves = np.linalg.norm(np.diff(WALK, axis=0), axis=1)

    np.testing.assert_allclose(FOUND.norms, lengths)
    np.testing.assert_allclose(FOUND.moves, [0, *moves])
    expected = MOVED[1:] @ MOVED[1:].T / np.outer(lengths[1:], lengths[1:])
    np.testing.assert_allclose(FOUND.cosines[1:, 1:], expected)
    assert np.isnan(FOUND.cosines[0]).all(), "the first step has no direction"


def test_components_are_those_of_scikit_learn_with_the_last_step_above_0() -> None:
    library = PCA(7).fit(WALK)

    coordinates, shares = FOUND.components(9)

    np.testing.assert_allclose(shares[:6], library.explained_variance_ratio_[:6])
    assert not shares[6:].any(), "seven steps have six components"
    theirs = library.transform(WALK)[:, :6]
    np.testing.assert_allclose(coordinates[:, :6], theirs * np.sign(theirs[-1]), atol=1e-9)
    assert coordinates.shape == (7, 9)


def test_a_path_without_moves_has_no_variance() -> None:
    coordinates, shares = Path(np.zeros((4, 4))).components(2)

    assert not coordinates.any()
    assert not shares.any()


def test_the_share_of_a_random_walk_is_what_random_walks_have() -> None:
    moved = np.random.default_rng(2).standard_normal((200, 4000)).cumsum(axis=0)

    _, shares = Path(moved @ moved.T).components(3)

    assert shares == pytest.approx(walk_shares(200), rel=0.1)
