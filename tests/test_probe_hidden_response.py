"""The probe `hidden_response`: blocks of units are found with the inputs that they answer to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_networks import probed, steps_of
from sklearn.metrics import adjusted_rand_score
from torch import nn

from accweight_core.errors import ArgumentValueError


class Recurrent(nn.Module):
    """A GRU, and scores for its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.out = nn.GRU(6, 9, batch_first=True), nn.Linear(9, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return two scores."""
        scores: torch.Tensor = self.out(self.gru(x)[0][:, -1])
        return scores


BLOCKS, INPUTS = np.arange(9) % 3, np.arange(6) % 3


def in_blocks(state: dict[str, Any]) -> None:
    """Let units of block b change at inputs of block b alone: up at one, down at the other."""
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        state[f"gru.{name}"] *= 0
    own = torch.from_numpy(BLOCKS[:, None] == INPUTS[None]).float()
    weights = state["gru.weight_ih_l0"]
    weights[9:18] = 20 - 40 * own  # update gate: closed at inputs of other blocks
    weights[18:] = own * torch.where(torch.arange(6) < 3, 1.0, -1.0)


def test_blocks_are_found_and_a_changed_unit_moves_its_row_alone(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 6, (60, 10))
    x = np.eye(6, dtype=np.float32)[tokens]
    states = steps_of(Recurrent(), 3)
    in_blocks(states[1])
    in_blocks(states[2])
    states[1]["gru.weight_ih_l0"][18 + 4] *= 3  # unit 4 writes more

    found = probed(tmp_path, Recurrent(), states, x, "hidden_response:groups=3")

    assert adjusted_rand_score(found.array("unit_group"), BLOCKS) == 1
    assert adjusted_rand_score(found.array("input_group"), INPUTS) == 1
    responses = found.array("responses")
    moved = np.abs(responses[2] - responses[1]).max(axis=1) > 1e-6
    assert np.flatnonzero(moved).tolist() == [4]
    assert (np.abs(responses[2]) > 1e-6).tolist() == (BLOCKS[:, None] == INPUTS).tolist()
    names = [int(name) for name in found.labels("unit")]
    columns = [int(name) for name in found.labels("input")]
    np.testing.assert_array_equal(found.array("response", 2), responses[2][np.ix_(names, columns)])


def test_the_response_is_the_mean_change_of_the_state(tmp_path: Path) -> None:
    x = np.eye(6, dtype=np.float32)[np.random.default_rng(1).integers(0, 6, (20, 7))]
    module = Recurrent()

    found = probed(tmp_path, module, steps_of(module, 2), x, "hidden_response:groups=2")

    with torch.no_grad():
        states = module.gru(torch.from_numpy(x))[0].numpy()
    changes = np.diff(states, axis=1, prepend=0)
    expected = changes[x[..., 2] == 1].mean(axis=0)
    np.testing.assert_allclose(found.array("responses", 0)[:, 2], expected, atol=1e-6)


def test_samples_without_times_are_told(tmp_path: Path) -> None:
    plain = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    shorter = nn.Sequential(nn.Conv1d(3, 4, 2), nn.Flatten(), nn.Linear(16, 2))

    with pytest.raises(ArgumentValueError, match=r"node 0 has places of shape \(\), and not one"):
        probed(tmp_path, plain, steps_of(plain, 2), np.zeros((9, 4), "f4"), "hidden_response")
    x = np.zeros((9, 3, 5), np.float32)
    with pytest.raises(ArgumentValueError, match="0 has 4 times, and a sample has shape"):
        probed(tmp_path, shorter, steps_of(shorter, 2), x, "hidden_response")
