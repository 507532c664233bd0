"""Small networks and runs for tests of probes: what is in them is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoints import write_torch
from torch import nn

from accweight_core.probes.network import Port, Proof

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


@dataclass
class Plain:
    """A module as a network, for tests of what runs on top: forward alone, nodes are layers."""

    module: nn.Module
    shape: tuple[int | None, ...] = (None, 1, 8, 8)
    engine: str = "plain"
    state: Proof = "verified"
    passes: list[int] = field(default_factory=list)

    @property
    def source(self) -> Mapping[str, Array]:
        """Its state."""
        return {name: value.numpy() for name, value in self.module.state_dict().items()}

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Its input."""
        return (Port("input", self.shape, "float32"),)

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Its output."""
        return (Port("output", (None,), "float32"),)

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers with weights."""
        names = (name.rpartition(".")[0] for name, _ in self.module.named_parameters())
        return tuple(dict.fromkeys(names))

    @property
    def parameters(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of parameters."""
        return {name: tuple(value.shape) for name, value in self.module.named_parameters()}

    def with_weights(self, weights: Mapping[str, Array]) -> Any:
        """Return it with weights."""
        return Bound(self, {n: torch.from_numpy(np.array(w)) for n, w in weights.items()})


@dataclass
class Bound:
    """A module with the weights of a checkpoint."""

    network: Plain
    weights: Mapping[str, torch.Tensor]

    @property
    def proof(self) -> Proof:
        """What the test says."""
        return self.network.state

    @property
    def nodes(self) -> tuple[str, ...]:
        """Its layers."""
        return self.network.layers

    def run(self, x: Mapping[str, Array], keep: Sequence[str] = ()) -> dict[str, Array]:
        """Return output and layers."""
        found: dict[str, Array] = {}
        modules = dict(self.network.module.named_modules())
        hooks = [
            modules[name].register_forward_hook(
                lambda _, __, value, name=name: found.__setitem__(name, value.numpy())
            )
            for name in keep
            if name != "output"
        ]
        with torch.no_grad():
            value = torch.from_numpy(x["input"])
            self.network.passes.append(len(value))
            output = torch.func.functional_call(self.network.module, dict(self.weights), (value,))
        for hook in hooks:
            hook.remove()
        return {"output": output.numpy(), **found}


def write_states(folder: Path, states: Sequence[Mapping[str, torch.Tensor]]) -> Path:
    """Write states as checkpoints of steps 0, 1 and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for step, state in enumerate(states):
        write_torch(folder / f"epoch_{step}.pt", {n: v.clone() for n, v in state.items()})
    return folder


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
