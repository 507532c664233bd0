"""The tasks: small networks, and the samples they learn.

Each network can be built with some layers at half their width, for the interventions. Layers that
another layer's width is tied to (the stream of a residual network, the classes) have none of their
own. Samples are shipped with scikit-learn or generated: nothing is downloaded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray[Any, np.dtype[Any]]
Halved = Collection[str]
"""Names of the layers that have half their width."""

CLASSES = 10
KINDS, LENGTH = 4, 12
"""Kinds of brackets, and brackets in a sequence."""


def dense(side: int, halved: Halved) -> nn.Module:
    """Return a network of ten linear layers."""
    parts: list[tuple[str, nn.Module]] = [("flat", nn.Flatten())]
    before = side * side
    for place in range(1, 10):
        name = f"fc{place}"
        width = 32 if name in halved else 64
        parts += [(name, nn.Linear(before, width)), (f"relu{place}", nn.ReLU())]
        before = width
    return nn.Sequential(OrderedDict([*parts, ("fc10", nn.Linear(before, CLASSES))]))


def convolutional(side: int, halved: Halved) -> nn.Module:
    """Return a network of seven convolutions with batch norm, and two linear layers."""
    parts: list[tuple[str, nn.Module]] = []
    before = 1
    for place, width in enumerate((8, 8, 8, 16, 16, 16, 16), start=1):
        after = width // 2 if f"conv{place}" in halved else width
        parts += [
            (f"conv{place}", nn.Conv2d(before, after, 3, padding=1, bias=False)),
            (f"bn{place}", nn.BatchNorm2d(after)),
            (f"relu{place}", nn.ReLU()),
        ]
        parts += [(f"pool{place}", nn.MaxPool2d(2))] if place in (3, 6) else []
        before = after
    size = before * (side // 4) ** 2
    width = 32 if "fc1" in halved else 64
    parts += [("flat", nn.Flatten()), ("fc1", nn.Linear(size, width)), ("relu8", nn.ReLU())]
    return nn.Sequential(OrderedDict([*parts, ("fc2", nn.Linear(width, CLASSES))]))


class _Block(nn.Module):
    """Two convolutions around which the input goes."""

    def __init__(self, before: int, after: int, stride: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, inner, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(before, after, 1, stride, bias=False),
                    bn=nn.BatchNorm2d(after),
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


def residual(side: int, halved: Halved) -> nn.Module:
    """Return a residual network of four blocks with batch norm: 9 convolutions, 2 shortcuts."""
    parts: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(1, 8, 3, 1, 1, bias=False)),
        ("bn1", nn.BatchNorm2d(8)),
        ("relu", nn.ReLU()),
    ]
    before = 8
    for place, (width, stride) in enumerate(((8, 1), (16, 2), (16, 1), (24, 2)), start=1):
        inner = width // 2 if f"block{place}.conv1" in halved else width
        parts.append((f"block{place}", _Block(before, width, stride, inner)))
        before = width
    parts += [("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten())]
    return nn.Sequential(OrderedDict([*parts, ("fc", nn.Linear(before, CLASSES))]))


class Recurrent(nn.Module):
    """Three LSTM layers between an embedding and two linear layers."""

    def __init__(self, tokens: int, classes: int, halved: Halved) -> None:
        super().__init__()
        sizes = {n: w // 2 if n in halved else w for n, w in _RECURRENT.items()}
        self.embedding = nn.Embedding(tokens, sizes["embedding"])
        self.lstm1 = nn.LSTM(sizes["embedding"], sizes["lstm1"], batch_first=True)
        self.lstm2 = nn.LSTM(sizes["lstm1"], sizes["lstm2"], batch_first=True)
        self.lstm3 = nn.LSTM(sizes["lstm2"], sizes["lstm3"], batch_first=True)
        self.fc1 = nn.Linear(sizes["lstm3"], sizes["fc1"])
        self.fc2 = nn.Linear(sizes["fc1"], classes)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 - PyTorch's name  # noqa: D102
        value = self.embedding(x)
        for layer in (self.lstm1, self.lstm2, self.lstm3):
            value = layer(value)[0]
        return self.fc2(torch.relu(self.fc1(value[:, -1])))  # type: ignore[no-any-return]


_RECURRENT = {"embedding": 16, "lstm1": 32, "lstm2": 32, "lstm3": 32, "fc1": 32}


class _Attention(nn.Module):
    """A block of a transformer: attention with two heads, and two linear layers."""

    def __init__(self, width: int, keys: int, values: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, keys), nn.Linear(width, keys)
        self.value, self.out = nn.Linear(width, values), nn.Linear(values, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm1(x)
        parts = [part(seen).unflatten(-1, (2, -1)).transpose(1, 2)
                 for part in (self.query, self.key, self.value)]  # fmt: skip
        weights = torch.softmax(parts[0] @ parts[1].mT / parts[0].shape[-1] ** 0.5, -1)
        x = x + self.out((weights @ parts[2]).transpose(1, 2).flatten(2))
        return x + self.down(torch.relu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """Two blocks between an embedding with positions and a linear layer."""

    def __init__(self, tokens: int, classes: int, halved: Halved) -> None:
        super().__init__()
        width = 32
        self.embedding = nn.Embedding(tokens, width)
        self.position = nn.Embedding(LENGTH, width)
        for place in range(1, 3):
            name = f"block{place}"
            keys = 16 if {f"{name}.query", f"{name}.key"} & {*halved} else 32
            values = 16 if f"{name}.value" in halved else 32
            inner = 32 if f"{name}.up" in halved else 64
            self.add_module(name, _Attention(width, keys, values, inner))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 - PyTorch's name  # noqa: D102
        value = self.embedding(x) + self.position.weight
        for place in range(1, 3):
            value = self.get_submodule(f"block{place}")(value)
        return self.fc(self.norm(value[:, -1]))  # type: ignore[no-any-return]


def recurrent(side: int, halved: Halved) -> nn.Module:
    """Return a network of three LSTM layers."""
    return Recurrent(2 * KINDS, KINDS, halved)


def transformer(side: int, halved: Halved) -> nn.Module:
    """Return a transformer of two blocks."""
    return Transformer(2 * KINDS, KINDS, halved)


@dataclass(frozen=True)
class Task:
    """A network and what it learns.

    Attributes:
        name: Its name.
        build: Returns the network for pictures of a side, some layers at half their width.
        shrinkable: Names of the layers that can be halved.
        is_pictures: Whether it learns pictures, otherwise sequences of brackets.
        batches: Batches between two checkpoints.
        rates: Learning rates, by optimiser.
        is_tuned_on: Whether thresholds of rules may be chosen on it.
    """

    name: str
    build: Callable[[int, Halved], nn.Module]
    shrinkable: tuple[str, ...]
    is_pictures: bool
    batches: int
    rates: dict[str, float]
    is_tuned_on: bool = False

    def network(self, side: int, halved: Halved = ()) -> nn.Module:
        """Return it initialised; ten layers without a norm need He's way to train."""
        module = self.build(side, halved)
        if self.is_pictures:
            for part in module.modules():
                if isinstance(part, nn.Linear | nn.Conv2d):
                    nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        return module


