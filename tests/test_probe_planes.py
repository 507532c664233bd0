"""Points in the plane: bases that stay, planes that are turned, layouts that go on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from accweight_core.analysis.motion import between
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.layouts import Tsne, jumps, trust_in, warm_started
from accweight_core.probes.likeness import agreement, same_class
from accweight_core.probes.planes import Plane, in_one_plane, planes_along

Array = np.ndarray[Any, np.dtype[Any]]


def cloud(points: int = 30, features: int = 5, seed: int = 0) -> Array:
    """Return points whose spread differs from feature to feature."""
    drawn = np.random.default_rng(seed).standard_normal((points, features))
    return np.asarray(drawn * np.arange(1, features + 1))


# ---------------------------------------------------------------- planes


def test_one_plane_is_that_of_the_vectors_it_is_made_of() -> None:
    first, last = cloud(), cloud(seed=1)

    found = in_one_plane([first, last], last)

    library = PCA(2, svd_solver="full").fit(last)
    np.testing.assert_allclose(found[0], library.transform(first), atol=1e-12)
    np.testing.assert_allclose(found[1], library.transform(last), atol=1e-12)


def test_a_single_feature_is_a_line_in_the_plane() -> None:
    values = cloud(features=1)

    (found,) = in_one_plane([values], values)

    assert found.shape == (30, 2)
    assert not found[:, 1].any()
    np.testing.assert_allclose(np.abs(found[:, 0]), np.abs(values[:, 0] - values.mean()))


def test_planes_of_a_cloud_that_turns_show_no_motion() -> None:
    values = cloud()
    turned = values @ np.linalg.qr(cloud(5, seed=2))[0] + 7

    first, second = planes_along([values, turned], 2)

    np.testing.assert_allclose(second.shown(turned), first.shown(values), atol=1e-9)


def test_a_plane_is_turned_to_where_the_points_were() -> None:
    values = cloud()
    plane = Plane.of(values, 2)
    quarter = plane.shown(values) @ np.array([[0.0, 1.0], [-1.0, 0.0]])

    np.testing.assert_allclose(plane.turned(values, quarter).shown(values), quarter, atol=1e-12)


def test_vectors_of_as_many_features_as_axes_are_shown_themselves() -> None:
    two, padded = cloud(features=2), np.pad(cloud(features=2), ((0, 0), (0, 4)))

    for plane, values in zip(planes_along([two, two * 3], 2), (two, two * 3), strict=True):
        np.testing.assert_array_equal(plane.shown(values), values)
    np.testing.assert_array_equal(Plane.of(padded, 3).shown(padded)[:, :2], two)


# ---------------------------------------------------------------- layouts


class Drift:
    """A layout that moves every point by one, and tells where each picture began."""

    name = "drift"

    def begin(self, vectors: Array) -> Array:
        return vectors[:, :2]

    def placed(self, vectors: Array, places: Array, *, is_first: bool) -> Array:
        return places + (10 if is_first else 1)


def test_every_picture_begins_where_the_one_before_it_ended() -> None:
    pictures = [cloud(seed=at) for at in range(3)]

    found = warm_started(Drift(), iter(pictures))

    for picture, moved in zip(found, (10, 11, 12), strict=True):
        np.testing.assert_allclose(picture, pictures[0][:, :2] + moved)


def test_too_many_neighbours_for_so_few_points_are_told() -> None:
    with pytest.raises(ArgumentValueError, match="perplexity 30 is too large for 30 points; at m"):
        warm_started(Tsne(30, 0), [cloud()])


def test_jumps_are_moves_in_radii() -> None:
    square = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])

    found = jumps(np.stack([square, square, square + np.array([2.0, 0]), 0 * square]))

    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([0, np.sqrt(2), (np.sqrt(10) + np.sqrt(2)) / 2 / np.sqrt(2)])
    assert np.isnan(jumps(np.zeros((2, 4, 2)))[1])


def test_a_plane_without_loss_is_trusted_and_a_shuffled_one_is_not() -> None:
    values = cloud(60, 2)

    assert trust_in(values, values, 12) == 1
    assert trust_in(values, values[::-1], 12) < 0.7


# ---------------------------------------------------------------- likeness


def test_neighbours_of_the_same_class_are_counted() -> None:
    nearest = np.array([[1, 2], [0, 2], [0, 1]])

    assert same_class(nearest, np.array([0, 0, 1])) == pytest.approx(1 / 3)
    assert np.isnan(same_class(nearest, np.array([])))


def test_samples_agree_within_classes_as_far_as_they_point_the_same_way() -> None:
    values, labels = np.array([[1.0, 0], [2, 0], [-1, 0], [-2, 0]]), np.array([0, 0, 1, 1])

    assert agreement(values, labels) == pytest.approx(2)
    assert np.isnan(agreement(values, np.arange(4)))
    assert np.isnan(agreement(values, np.zeros(4)))


# ---------------------------------------------------------------- between two places


def test_points_go_straight_from_place_to_place() -> None:
    before, after = np.zeros((2, 2)), np.array([[4.0, 8], [np.nan, 1]])

    assert between(before, after, 0.25)[0].tolist() == [1, 2]
    assert between(before, after, 0).tolist() == before.tolist(), "though one goes nowhere"
    assert between(before, after, 1)[0].tolist() == [4, 8]


def test_a_share_outside_of_the_way_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match=r"share of the way is 1\.5; expected 0 to 1"):
        between(np.zeros((1, 2)), np.ones((1, 2)), 1.5)
