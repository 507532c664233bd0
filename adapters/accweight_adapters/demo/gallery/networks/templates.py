"""`templates_a` and `templates_b`: one network, trained on three shapes, then on three others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from accweight_adapters.demo.gallery.networks.graphs import GraphWriter
from accweight_adapters.demo.gallery.networks.pictures import drawn
from accweight_adapters.demo.gallery.networks.training import (
    GRAPH,
    Array,
    Course,
    Network,
    train,
    write_samples,
)

COURSE = Course(epochs=8, rate=0.003)
SIDE, RADIUS, NOISE = 14, 5.0, 0.4
SETS = {"a": ("square", "disc", "cross"), "b": ("plus", "ring", "corner")}


def make(which: str, folder: Path, seed: int, share: float) -> Mapping[str, Any]:
    """Train it on one set of shapes, all in the middle of noisy pictures."""
    names = SETS[which]
    module = nn.Sequential(OrderedDict(
        flat=nn.Flatten(), fc1=nn.Linear(SIDE**2, 24), relu=nn.ReLU(), fc2=nn.Linear(24, 3),
    ))  # fmt: skip
    x, y = noisy(names, 600, np.random.default_rng(0))
    train(module, (x, y), folder, COURSE.shorter(share), seed)
    write_samples(folder, x[:150], y[:150], names)
    graph = GraphWriter(module, (1, SIDE, SIDE)).flat().linear("fc1").relu().linear("fc2")
    graph.write(folder / GRAPH, (3,))
    return {"names": names}


def clean(name: str) -> Array:
    """Return a shape in the middle, without noise."""
    return drawn(name, SIDE, ((SIDE - 1) / 2, (SIDE - 1) / 2), RADIUS)


def noisy(names: tuple[str, ...], count: int, chance: np.random.Generator) -> tuple[Array, Array]:
    """Return (count, 1, SIDE, SIDE) pictures, and which shape is in each."""
    y = np.arange(count) % len(names)
    x = np.stack([clean(name) for name in names])[y] - 0.5
    x = x + NOISE * chance.standard_normal(x.shape)
    return x[:, None].astype(np.float32), y.astype(np.int64)


TEMPLATES_A, TEMPLATES_B = (
    Network(
        f"templates_{which}",
        f"a network of two layers that has seen {', '.join(names[:-1])} and {names[-1]} alone",
        partial(make, which),
    )
    for which, names in SETS.items()
)