TASKS = {
    task.name: task
    for task in (
        Task(
            "dense",
            dense,
            tuple(f"fc{place}" for place in range(1, 10)),
            is_pictures=True,
            batches=20,
            rates={"sgd": 0.02, "adamw": 2e-3},
            is_tuned_on=True,
        ),
        Task(
            "convolutional",
            convolutional,
            (*(f"conv{place}" for place in range(1, 8)), "fc1"),
            is_pictures=True,
            batches=20,
            rates={"sgd": 0.05, "adamw": 2e-3},
            is_tuned_on=True,
        ),
        Task(
            "residual",
            residual,
            tuple(f"block{place}.conv1" for place in range(1, 5)),
            is_pictures=True,
            batches=20,
            rates={"sgd": 0.05, "adamw": 2e-3},
        ),
        Task(
            "lstm",
            recurrent,
            tuple(_RECURRENT),
            is_pictures=False,
            batches=30,
            rates={"sgd": 0.2, "adamw": 3e-3},
        ),
        Task(
            "transformer",
            transformer,
            tuple(
                f"block{place}.{part}"
                for place in range(1, 3)
                for part in ("query", "key", "value", "up")
            ),
            is_pictures=False,
            batches=30,
            rates={"sgd": 0.05, "adamw": 2e-3},
        ),
    )
}


def pictures(path: Path | None) -> tuple[Array, Array]:
    """Return pictures from 0 to 1 and their classes: those of a file, or the digits."""
    if path is not None:
        with np.load(path) as held:
            return held["x"].astype(np.float32), held["y"].astype(np.int64)
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32), labels.astype(np.int64)


def brackets(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Return sequences of brackets and the kind of bracket that has to be closed next.

    Token k opens kind k, token `KINDS` + k closes it. Every bracket that is closed was the last
    one open, so the class is the top of a stack. No two sequences are the same.

    Args:
        count: Sequences.
        seed: Seed of what is drawn.
    """
    chance = np.random.default_rng(seed)
    found: dict[tuple[int, ...], int] = {}
    while len(found) < count:
        stack: list[int] = []
        tokens = []
        for _ in range(LENGTH):
            if stack and chance.random() < 0.5:
                tokens.append(KINDS + stack.pop())
            else:
                stack.append(int(chance.integers(KINDS)))
                tokens.append(stack[-1])
        if stack:
            found[tuple(tokens)] = stack[-1]
    return np.array(list(found), np.int64), np.array(list(found.values()), np.int64)
