"""`spirals`: a network of two inputs on two spirals, which no line tells apart."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
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

COURSE = Course(epochs=24, rate=0.01, passes=8)
POINTS, UNITS = 400, 16


def make(folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it; nothing is planted: the lines of the first layer are known from its weights."""
    x, y = spirals(POINTS, np.random.default_rng(0))
    module = nn.Sequential(OrderedDict(
        fc1=nn.Linear(2, UNITS), relu1=nn.ReLU(), fc2=nn.Linear(UNITS, UNITS), relu2=nn.ReLU(),
        fc3=nn.Linear(UNITS, 2),
    ))  # fmt: skip
    train(module, (x, y), folder, COURSE.shorter(share, 12), seed)
    write_samples(folder, x, y, ("blue", "red"))
    graph = GraphWriter(module, (2,)).linear("fc1").relu().linear("fc2").relu().linear("fc3")
    graph.write(folder / GRAPH, (2,))
    return {"points": x, "classes": y}


def spirals(count: int, chance: np.random.Generator) -> tuple[Array, Array]:
    """Return (count, 2) points of two spirals around each other, and which spiral they are of."""
    y = np.arange(count) % 2
    along = chance.uniform(0.15, 1, count)
    angle = 2.6 * np.pi * along + np.pi * y
    points = along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points += 0.02 * chance.standard_normal(points.shape)
    return points.astype(np.float32), y.astype(np.int64)


SPIRALS = Network("spirals", "a network of two inputs that tells two spirals apart", make)
