"""One trial of the search for the published experiment: train a network, follow its changes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from published_figures import LAYERS, score, statistics
from published_settings import ARCHITECTURES, DROPOUTS, NORMALIZATIONS, Architecture, Settings
from torch import Tensor, nn
from torch.nn import functional

from accweight_adapters.demo.experiment import MNIST_DEVIATION, MNIST_MEAN, mnist


class Network(nn.Module):
    """The network that an `Architecture` describes, with torch's own init."""

    def __init__(self, architecture: Architecture, dropout: tuple[float, float]) -> None:
        super().__init__()
        first, second = architecture.channels
        kernel, padding = architecture.kernel, architecture.padding
        self.pool_both = architecture.pool == "both"
        self.conv1 = nn.Conv2d(1, first, kernel, padding=padding)
        self.conv2 = nn.Conv2d(first, second, kernel, padding=padding)
        self.fc1 = nn.Linear(architecture.features(), architecture.hidden)
        self.fc2 = nn.Linear(architecture.hidden, 10)
        self.drop1 = nn.Dropout(dropout[0])
        self.drop2 = nn.Dropout(dropout[1])

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of the ten digits for every image."""
        x = self.conv1(images)
        # ReLU and max-pool commute; pooling first leaves less to do.
        x = functional.relu(functional.max_pool2d(x, 2) if self.pool_both else x)
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.fc1(self.drop1(x).flatten(1)))
        scores: Tensor = self.fc2(self.drop2(x))
        return scores


def make_optimizer(settings: Settings, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser that `settings` names, over the parameters of `model`."""
    parameters = model.parameters()
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, settings.lr, momentum=settings.momentum)
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, settings.lr)
    if settings.optimizer == "adadelta":
        return torch.optim.Adadelta(parameters, settings.lr)
    raise ValueError(f"no such optimizer: {settings.optimizer!r}")


class Mnist:
    """The MNIST images, in [0, 1], and their labels."""

    def __init__(self, folder: Path) -> None:
        digits = mnist(folder)

        def pixels(images: Tensor) -> Tensor:
            return images * MNIST_DEVIATION + MNIST_MEAN

        self.train = pixels(digits.images), digits.labels
        self.test = pixels(digits.test_images), digits.test_labels


def prepare(images: Tensor, settings: Settings) -> Tensor:
    """Return `images` as the network is to see them."""
    mean, deviation = NORMALIZATIONS[settings.normalize]
    return (images - mean) / deviation


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of `images` that `model` labels rightly."""
    model.eval()
    with torch.inference_mode():
        right = sum(
            int((model(x).argmax(1) == y).sum())
            for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    return right / len(labels)


def checkpoint(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights (without biases) of every layer."""
    return {name: getattr(model, name).weight.detach().clone() for name in LAYERS}


def train(settings: Settings, seed: int, data: Mnist) -> Iterator[tuple[Network, float]]:
    """Train a network; yield it, and its test accuracy, at first and after every epoch."""
    torch.manual_seed(seed)
    model = Network(ARCHITECTURES[settings.architecture], DROPOUTS[settings.dropout])
    optimizer = make_optimizer(settings, model)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, settings.gamma)
    images = prepare(data.train[0][: settings.images], settings)
    labels = data.train[1][: settings.images]
    test = prepare(data.test[0], settings), data.test[1]
    yield model, math.nan
    for _ in range(settings.epochs):
        model.train()
        for batch in torch.randperm(len(labels)).split(settings.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        schedule.step()
        yield model, accuracy(model, *test)


def run_trial(settings: Settings, seed: int, data: Mnist) -> dict[str, Any]:
    """Train once and return the record of it."""
    start = time.perf_counter()
    epochs: list[dict[str, Any]] = []
    previous: dict[str, Tensor] = {}
    totals: dict[str, dict[str, Tensor]] = {}
    for epoch, (model, test_accuracy) in enumerate(train(settings, seed, data)):
        current = checkpoint(model)
        if epoch == 0:
            totals["init"] = {name: torch.zeros_like(current[name]) for name in LAYERS}
        elif epoch == 1:
            totals["first"] = {name: torch.zeros_like(current[name]) for name in LAYERS}
        if epoch > 0:
            entry: dict[str, Any] = {"epoch": epoch, "accuracy": test_accuracy}
            for reference, total in totals.items():
                if reference == "first" and epoch == 1:
                    continue
                for name in LAYERS:
                    total[name] += (current[name] - previous[name]).abs()
                figures = statistics(total)
                entry[reference] = {**figures, "score": round(score(figures), 3)}
            epochs.append(entry)
        previous = current
    seconds = round(time.perf_counter() - start, 1)
    return {"settings": asdict(settings), "seed": seed, "seconds": seconds, "epochs": epochs}
