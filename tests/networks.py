"""Layers made by hand, and small networks of torch with what two exporters make of them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from accweight_core.alignment.alignment import Alignment
from accweight_core.schema import Axis, Kind, Layer, Parameter, Role

LEGACY, DYNAMO = "legacy", "dynamo"

OUT_IN = (Axis.OUTPUT, Axis.INPUT)
IN_OUT = (Axis.INPUT, Axis.OUTPUT)


def layer(
    name: str,
    *shape: int,
    kind: Kind = Kind.LINEAR,
    axes: tuple[Axis, ...] | None = None,
    bias: bool = True,
    leaf: str = "weight",
) -> Layer:
    """Return a layer of one matrix, axes as PyTorch has them unless said otherwise."""
    role = {Kind.NORM: Role.NORM, Kind.EMBEDDING: Role.EMBEDDING}.get(kind, Role.WEIGHT)
    meaning = axes or (*OUT_IN, *(Axis.KERNEL,) * (len(shape) - 2))[: len(shape)]
    parameters = [Parameter(f"{name}.{leaf}", name, kind, role, shape, "float32", meaning)]
    if bias and kind is not Kind.EMBEDDING:
        own = Role.NORM if kind is Kind.NORM else Role.BIAS
        outputs = shape[meaning.index(Axis.OUTPUT)]
        one = (Axis.OTHER,)
        parameters.append(Parameter(f"{name}.bias", name, kind, own, (outputs,), "float32", one))
    return Layer(name, kind, tuple(parameters))


def pairs(found: Alignment) -> dict[str, str]:
    """Return who is matched with whom."""
    return {match.layer_a: match.layer_b for match in found.matches}


def alone(found: Alignment) -> tuple[list[str], list[str]]:
    """Return the layers without a partner."""
    return [u.layer for u in found.only_a], [u.layer for u in found.only_b]


class Cnn(nn.Module):
    """Convolutions that exporters fold norms into."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.fc(torch.relu(self.bn2(self.conv2(x))).flatten(1))  # type: ignore[no-any-return]


class Reader(nn.Module):
    """Two stacked bidirectional LSTMs, which ONNX has as two, and a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits per token."""
        return self.out(self.lstm(self.embed(x))[0])  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a perceptron; every projection of attention is of one shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with what was found added."""
        y = self.norm(x)
        weights = torch.softmax(self.q(y) @ self.k(y).transpose(1, 2), -1)
        return x + self.down(torch.relu(self.up(self.o(weights @ self.v(y)))))  # type: ignore[no-any-return]


class Former(nn.Module):
    """A small transformer."""

    def __init__(self, depth: int = 2, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 20, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits per token."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


def nudged(net: nn.Module, seed: int) -> nn.Module:
    """Move every weight of a network a little, in place."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=chance)
    return net


def exported(net: nn.Module, inputs: Tensor, path: Path, exporter: str = LEGACY) -> Path:
    """Write a network as ONNX by one of the two exporters of torch."""
    logging.disable(logging.WARNING)  # of operators that are not needed here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if exporter == DYNAMO:
                options = {"dynamo": True, "external_data": False, "verbose": False}
            else:
                options = {"dynamo": False}
            torch.onnx.export(net.eval(), (inputs,), path, **options)  # type: ignore[arg-type]
    finally:
        logging.disable(logging.NOTSET)
    return path


def renamed(layers: Sequence[Layer], names: Sequence[str]) -> list[Layer]:
    """Return the same layers under other names."""
    return [
        layer(name, *old.parameters[0].shape, kind=old.kind, axes=old.parameters[0].axes)
        for old, name in zip(layers, names, strict=True)
    ]
