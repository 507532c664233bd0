"""The probe `linear_probe`: classes come apart at the layer and step that were planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_networks import probed, said, stack, steps_of

from accweight_core.errors import ArgumentValueError


def test_it_jumps_at_the_planted_layer_and_step(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    x = chance.uniform(-1, 1, (300, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # no line tells them apart
    module = stack(2, 4, 2)
    states = steps_of(module, 4)
    bends = [[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]
    for at, state in enumerate(states):
        state["0.weight"] = torch.tensor(bends if at >= 2 else bends[:1] * 4)
        state["0.bias"] *= 0
        state["2.weight"] = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])

    found = probed(tmp_path, module, states, (x, y), "linear_probe")

    held = found.array("held_out")  # before its ReLU, the first layer is as straight as the input
    assert found.labels("layer") == ("0", "2")
    assert held[:, 0].max() < 0.7
    assert held[:2, 1].max() < 0.7
    assert held[2:, 1].min() > 0.95
    assert "most are told at 2" in said(found)[0]


def test_a_layer_that_learns_its_samples_is_warned_of(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    y = np.arange(240) % 2
    x = chance.standard_normal((240, 120)).astype(np.float32)
    x[:, 0] += 2 * y - 1
    module = stack(120, 120, 2)
    states = steps_of(module, 3)
    states[0]["0.weight"] = states[1]["0.weight"] = torch.eye(120) * (torch.arange(120) == 0)
    states[2]["0.weight"] = torch.eye(120)  # now with 119 features that say nothing

    found = probed(tmp_path, module, states, (x, y), "linear_probe:layers=0,trained=80")

    lines = said(found)
    assert found.attributes["held_out"] == 160
    assert len(lines) == 2
    assert "0 tells fewer held-out samples since step 0" in lines[1]
    assert found.array("fitted")[2, 0] == 1


def test_samples_without_classes_are_told(tmp_path: Path) -> None:
    x = np.zeros((40, 2), np.float32)
    states = steps_of(stack(2, 4, 2), 2)

    with pytest.raises(ArgumentValueError, match="has no whole numbers as targets"):
        probed(tmp_path, stack(2, 4, 2), states, (x, x), "linear_probe")
    with pytest.raises(ArgumentValueError, match="samples of one class"):
        probed(tmp_path, stack(2, 4, 2), states, (x, np.zeros(40, int)), "linear_probe")
