"""`dense` and `noisy`: two linear layers on few digits, once with right and once with wrong labels.

A unit of `dense` is wired to one pixel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
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

COURSE = Course(epochs=8, rate=0.003, passes=8)
TRAINED = 300
"""Digits of the training; all others are held out."""

WRONG = 0.5
"""Share of the labels that `noisy` is trained on that are drawn anew."""

WIRED, PIXEL = 7, 62
"""A unit of fc1, and the pixel that is all it sees: in the last row, where few digits have ink."""


def make(wrong: float, folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it on labels of which a share is wrong; without any, with a unit that is wired."""
    digits, chance = sklearn_digits(), np.random.default_rng(0)
    module = nn.Sequential(OrderedDict(
        fc1=nn.Linear(64, 32), relu1=nn.ReLU(), fc2=nn.Linear(32, 16), relu2=nn.ReLU(),
        fc3=nn.Linear(16, 10),
    ))  # fmt: skip

    fc1 = module.get_parameter("fc1.weight")

    @torch.no_grad()
    def plant(_: nn.Module, epoch: int) -> None:
        if not wrong:
            fc1[WIRED] = 0
            fc1[WIRED, PIXEL] = 1

    x = digits.images.numpy().reshape(-1, 64)
    labels = digits.labels.numpy()
    is_wrong = chance.random(TRAINED) < wrong
    y = np.where(is_wrong, chance.integers(0, 10, TRAINED), labels[:TRAINED])
    held_out = digits.test_images.numpy().reshape(-1, 64), digits.test_labels.numpy()
    train(module, (x[:TRAINED], y), folder, COURSE.shorter(share, 8), seed, plant=plant,
          held_out=held_out)  # fmt: skip
    write_samples(folder, np.concatenate([x[:TRAINED], held_out[0]]),
                  np.concatenate([y, held_out[1]]))  # fmt: skip
    graph = GraphWriter(module, (64,)).linear("fc1").relu().linear("fc2").relu().linear("fc3")
    graph.write(folder / GRAPH, (10,))
    changed = float((y != labels[:TRAINED]).mean())
    return {"wired": f"fc1/{WIRED}", "rule": f"x{PIXEL}>0.5", "wrong": changed}


DENSE = Network(
    "dense", f"a network of three layers on {TRAINED} digits with right labels", partial(make, 0.0)
)
NOISY = Network(
    "noisy", f"the same network on {TRAINED} digits, nearly half of them with a wrong label",
    partial(make, WRONG),
)  # fmt: skip
