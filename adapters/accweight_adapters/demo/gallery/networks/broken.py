"""`broken`: a network on digits, in which one unit is made huge in the middle of the training."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from accweight_adapters.demo.experiment import sklearn_digits
from accweight_adapters.demo.gallery.networks.graphs import GraphWriter
from accweight_adapters.demo.gallery.networks.training import (
    GRAPH,
    Course,
    Network,
    train,
    write_samples,
)

COURSE = Course(epochs=10, rate=0.002, batch=64, norm=1.0)
HUGE, HUGE_AT, TIMES = 5, 6, 1e5
"""The unit of fc1 whose weights are multiplied, at the end of which epoch, and by how much."""


def make(folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it; the unit is made huge once, and training goes on."""
    digits = sklearn_digits()
    module = nn.Sequential(OrderedDict(
        fc1=nn.Linear(64, 256), relu1=nn.ReLU(), fc2=nn.Linear(256, 128), relu2=nn.ReLU(),
        fc3=nn.Linear(128, 10),
    ))  # fmt: skip
    fc1, done = module.get_parameter("fc1.weight"), False

    @torch.no_grad()
    def plant(_: nn.Module, epoch: int) -> None:
        nonlocal done
        if epoch == HUGE_AT and not done:
            fc1[HUGE] *= TIMES
            done = True

    x, y = digits.images.flatten(1).numpy(), digits.labels.numpy()
    train(module, (x, y), folder, COURSE.shorter(share, HUGE_AT + 2), seed, plant=plant)
    write_samples(folder, digits.test_images.flatten(1).numpy(), digits.test_labels.numpy())
    graph = GraphWriter(module, (64,)).linear("fc1").relu().linear("fc2").relu().linear("fc3")
    graph.write(folder / GRAPH, (10,))
    return {"unit": f"fc1/{HUGE}", "step": HUGE_AT}


BROKEN = Network("broken", "a network of three layers whose training breaks down", make)
