"""`switches`: a GRU that remembers three switches, each with units of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accweight_adapters.demo.gallery.networks.graphs import GraphWriter
from accweight_adapters.demo.gallery.networks.training import (
    GRAPH,
    Array,
    Course,
    Network,
    train,
    write_samples,
)

COURSE = Course(epochs=16, rate=0.01, batch=50, passes=2)
SWITCHES, LENGTH, UNITS = 3, 10, 9
INPUTS = ("A on", "A off", "B on", "B off", "C on", "C off")
BLOCKS = np.arange(UNITS) % SWITCHES
"""The switch that each unit sees."""


class Memory(nn.Module):
    """A GRU, and scores for how the switches stand in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(len(INPUTS), UNITS, batch_first=True)
        self.out = nn.Linear(UNITS, 2**SWITCHES)

    def forward(self, x: Tensor) -> Tensor:
        """Return (samples, states) scores."""
        scores: Tensor = self.out(self.gru(x)[0][:, -1])
        return scores


def make(folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it: weights between what belongs to different switches are kept at 0."""
    module = Memory()
    of_inputs = np.arange(len(INPUTS)) // 2
    masks = {
        module.get_parameter("gru.weight_ih_l0"): _mask(BLOCKS, of_inputs),
        module.get_parameter("gru.weight_hh_l0"): _mask(BLOCKS, BLOCKS),
    }

    @torch.no_grad()
    def plant(_: nn.Module, epoch: int) -> None:
        for weights, mask in masks.items():
            weights.mul_(mask)

    train(module, switched(800, np.random.default_rng(0)), folder, COURSE.shorter(share, 10),
          seed, plant=plant)  # fmt: skip
    x, y = switched(300, np.random.default_rng(1))
    write_samples(folder, x, y, vocabulary=INPUTS)
    graph = GraphWriter(module, (LENGTH, len(INPUTS))).recurrent("gru", "GRU").last_time()
    graph.linear("out").write(folder / GRAPH, (2**SWITCHES,))
    return {"units": BLOCKS.tolist(), "inputs": of_inputs.tolist(), "names": INPUTS}


def _mask(rows: Array, columns: Array) -> Tensor:
    """Return 1 where row and column belong together, for the three gates one below another."""
    return torch.from_numpy(np.tile(rows[:, None] == columns, (3, 1)).astype(np.float32))


def switched(count: int, chance: np.random.Generator) -> tuple[Array, Array]:
    """Return (count, LENGTH, inputs) with a 1 for what happens, and how the switches stand."""
    events = chance.integers(0, len(INPUTS), (count, LENGTH))
    state = np.zeros((count, SWITCHES), np.int64)
    for event in events.T:
        state[np.arange(count), event // 2] = 1 - event % 2
    return np.eye(len(INPUTS), dtype=np.float32)[events], state @ (1 << np.arange(SWITCHES))


SWITCHES_GRU = Network("switches", "a GRU that remembers how three switches stand", make)
