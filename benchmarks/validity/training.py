"""Training: checkpoints of a run, and its continuation with something changed.

The batches between two checkpoints depend on the seed and the place of the checkpoint alone. So a
run that is continued from a stored checkpoint sees what the first one saw, and what differs in the
end is what was changed: layers frozen, made narrower, or trained at another rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tasks import Array, Halved, Task, brackets, pictures
from torch import Tensor, nn

CHECKPOINTS = 20
FURTHER = 5
"""Checkpoints after the end of a run: does the loss still fall?"""

LAST = 5
"""Last checkpoints whose mean loss and accuracy are those of a run that was changed."""

BATCH = 32
SEQUENCES, LEARNED = 4000, 3000
"""Sequences of brackets, and those of them that are learned."""

OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda groups, rate: torch.optim.SGD(groups, rate, momentum=0.9),
    "adamw": lambda groups, rate: torch.optim.AdamW(groups, rate),
}

State = dict[str, Any]


@dataclass(frozen=True)
class Samples:
    """What is learned, and what is held out.

    Attributes:
        x: What is learned.
        y: Its classes.
        held_x: What is held out.
        held_y: Its classes.
    """

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor

    @classmethod
    def of(cls, task: Task, seed: int, data: Any = None) -> Samples:
        """Return the samples of a task; the seed says which are held out."""
        x, y = pictures(data) if task.is_pictures else brackets(SEQUENCES)
        learned = len(x) // 2 if task.is_pictures else LEARNED
        order = np.random.default_rng(seed).permutation(len(x))
        parts: tuple[Array, ...] = (
            x[order[:learned]], y[order[:learned]], x[order[learned:]], y[order[learned:]],
        )  # fmt: skip
        return cls(*map(torch.from_numpy, parts))


@dataclass(frozen=True)
class Change:
    """What is changed in a run.

    Attributes:
        frozen: Names of layers that stay.
        halved: Names of layers with half their width.
        rates: Factors of the learning rate, by layer.
        batches: Seed of other batches; 0 for those of the first run.
    """

    frozen: Collection[str] = ()
    halved: Halved = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    batches: int = 0


@dataclass
class Training:
    """One network in training.

    Attributes:
        task: The task.
        optimiser: Name of the optimiser.
        seed: Seed of initial weights and batches.
        samples: What is learned.
        change: What is changed.
        members: Layers that belong to another one, as its norm does, by that one.
    """

    task: Task
    optimiser: str
    seed: int
    samples: Samples
    change: Change = Change()
    members: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the network and the optimiser, a group of parameters per tensor."""
        torch.manual_seed(self.seed)
        self.module = self.task.network(self.samples.x.shape[-1], self.change.halved)
        rate = self.task.rates[self.optimiser]
        frozen = self._with_members(self.change.frozen)
        factors = {
            member: factor
            for layer, factor in self.change.rates.items()
            for member in self._with_members([layer])
        }
        groups = []
        for name, parameter in self.module.named_parameters():
            layer = name.rpartition(".")[0]
            parameter.requires_grad_(layer not in frozen)
            groups.append({"params": [parameter], "lr": rate * factors.get(layer, 1.0)})
        self._steps = OPTIMISERS[self.optimiser](groups, rate)
        self._rates = [group["lr"] for group in self._steps.param_groups]
        self.seconds = 0.0

    def _with_members(self, layers: Collection[str]) -> set[str]:
        return {one for layer in layers for one in (layer, *self.members.get(layer, ()))}

    def state(self) -> State:
        """Return weights and optimiser as a checkpoint has them."""
        return {"model": self.module.state_dict(), "optimizer": self._steps.state_dict()}

    def load(self, state: State) -> None:
        """Go on from a checkpoint, at the rates of this training."""
        self.module.load_state_dict(state["model"])
        self._steps.load_state_dict(state["optimizer"])
        for group, rate in zip(self._steps.param_groups, self._rates, strict=True):
            group["lr"] = rate

    def checkpoints(self, after: int = 0, last: int = CHECKPOINTS) -> Iterator[int]:
        """Train, and yield the place of every checkpoint reached.

        Args:
            after: Place of the checkpoint that the network has the weights of.
            last: Place of the last one.
        """
        for place in range(after + 1, last + 1):
            key = [self.seed, place, self.change.batches]
            chance = np.random.default_rng(key)
            start = time.thread_time()
            self.module.train()
            for _ in range(self.task.batches):
                rows = torch.from_numpy(chance.integers(len(self.samples.x), size=BATCH))
                made = self.module(self.samples.x[rows])
                loss = nn.functional.cross_entropy(made, self.samples.y[rows])
                self._steps.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._steps.step()
            self.seconds += time.thread_time() - start
            yield place

    def finished(self, after: int = 0) -> tuple[float, float]:
        """Train to the end; return loss and accuracy on what is held out, of the last checkpoints.

        One checkpoint says little: from one to the next, accuracy goes up and down by more than
        what is to be told apart. So it is the mean of the last few.
        """
        found = []
        for place in self.checkpoints(after):
            if place > CHECKPOINTS - LAST:
                found.append(held_out(self.module, self.samples))
        loss, accuracy = np.mean(found, axis=0)
        return float(loss), float(accuracy)


@torch.no_grad()
def held_out(module: nn.Module, samples: Samples) -> tuple[float, float]:
    """Return loss and accuracy on what is held out."""
    scores = module.eval()(samples.held_x)
    loss = nn.functional.cross_entropy(scores, samples.held_y)
    return float(loss), float((scores.argmax(1) == samples.held_y).float().mean())


def step_of(task: Task, place: int) -> int:
    """Return the batches before a checkpoint."""
    return place * task.batches
