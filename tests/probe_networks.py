"""Small networks and runs for tests of probes: what is in them is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoints import write_torch
from torch import nn

import accweight_core as aw
from accweight_adapters.execution.module_network import ModuleBound, ModuleNetwork
from accweight_core.probes.network import Inputs, Port
from accweight_core.probes.registry import probes

Array = np.ndarray[Any, np.dtype[Any]]


class Classifier(nn.Module):
    """A small network for pictures of 8 x 8: a convolution and two linear layers."""

    def __init__(self, channels: int = 1, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)
        self.fc1 = nn.Linear(4 * 36, 8)
        self.fc2 = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes."""
        hidden = torch.relu(self.conv(x)).flatten(1)
        scores: torch.Tensor = self.fc2(torch.relu(self.fc1(hidden)))
        return scores


class Scored(nn.Module):
    """A recurrent layer, and a score for every time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return two scores for every time."""
        scores: torch.Tensor = self.out(self.rnn(x)[0])
        return scores


def stack(*widths: int) -> nn.Sequential:
    """Return linear layers, named 0, 2 and so on, with a ReLU between two of them."""
    torch.manual_seed(0)
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Plain(ModuleNetwork):
    """The network that is a module, which counts the samples of every pass."""

    def __init__(self, module: nn.Module, shape: tuple[int | None, ...] | None = None) -> None:
        super().__init__(module, ("input",))
        self.passes: list[int] = []
        if shape is not None:
            self.inputs = (Port("input", shape, "float32"),)

    def with_weights(self, weights: Mapping[str, Array]) -> ModuleBound:
        """Return it with weights."""
        bound = super().with_weights(weights)
        return Counted(self, bound.tensors)


class Counted(ModuleBound):
    """A module with the weights of a checkpoint, whose passes are counted."""

    network: Plain

    def run(self, x: Inputs, keep: Sequence[str] = ()) -> dict[str, Array]:
        """Return outputs and kept nodes."""
        found = super().run(x, keep)
        self.network.passes.append(len(found["output"]))
        return found


def write_states(folder: Path, states: Sequence[Mapping[str, torch.Tensor]]) -> Path:
    """Write states as checkpoints of steps 0, 1 and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for step, state in enumerate(states):
        write_torch(folder / f"epoch_{step}.pt", {n: v.clone() for n, v in state.items()})
    return folder


def steps_of(module: nn.Module, count: int) -> list[dict[str, torch.Tensor]]:
    """Return so many equal states of a module, in which steps can be planted."""
    return [{n: v.clone() for n, v in module.state_dict().items()} for _ in range(count)]


def probed(tmp_path: Path, module: nn.Module, states: Any, data: Any, asked: str) -> Any:
    """Return what one probe finds at some states of a module."""
    home = tmp_path / str(len(list(tmp_path.iterdir())))
    run = aw.open_run(write_states(home / "run", states))
    network = None if data is None else Plain(module)
    found = aw.probe(run, network, data, asked, out=home / "run.accw")
    return found[asked.partition(":")[0]]


def said(found: Any) -> list[str]:
    """Return what the summary of a probe says of a result."""
    return list(probes()[found.name].summary(found))


def trained(
    module: nn.Module, x: Array, y: Array, epochs: int = 4, rate: float = 0.05
) -> list[dict[str, torch.Tensor]]:
    """Train a module on class numbers, and return its state before and after every epoch."""
    optimizer = torch.optim.Adam(module.parameters(), rate)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    states = [{n: v.clone() for n, v in module.state_dict().items()}]
    for _ in range(epochs):
        for start in range(0, len(x), 32):
            rows = slice(start, start + 32)
            loss = nn.functional.cross_entropy(module(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        states.append({n: v.clone() for n, v in module.state_dict().items()})
    return states


def digits(count: int = 96, classes: int = 3) -> tuple[Array, Array]:
    """Return pictures of real digits, (count, 1, 8, 8) from 0 to 1, and their classes."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(n_class=classes, return_X_y=True)
    pixels = images[:count].reshape(-1, 1, 8, 8) / 16
    return pixels.astype(np.float32), labels[:count].astype(np.int64)
