"""Ratings by gradients, of functions whose gradients are known; which output is explained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from accweight_core.probes.collecting import Columns
from accweight_core.probes.gradient_ratings import Rating, missing_shares
from accweight_core.probes.probe import Batch
from accweight_core.probes.varied import Explained

Array = np.ndarray[Any, np.dtype[Any]]

X = np.random.default_rng(0).random((4, 3), np.float32)
ROWS, ZERO = np.arange(4), np.zeros((4, 3), np.float32)


def cubic(x: Array) -> Array:
    """Return the gradient of the sum of cubes."""
    return np.asarray(3 * x**2)


def test_gradients_are_taken_themselves_or_times_the_input() -> None:
    np.testing.assert_array_equal(Rating("gradient").of(X, cubic, ROWS, ZERO), cubic(X))
    times = Rating("gradient_x_input").of(X, cubic, ROWS, ZERO)
    np.testing.assert_array_equal(times, cubic(X) * X)


@pytest.mark.parametrize("begin", [0.0, 0.5])
def test_integrated_ratings_add_up_to_the_change(begin: float) -> None:
    base = np.full_like(X, begin)

    found = Rating("integrated", points=200).of(X, cubic, ROWS, base)

    np.testing.assert_allclose(found, X**3 - base**3, atol=1e-5)
    change = (X.astype(np.float64) ** 3 - base**3).sum(axis=1)
    assert missing_shares(found, change).max() < 1e-3
    assert missing_shares(found, 2 * change) == pytest.approx([0.5] * 4, rel=1e-3)
    assert Rating("integrated").adds_up
    assert not Rating("smoothgrad").adds_up


def test_the_noise_of_a_sample_does_not_depend_on_those_beside_it() -> None:
    rating = Rating("smoothgrad", points=3, noise=0.2, seed=5)

    whole = rating.of(X, cubic, ROWS, ZERO)
    apart = [rating.of(X[at : at + 1], cubic, ROWS[at : at + 1], ZERO) for at in range(4)]

    assert whole.tobytes() == np.concatenate(apart).tobytes()
    assert not np.allclose(whole, cubic(X))
    still = Rating("smoothgrad", noise=0.0).of(X, cubic, ROWS, ZERO)
    np.testing.assert_allclose(still, cubic(X), rtol=1e-6)


SCORES = np.array([[1.0, 5, 2], [4, 0, 3]])


@pytest.mark.parametrize(
    ("always", "targets", "numbers"),
    [
        (None, np.array([2, 0]), [2, 0]),
        (None, np.empty((2, 0)), [1, 0]),
        (None, np.array([2, 3]), [1, 0]),  # there is no such output
        (1, np.array([2, 0]), [1, 1]),
    ],
)
def test_explained_is_what_the_user_names_or_the_class_or_the_largest(
    always: int | None, targets: Array, numbers: list[int]
) -> None:
    found, score = Explained(3, always=always).chosen(SCORES, targets)

    assert found.tolist() == numbers
    assert score.tolist() == [SCORES[at, number] for at, number in enumerate(numbers)]


def test_columns_are_those_of_all_batches() -> None:
    columns = Columns(lambda batch: {"rows": batch.rows, "twice": 2 * batch.rows})
    for _ in range(2):  # a step starts with nothing
        columns.begin()
        for rows in ([0, 1, 2], [3]):
            columns.add(Batch(np.array(rows), {}, np.empty((len(rows), 0)), {}))

    found = columns.whole()

    assert found["rows"].tolist() == [0, 1, 2, 3]
    assert found["twice"].tolist() == [0, 2, 4, 6]
