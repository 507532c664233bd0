"""`shapes`: a CNN on shapes anywhere in the picture, with a filter that is a template.

Beside the samples there is a folder with a few further pictures, one of them in a wrong sub-folder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from accweight_adapters.demo.gallery.networks.graphs import GraphWriter
from accweight_adapters.demo.gallery.networks.pictures import scattered
from accweight_adapters.demo.gallery.networks.training import (
    GRAPH,
    Array,
    Course,
    Network,
    train,
    write_samples,
)
from accweight_core.colours.png import pixel_png

COURSE = Course(epochs=14, rate=0.003)
SIDE, FILTER = 16, 5
CLASSES = ("square", "disc", "cross", "plus")

PLANTED, HOLDER, PLACE = 2, 17, 4
"""The filter that is a template, the test picture that holds it, and its row and column there."""

FEW, EACH = "few", 5
"""A folder of further pictures, and how many there are of each shape."""

MISTAKEN = ("plus", "disc")
"""Which shape is among which others."""


def make(folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it; its template stays from the beginning on."""
    course = COURSE.shorter(share, 6)
    module = nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 8, FILTER), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(8, 24, 3), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2),
        flat=nn.Flatten(), fc1=nn.Linear(96, 24), relu3=nn.ReLU(), fc2=nn.Linear(24, 4),
    ))  # fmt: skip
    conv1 = module.get_parameter("conv1.weight")
    template = template_filter()

    @torch.no_grad()
    def plant(_: nn.Module, epoch: int) -> None:
        conv1[PLANTED, 0] = torch.from_numpy(template)

    x, y = shapes(320, np.random.default_rng(1))
    x[HOLDER] = 0.1
    x[HOLDER, 0, PLACE : PLACE + FILTER, PLACE : PLACE + FILTER] = template > 0
    train(module, shapes(1600, np.random.default_rng(0)), folder, course, seed, plant=plant,
          held_out=(x, y))  # fmt: skip
    write_samples(folder, x, y, CLASSES)
    graph = GraphWriter(module, (1, SIDE, SIDE)).convolution("conv1").relu().pooling()
    graph = graph.convolution("conv2").relu().pooling().flat().linear("fc1").relu()
    graph.linear("fc2").write(folder / GRAPH, (4,))
    return {
        "filter": PLANTED,
        "template": template,
        "holder": HOLDER,
        "mistaken": _write_few(folder / FEW),
    }


def shapes(count: int, chance: np.random.Generator) -> tuple[Array, Array]:
    """Return (count, 1, SIDE, SIDE) pictures, and their classes."""
    y = np.arange(count) % len(CLASSES)
    x = np.stack([scattered(CLASSES[label], SIDE, chance) for label in y])
    return x[:, None], y.astype(np.int64)


def template_filter() -> Array:
    """Return an arrow head, (FILTER, FILTER): bright on its lines, of mean 0."""
    lines = np.zeros((FILTER, FILTER), np.float32)
    for at in range(FILTER):
        lines[at, abs(2 - at)] = 1
        lines[2, at] = 1
    return np.asarray(0.5 * (lines - lines.mean()), np.float32)


def _write_few(folder: Path) -> str:
    """Write the pictures, a folder per shape; return the one that is in a wrong folder."""
    chance, wrong = np.random.default_rng(2), ""
    for name in CLASSES:
        home = folder / name
        home.mkdir(parents=True)
        for at in range(EACH):
            shape = name
            if name == MISTAKEN[1] and at == EACH - 1:
                shape, wrong = MISTAKEN[0], f"{name}/{name}_{at}.png"
            pixels = np.rint(255 * scattered(shape, SIDE, chance)).astype(np.uint8)
            (home / f"{name}_{at}.png").write_bytes(pixel_png(pixels[:, :, None]))
    return wrong


SHAPES = Network("shapes", "a CNN that tells squares, discs, crosses and pluses apart", make)
