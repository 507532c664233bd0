"""The probe `class_hierarchy`: two groups of classes come apart earlier, in steps and layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_networks import probed, said, stack, steps_of

from accweight_core.analysis.figures.of_probes.choosing import figures_of
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.class_groups import excess, hierarchy, nearest_mean
from accweight_core.reports.probe_views import Room, view_of


def test_two_groups_come_apart_earlier_than_their_classes(tmp_path: Path) -> None:
    y, chance = np.arange(160) % 4, np.random.default_rng(0)
    x = 0.1 * chance.standard_normal((160, 4)).astype(np.float32)
    x[:, 0] += np.where((y == 0) | (y == 2), 1, -1)  # the group: 0 and 2 against 1 and 3
    x[:, 1] += np.where(y < 2, 1, -1)  # the class within it
    states = steps_of(stack(4, 4, 4), 4)
    for step, state in enumerate(states):
        for name in state:
            state[name] *= 0
        first, second = state["0.weight"], state["2.weight"]
        first[0, 0] = 1 if step > 0 else 0  # the group from step 1 on, in both layers
        first[1, 0] = -first[0, 0]
        if step >= 2:  # the class from step 2 on
            first[2, 1], first[3, 1] = 1, -1
        for label in range(4):
            second[label, label % 2] = 1
            second[label, 2 + label // 2] = float(step >= 3)  # which the scores have at step 3

    found = probed(tmp_path, stack(4, 4, 4), states, (x, y), "class_hierarchy")

    groups, classes = found.array("groups_apart"), found.array("classes_apart")
    assert (groups >= 0.9).argmax(axis=0).tolist() == [1, 1]
    assert (classes >= 0.9).argmax(axis=0).tolist() == [2, 3]
    assert found.array("group").tolist() == [0, 1, 0, 1]
    assert sorted(found.labels("class")[:2]) in (["0", "2"], ["1", "3"])
    order = [int(name) for name in found.labels("class")]
    confusion = found.array("confusion", 2)
    np.testing.assert_array_equal(confusion, found.array("counts", 2)[np.ix_(order, order)])
    assert found.array("within", 2) == 1
    assert said(found) == [
        "groups: 0, 2 | 1, 3",
        "groups apart (90%) first at step: 0 1, 2 1",
        "classes apart (90%) first at step: 0 2, 2 3",
    ]
    view = view_of(found, "confusion", Room())
    assert view is not None
    assert view["borders"] == [2]
    frames = figures_of(found)["confusion"]().axes[0].lines
    assert {tuple(line.get_xdata()[:2]) for line in frames} == {(-0.5, 1.5), (1.5, 3.5)}


def test_steps_at_which_all_is_right_do_not_hide_who_was_mixed_up_before() -> None:
    mixed = np.kron(np.eye(2), np.ones((2, 2)))  # 0 with 1, and 2 with 3
    counts = np.stack([25 * mixed, *[50 * np.eye(4)] * 30])

    group, _ = hierarchy(excess(counts).sum(axis=0), 0)

    assert group.tolist() == [0, 0, 1, 1]


def test_a_sample_does_not_belong_to_the_mean_of_itself() -> None:
    values = np.array([[0.0], [1.0], [0.4], [3.0]])

    found = nearest_mean(values, np.array([0, 0, 1, 1]))

    assert found.tolist() == [0, 1, 0, 0]  # by hand: distances 1 1.7, 1 0.7, 0.1 2.6, 2.5 2.6


def test_two_classes_have_no_hierarchy(tmp_path: Path) -> None:
    x, y = np.zeros((20, 4), np.float32), np.arange(20) % 2

    with pytest.raises(ArgumentValueError, match="groups 3 to 256 classes"):
        probed(tmp_path, stack(4, 2), steps_of(stack(4, 2), 2), (x, y), "class_hierarchy")


def test_groups_are_found_in_layers_where_the_network_says_one_class_of_everything(
    tmp_path: Path,
) -> None:
    chance, y = np.random.default_rng(0), np.arange(200) % 4
    x = chance.standard_normal((200, 2)).astype(np.float32)
    x[:, 0] += np.where(np.isin(y, (0, 2)), 20, -20)  # 0 and 2 are alike, 1 and 3 as well
    states = steps_of(stack(2, 2, 4), 2)
    for state in states:
        state["0.weight"][:] = torch.eye(2)
        state["2.weight"][:], state["2.bias"][:] = 0, torch.tensor([1.0, 0, 0, 0])

    found = probed(tmp_path, stack(2, 2, 4), states, (x, y), "class_hierarchy:layers=0")

    assert (found.array("counts", 1).argmax(axis=1) == 0).all()
    assert found.array("group").tolist() == [0, 1, 0, 1]
