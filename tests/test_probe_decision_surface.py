"""The probe `decision_surface`: the boundary of known weights, within a cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_networks import probed, stack, steps_of

from accweight_core.errors import ArgumentValueError

CELLS = 50


def test_the_boundary_is_that_of_the_weights_within_a_cell(tmp_path: Path) -> None:
    x = np.array([[-1, -1], [1, 1], [-1, 1], [1, -1]], np.float32).repeat(8, axis=0)
    y = (x[:, 0] > 0).astype(np.int64)
    states = steps_of(stack(2, 2), 2)
    states[1]["0.weight"] = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    states[1]["0.bias"] = torch.tensor([0.0, -0.5])  # x + 2 y = 0.5

    asked = f"decision_surface:cells={CELLS},margin=0"
    found = probed(tmp_path, stack(2, 2), states, (x, y), asked)

    across, up = np.linspace(-1, 1, CELLS), np.linspace(1, -1, CELLS)
    a, b = np.meshgrid(across, up)
    np.testing.assert_allclose(found.array("surface", 1)[1], a + 2 * b - 0.5, atol=1e-5)
    predicted = found.array("predicted", 1)
    for column in range(CELLS):
        line = (0.5 - across[column]) / 2
        turn = np.flatnonzero(np.diff(predicted[:, column]))
        assert len(turn) == 1
        assert abs(up[turn[0]] - line) <= 2 / (CELLS - 1)
    assert found.array("shares", 1).sum() == pytest.approx(1)
    colours = found.array("images", 1)[1].astype(int)
    above = colours[..., 0] > colours[..., 2]  # orange
    clear = np.abs(a + 2 * b - 0.5) > 0.05
    np.testing.assert_array_equal(above[clear], (a + 2 * b > 0.5)[clear])
    assert found.labels("unit") == ("0/0", "0/1", "predicted")


def test_other_inputs_than_two_are_told(tmp_path: Path) -> None:
    states, x = steps_of(stack(3, 2), 2), np.zeros((20, 3), np.float32)

    with pytest.raises(ArgumentValueError, match="shows the plane of two inputs; a sample of"):
        probed(tmp_path, stack(3, 2), states, x, "decision_surface")
