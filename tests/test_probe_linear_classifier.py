"""Linear classifiers of probes: classes that a plane tells apart, and ones that none does."""

from __future__ import annotations

import numpy as np

from accweight_core.probes.linear_classifier import accuracy_of_halves, accuracy_of_parts

LABELS = np.arange(80) % 2
NOISE = np.random.default_rng(0).standard_normal((80, 3))
APART = NOISE + 8 * LABELS[:, None]


def test_classes_on_two_sides_of_a_plane_are_told_and_noise_is_not() -> None:
    first = np.arange(80) < 40

    assert accuracy_of_halves(APART, LABELS) == 1
    assert accuracy_of_parts(APART, LABELS, first) == (1, 1)
    assert accuracy_of_halves(NOISE, LABELS) < 0.7


def test_many_features_tell_samples_fitted_on_but_no_others() -> None:
    drawn = np.random.default_rng(1).standard_normal((80, 400))

    held_out, fitted = accuracy_of_parts(drawn, LABELS, np.arange(80) < 40)

    assert fitted == 1
    assert held_out < 0.75


def test_what_has_no_classes_or_is_not_finite_has_no_accuracy() -> None:
    assert np.isnan(accuracy_of_halves(APART, np.array([])))
    assert np.isnan(accuracy_of_halves(APART, np.zeros(80, int)))
    assert np.isnan(accuracy_of_halves(APART, np.arange(80)))
    broken = np.where(np.arange(80)[:, None] == 3, np.nan, APART)
    assert np.isnan(accuracy_of_parts(broken, LABELS, LABELS == 0)).all()
