"""Train a small network with a checkpoint per epoch, and write its graph and samples beside them.

What is planted in a network is put back after every update, so that training cannot undo it: the
checkpoints hold a truth that is known, and probes have to find it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Array = npt.NDArray[Any]

Plant = Callable[[nn.Module, int], None]
"""Called with the module and the epoch before the first checkpoint, and after every update."""

CHECKPOINTS, ANALYSIS, GRAPH, SAMPLES = "checkpoints", "run.accw", "net.onnx", "test.npz"
"""What lies in the folder of a network."""


@dataclass(frozen=True)
class Network:
    """A network of the gallery: how it is made, not yet made.

    Attributes:
        name: Name of its folder.
        words: What it is and what it learns, for the page.
        make: Called with its folder, the seed of the weights and the share of the usual epochs;
            trains it, writes checkpoints, graph and samples, and returns what was planted.
    """

    name: str
    words: str
    make: Callable[[Path, int, float], Mapping[str, Any]]


@dataclass(frozen=True)
class Course:
    """How a network is trained.

    Attributes:
        epochs: Epochs, each followed by a checkpoint.
        rate: Learning rate of Adam.
        batch: Samples per update.
        passes: Passes over the samples per epoch.
        norm: Largest norm of a gradient, if it is clipped.
    """

    epochs: int
    rate: float = 0.01
    batch: int = 32
    passes: int = 1
    norm: float | None = None

    def shorter(self, share: float, least: int = 4) -> Course:
        """Return it with a share of the epochs."""
        epochs = max(round(self.epochs * share), min(least, self.epochs))
        return Course(epochs, self.rate, self.batch, self.passes, self.norm)


def train(
    module: nn.Module,
    samples: tuple[Array, Array],
    folder: Path,
    course: Course,
    seed: int,
    *,
    held_out: tuple[Array, Array] | None = None,
    plant: Plant = lambda module, epoch: None,
) -> None:
    """Train on class numbers, and save ``checkpoints/epoch_0.pt`` and one file per epoch.

    Each file also has loss and accuracy on the held-out samples.

    Args:
        module: The module; its scores are (samples, classes) or (samples, times, classes).
        samples: Samples, and their classes.
        folder: Folder of the network.
        course: How it is trained.
        seed: Seed of the order of samples.
        held_out: Samples whose loss is recorded; those of the training by default.
        plant: Puts back what is planted.
    """
    x, y = (torch.from_numpy(one) for one in samples)
    asked = (x, y) if held_out is None else tuple(torch.from_numpy(one) for one in held_out)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), course.rate)
    home = folder / CHECKPOINTS
    home.mkdir(parents=True)
    plant(module, 0)
    _save(module, home, 0, *asked)
    for epoch in range(1, course.epochs + 1):
        for _ in range(course.passes):
            for rows in torch.split(torch.randperm(len(x), generator=order), course.batch):
                optimizer.zero_grad()
                _loss(module, x[rows], y[rows])[0].backward()  # type: ignore[no-untyped-call]
                if course.norm is not None:
                    nn.utils.clip_grad_norm_(module.parameters(), course.norm)
                optimizer.step()
                plant(module, epoch)
        _save(module, home, epoch, *asked)


def _loss(module: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross entropy, and the accuracy."""
    scores = module(x)
    flat, labels = scores.reshape(-1, scores.shape[-1]), y.reshape(-1)
    right = (flat.argmax(1) == labels).float().mean()
    return nn.functional.cross_entropy(flat, labels), right


@torch.no_grad()
def _save(module: nn.Module, home: Path, epoch: int, x: Tensor, y: Tensor) -> None:
    loss, accuracy = _loss(module, x, y)
    beside = {"epoch": epoch, "loss": loss.item(), "accuracy": accuracy.item()}
    torch.save({**beside, "model_state_dict": module.state_dict()}, home / f"epoch_{epoch}.pt")


def write_samples(
    folder: Path,
    x: Array,
    y: Array,
    classes: tuple[str, ...] = (),
    name: str = SAMPLES,
    vocabulary: tuple[str, ...] = (),
) -> None:
    """Write samples and targets, with names of the classes and of the inputs if there are any."""
    known = {"classes": classes, "vocabulary": vocabulary}
    named: dict[str, Any] = {what: np.array(names) for what, names in known.items() if names}
    np.savez(folder / name, x=x, y=y, **named)
