"""The probe `few_shot`: five pictures per class are told at a separable layer, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from probe_networks import Classifier, digits, probed, said, stack, steps_of

from accweight_core.errors import ArgumentValueError
from accweight_core.probes.few_shot import FewShot


def test_five_per_class_are_told_at_the_separable_layer(tmp_path: Path) -> None:
    chance, y = np.random.default_rng(0), np.arange(20) % 4
    x = 5 * chance.standard_normal((20, 40)).astype(np.float32)
    x[:, :4] = np.eye(4)[y] + 0.01 * chance.standard_normal((20, 4))
    states = steps_of(stack(40, 4, 4), 2)
    for name in states[1]:
        states[1][name] *= 0
    for at in range(4):
        states[1]["0.weight"][at, at] = 1

    asked = "few_shot:distance=euclidean"
    found = probed(tmp_path, stack(40, 4, 4), states, (x, y), asked)

    accuracy = found.array("accuracy")
    assert accuracy[1, 0] == 1
    assert accuracy[0, 0] < 0.7
    assert found.attributes["pixels"] < 0.7
    np.testing.assert_array_equal(found.array("confusion", 1), 5 * np.eye(4))
    assert said(found)[0].startswith("20 samples of 4 classes: best at 0, 100%; by the input")
    assert len(said(found)) == 1


def test_confused_pictures_are_shown_beside_what_they_are_nearest_to(tmp_path: Path) -> None:
    x, y = digits(12)
    x[7] = x[3]  # a copy of another class
    y[7] = (y[3] + 1) % 3
    y[5] = (y[5] + 1) % 3  # which is nearest to another picture

    found = probed(tmp_path, Classifier(), steps_of(Classifier(), 2), (x, y), "few_shot:pairs=12")

    best = int(found.array("accuracy", 1).argmax())
    assert found.array("nearest", 1)[best, 7] == 3
    assert found.array("voted", 1)[best, 7] == y[3]
    wrong = np.flatnonzero(found.array("voted", 1)[best] != y).tolist()
    names = found.labels("unit")
    assert names[: len(wrong)] == tuple(f"{row} ({y[row]})" for row in wrong)
    pair = found.array("images", 1)[wrong.index(7)]
    np.testing.assert_array_equal(pair[:, :8], pair[:, 9:])
    for place, row in enumerate(wrong):
        near = int(found.array("nearest", 1)[best, row])
        right = found.array("images", 1)[place, :, 9:, 0].astype(float)
        assert np.corrcoef(right.reshape(-1), x[near].reshape(-1))[0, 1] > 0.999
    before = found.array("voted", 0)[best]
    for place, name in enumerate(names):  # the same sample at all steps, missing where right
        row = int(name.split()[0])
        shown = found.array("images", 0)[place]
        assert (shown == 255).all() == (before[row] == y[row])
    assert f"7 ({y[7]} as {y[3]})" in said(found)[1]


def test_a_class_of_one_picture_is_told(tmp_path: Path) -> None:
    x, y = np.zeros((9, 4), np.float32), np.array([0] * 8 + [1])

    with pytest.raises(ArgumentValueError, match="two of each class at least, and the smallest"):
        probed(tmp_path, stack(4, 2), steps_of(stack(4, 2), 2), (x, y), "few_shot")


def test_of_several_neighbours_the_most_frequent_class_wins_then_the_nearest() -> None:
    probe = FewShot(count=3, distance="euclidean")
    probe._labels = np.array([0, 1, 1, 0, 2])

    voted, nearest = probe._voted(np.array([[0.0], [1.0], [1.1], [0.5], [9.0]]))

    assert (voted[0], nearest[0]) == (1, 1)  # 3 is nearer, but alone
    assert (voted[4], nearest[4]) == (1, 2)
