"""Small runs for `continuity`: networks of 4 x 4 and 8 x 8 matrices, many seeds at once.

Every plan is a way to train (SGD or Adam, learning rates from 0.001 to 1, with and without momentum
and decay, from tiny and from large weights, a checkpoint per step or per 20 steps, a task that can
be learnt and one that cannot), and trains all its seeds as one batched network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

Weights = dict[str, Tensor]

CHECKPOINTS, SAMPLES, BATCH = 10, 128, 32
MOST = 1e4
"""Weights beyond which a run has diverged; it is left out."""


@dataclass(frozen=True)
class Plan:
    """One way to train.

    Attributes:
        width: Rows and columns of the matrices.
        depth: Number of matrices.
        task: "teacher", which can be learnt, or "noise", which cannot.
        optimizer: "sgd" or "adam".
        rate: Learning rate.
        momentum: Momentum of SGD.
        steps: Steps per checkpoint.
        scale: Factor of the initial weights.
        decay: Weight decay.
    """

    width: int
    depth: int
    task: str
    optimizer: str
    rate: float
    momentum: float = 0.0
    steps: int = 20
    scale: float = 1.0
    decay: float = 0.0


WAYS = (
    ("sgd", 0.01, 0.0), ("sgd", 0.1, 0.0), ("sgd", 1.0, 0.0), ("sgd", 0.1, 0.9),
    ("sgd", 0.5, 0.9), ("adam", 1e-3, 0.0), ("adam", 1e-2, 0.0), ("adam", 0.1, 0.0),
    ("adam", 0.5, 0.0),
)  # fmt: skip


def plans() -> Iterator[Plan]:
    """Yield all ways to train."""
    for width, depth, task in product((4, 8), (1, 2, 3), ("teacher", "noise")):
        for optimizer, rate, momentum in WAYS:
            for steps in (1, 20):
                yield Plan(width, depth, task, optimizer, rate, momentum, steps)
        for scale in (0.1, 3.0):
            yield Plan(width, depth, task, "adam", 1e-2, scale=scale)
            yield Plan(width, depth, task, "sgd", 0.1, 0.9, scale=scale)
        yield Plan(width, depth, task, "adam", 0.05, decay=0.5)
        yield Plan(width, depth, task, "adam", 0.1, decay=1.0)


def trained(plan: Plan, seeds: int, seed: int) -> list[list[Weights]]:
    """Return the checkpoints of each seed, without runs that diverged."""
    chance = torch.Generator().manual_seed(seed)
    many, width = (seeds, SAMPLES, plan.width), plan.width
    inputs = torch.randn(many, generator=chance)
    if plan.task == "teacher":
        teacher = torch.randn(seeds, width, width, generator=chance) / width**0.5
        targets = torch.tanh(inputs @ teacher)
    else:
        sign = torch.sign(inputs[..., :1] * inputs[..., 1:2])
        targets = sign.expand(many) + 0.1 * torch.randn(many, generator=chance)
    shapes = [(seeds, width, width)] * plan.depth + [(seeds, 1, width)] * plan.depth
    bound = plan.scale / width**0.5
    weights = [
        ((torch.rand(shape, generator=chance) * 2 - 1) * bound).requires_grad_() for shape in shapes
    ]
    update = _optimizer(plan, weights)
    series = [_copied(plan, weights)]
    for _ in range(CHECKPOINTS):
        for _ in range(plan.steps):
            batch = torch.randperm(SAMPLES, generator=chance)[:BATCH]
            values = inputs[:, batch]
            for place in range(plan.depth):
                values = values @ weights[place].transpose(1, 2) + weights[plan.depth + place]
                values = torch.relu(values) if place < plan.depth - 1 else values
            update.zero_grad()
            ((values - targets[:, batch]) ** 2).mean(dim=(1, 2)).sum().backward()
            update.step()
        series.append(_copied(plan, weights))
    is_sound = torch.stack([w.abs().amax((1, 2)) < MOST for s in series for w in s.values()]).all(0)
    return [
        [{name: value[number] for name, value in state.items()} for state in series]
        for number in torch.nonzero(is_sound).flatten().tolist()
    ]


def _optimizer(plan: Plan, weights: list[Tensor]) -> torch.optim.Optimizer:
    if plan.optimizer == "sgd":
        return torch.optim.SGD(weights, plan.rate, plan.momentum, weight_decay=plan.decay)
    return torch.optim.AdamW(weights, plan.rate, weight_decay=plan.decay)


def _copied(plan: Plan, weights: list[Tensor]) -> Weights:
    return {f"fc{i}.weight": w.detach().clone() for i, w in enumerate(weights[: plan.depth])}


def spliced(a: list[Weights], b: list[Weights]) -> dict[str, list[Weights]]:
    """Return two unrelated runs put together in the ways that folders go wrong."""
    return {
        "taken in turn": [state for pair in zip(a, b, strict=True) for state in pair],
        "restart": a + b,
        "foreign in the middle": [*a[:5], b[5], *a[6:]],
        "another run's tail": a[:6] + b[5:],
    }
