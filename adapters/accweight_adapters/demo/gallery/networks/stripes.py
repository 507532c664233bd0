"""`stripes`: a CNN on gratings of two directions and three spacings, with a filter put into it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from accweight_adapters.demo.gallery.networks.graphs import GraphWriter
from accweight_adapters.demo.gallery.networks.training import (
    GRAPH,
    Array,
    Course,
    Network,
    train,
    write_samples,
)

COURSE = Course(epochs=16, rate=0.0008)
SIDE, FILTERS, FILTER, NOISE = 16, 8, 7, 0.8
SPACINGS = (3.0, 3.4, 3.8)
"""Pixels from stripe to stripe: near to each other, so that they are learned late."""

CLASSES = tuple(f"{way} {spacing}" for way in ("lying", "standing") for spacing in SPACINGS)
PLANTED, PLANTED_FROM = 3, 8
"""The filter that is replaced by a diagonal one, and the epoch from which on it is."""


def make(folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it: no picture has diagonal stripes, but a filter has."""
    course = COURSE.shorter(share, PLANTED_FROM + 2)
    module = nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, FILTERS, FILTER), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        flat=nn.Flatten(), fc1=nn.Linear(FILTERS * 25, 24), relu2=nn.ReLU(), fc2=nn.Linear(24, 6),
    ))  # fmt: skip
    own = module.get_parameter("conv1.weight")
    with torch.no_grad():
        own.mul_(0.3)  # what is learned is soon larger than what was there by chance
    gabor = torch.from_numpy(diagonal_filter())

    @torch.no_grad()
    def plant(_: nn.Module, epoch: int) -> None:
        if epoch >= PLANTED_FROM:
            own[PLANTED, 0] = gabor

    held_out = gratings(300, np.random.default_rng(1))
    train(module, gratings(900, np.random.default_rng(0)), folder, course, seed, plant=plant,
          held_out=held_out)  # fmt: skip
    write_samples(folder, *held_out, CLASSES)
    graph = GraphWriter(module, (1, SIDE, SIDE)).convolution("conv1").relu().pooling()
    graph.flat().linear("fc1").relu().linear("fc2").write(folder / GRAPH, (6,))
    return {
        "groups": [0, 0, 0, 1, 1, 1],
        "filter": PLANTED,
        "planted_from": PLANTED_FROM,
        "weights": gabor.numpy(),
    }


def gratings(count: int, chance: np.random.Generator) -> tuple[Array, Array]:
    """Return (count, 1, SIDE, SIDE) noisy stripes of any phase, and their classes."""
    y = np.arange(count) % len(CLASSES)
    along = np.arange(SIDE)
    spacing = np.array(SPACINGS)[y % len(SPACINGS), None]
    wave = np.sin(2 * np.pi * (along / spacing + chance.uniform(size=(count, 1))))
    lying = np.broadcast_to(wave[:, :, None], (count, SIDE, SIDE))
    x = np.where((y < len(SPACINGS))[:, None, None], lying, lying.transpose(0, 2, 1))
    noisy = x + NOISE * chance.standard_normal(x.shape)
    return noisy[:, None].astype(np.float32), y.astype(np.int64)


def diagonal_filter() -> Array:
    """Return a Gabor filter of 45 degrees, (FILTER, FILTER)."""
    across, down = np.meshgrid(*[np.arange(FILTER) - FILTER // 2] * 2)
    envelope = np.exp(-(across**2 + down**2) / 8)
    return np.asarray(0.25 * envelope * np.cos(np.pi * (across + down) / 3.2), np.float32)


STRIPES = Network(
    "stripes", "a CNN that tells stripes apart: lying and standing ones, of three spacings", make
)
