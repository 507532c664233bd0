"""The probe `neuron_activation`: a unit that is wired to a subset is the largest in its column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from probe_networks import probed, said, stack, steps_of

from accweight_core.errors import ArgumentValueError


def test_a_unit_wired_to_a_subset_is_the_largest_of_its_column(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    x = chance.uniform(0, 1, (200, 10)).astype(np.float32)
    y = np.arange(200) % 3
    x[np.arange(200), y] += 2
    states = steps_of(stack(10, 12, 3), 2)
    wired = states[1]["0.weight"]
    wired *= 0
    wired[0] = 1
    wired[5, 7], wired[9, 2] = 1, 1  # to input 7, and to what class 2 has

    asked = "neuron_activation:layers=0,units=6,rule=x7>0.5+y==1"
    found = probed(tmp_path, stack(10, 12, 3), states, (x, y), asked)

    assert found.labels("subset") == ("0", "1", "2", "wrong", "x7>0.5", "y==1")
    means = found.array("means")
    assert np.nanargmax(means[1, :, 4]) == 5
    assert np.nanargmax(means[1, :, 2]) == 9
    values = x @ wired.numpy().T + states[1]["0.bias"].numpy()
    inside = x[:, 7] > 0.5
    expected = (values[inside].mean(axis=0) - values.mean(axis=0)) / values.std(axis=0)
    live = [0, 5, 9]
    np.testing.assert_allclose(means[1, live, 4], expected[live], rtol=1e-4)
    np.testing.assert_allclose(means[1, :, 5], means[1, :, 1])
    shown = found.labels("unit")
    assert {"0/5", "0/9"} <= set(shown)
    largest = np.nan_to_num(found.array("answers", 1), nan=-np.inf).argmax(axis=1)
    assert (np.diff(largest) >= 0).all(), "units that answer to one subset stand side by side"
    row = shown.index("0/5")
    np.testing.assert_array_equal(found.array("answers")[:, row], means[:, 5])
    assert found.array("explained")[1, 0] > 0
    assert "x7>0.5 0/5" in said(found)[0]


def test_the_wrong_samples_are_those_of_the_step(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    states = steps_of(stack(4, 2), 2)
    for state, sign in zip(states, (-1, 1), strict=True):
        for name in state:
            state[name] *= 0
        state["0.weight"][1, 0] = sign

    found = probed(tmp_path, stack(4, 2), states, (x, y), "neuron_activation:layers=0")

    wrong = found.array("means")[:, 1, found.labels("subset").index("wrong")]
    assert wrong[0] == pytest.approx(0, abs=1e-6)  # all are
    assert np.isnan(wrong[1])  # none is


def test_what_is_no_rule_is_told(tmp_path: Path) -> None:
    states, x = steps_of(stack(4, 2), 2), np.zeros((20, 4), np.float32)

    with pytest.raises(ArgumentValueError, match="rule 'x>1' is none; expected x12"):
        probed(tmp_path, stack(4, 2), states, x, "neuron_activation:rule=x>1")
    with pytest.raises(ArgumentValueError, match="has no classes: say rule="):
        probed(tmp_path, stack(4, 2), states, x, "neuron_activation")
    with pytest.raises(ArgumentValueError, match=r"rule y==1: .* has no classes; save them as y"):
        probed(tmp_path, stack(4, 2), states, x, "neuron_activation:rule=y==1")
    assert not [*tmp_path.rglob("neuron_activation-*")], "refused before anything is stored"
    with pytest.raises(ArgumentValueError, match="samples have 4 numbers, counted from 0"):
        probed(tmp_path, stack(4, 2), states, x, "neuron_activation:rule=x4>1")
    assert not [*tmp_path.rglob("neuron_activation-*")], "nothing stays of what is refused"


def test_samples_without_classes_are_compared_by_rules_alone(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (60, 4)).astype(np.float32)
    states = steps_of(stack(4, 6, 2), 2)

    found = probed(tmp_path, stack(4, 6, 2), states, x, "neuron_activation:rule=x1>0.5,units=2")

    assert found.labels("subset") == ("x1>0.5",)
    assert np.isfinite(found.array("means")).all()
    assert np.isnan(found.array("explained")).all()
    assert found.array("answers").shape == (2, 2, 1)
