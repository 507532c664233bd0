"""`digits`: a CNN on scikit-learn's digits, with a layer that is frozen and filters of no use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
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

COURSE = Course(epochs=12, rate=0.004)
FROZEN_FROM = 3
"""Epoch from which on conv1 rests, long before it would have come to rest of its own."""

ZERO, COPY, ORIGINAL = 5, 11, 3
"""A filter of conv1 that is 0, and one of conv2 that is a copy of another one."""

TWINS, NOISE = 10, 1e-3
"""Test pictures that are there twice, the second time with so much noise on every pixel."""


def make(folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it: two filters are of no use, and conv1 rests from `FROZEN_FROM` on."""
    course = COURSE.shorter(share)
    digits = sklearn_digits()
    module = nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 8, 3, padding=1), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(8, 16, 3, padding=1), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2),
        flat=nn.Flatten(), fc1=nn.Linear(64, 32), relu3=nn.ReLU(), fc2=nn.Linear(32, 10),
    ))  # fmt: skip
    conv1, conv2 = (module.get_parameter(f"{layer}.weight") for layer in ("conv1", "conv2"))
    frozen = {"weight": conv1, "bias": module.get_parameter("conv1.bias")}
    kept: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def plant(_: nn.Module, epoch: int) -> None:
        conv1[ZERO] = 0
        conv2[COPY] = conv2[ORIGINAL]
        for name, value in frozen.items():
            if epoch <= FROZEN_FROM:
                kept[name] = value.clone()
            else:
                value.copy_(kept[name])

    x, y = digits.test_images.numpy(), digits.test_labels.numpy()
    chance = np.random.default_rng(0)
    again = x[:TWINS] + NOISE * chance.standard_normal(x[:TWINS].shape).astype(np.float32)
    held_out = np.concatenate([x, again]), np.concatenate([y, y[:TWINS]])
    samples = digits.images.numpy(), digits.labels.numpy()
    train(module, samples, folder, course, seed, held_out=held_out, plant=plant)
    write_samples(folder, *held_out)
    graph = GraphWriter(module, (1, 8, 8)).convolution("conv1", 1).relu().pooling()
    graph = graph.convolution("conv2", 1).relu().pooling().flat().linear("fc1").relu()
    graph.linear("fc2").write(folder / GRAPH, (10,))
    return {
        "frozen_from": FROZEN_FROM,
        "zero": f"conv1/{ZERO}",
        "twins": [f"conv2/{ORIGINAL}", f"conv2/{COPY}"],
        "pairs": [(at, len(x) + at) for at in range(TWINS)],
    }


DIGITS = Network("digits", "a small CNN on scikit-learn's scans of handwritten digits", make)
