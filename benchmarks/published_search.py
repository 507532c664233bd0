"""The recorded search for settings that reproduce the published MNIST experiment.

The publication reports, for a CNN of two convolutional and two fully connected layers, the
cumulative change of every weight over the per-epoch checkpoints, but not the settings it was
trained with. This script trains a grid of textbook settings and appends to
``published_search.jsonl`` what each gives after every epoch, under both readings of the
reference: ``init`` starts the sum at the initial weights, ``first`` at the checkpoint after the
first epoch. A trial that is recorded is not run again.

    python benchmarks/published_search.py --report               rank what is recorded
    python benchmarks/published_search.py --stage narrow --data FOLDER    and full, detail, seeds
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from accweight_adapters.demo.experiment import MNIST_DEVIATION, MNIST_MEAN, mnist

LAYERS = ("conv1", "conv2", "fc1", "fc2")
REFERENCES = ("init", "first")

#: The figures the score is made of: (statistic, layer) -> published value.
PUBLISHED: dict[tuple[str, str], float] = {
    ("mean", "conv1"): 0.2605,
    ("mean", "conv2"): 0.0900,
    ("mean", "fc1"): 0.0268,
    ("max", "fc2"): 0.6575,
    ("max", "fc1"): 0.3977,
}
#: Reported beside the score, not in it: it may be some other quantity.
PUBLISHED_CONV2_MAX = 0.1188


@dataclass(frozen=True)
class Architecture:
    """Two convolutions and two fully connected layers, with ReLU between.

    ``pool`` says where the 2x2 max-pools stand: after ``both`` convolutions,
    or after the ``last`` one only.
    """

    channels: tuple[int, int]
    kernel: int
    padding: int
    hidden: int
    pool: str = "both"

    def features(self) -> int:
        """Return the number of inputs of the first fully connected layer."""
        side = 28
        for index in (0, 1):
            side = side + 2 * self.padding - self.kernel + 1
            if index == 1 or self.pool == "both":
                side //= 2
        return self.channels[1] * side * side


ARCHITECTURES: dict[str, Architecture] = {
    # PyTorch's examples/mnist, until 2018 (there with dropout).
    "10-20-k5-fc50": Architecture((10, 20), 5, 0, 50),
    # PyTorch's examples/mnist of 2018-19; Caffe's LeNet.
    "20-50-k5-fc500": Architecture((20, 50), 5, 0, 500),
    # PyTorch's examples/mnist since 2019 (there with dropout, Adadelta).
    "32-64-k3-fc128": Architecture((32, 64), 3, 0, 128, pool="last"),
    # Common tutorial networks.
    "6-16-k5-fc120": Architecture((6, 16), 5, 0, 120),
    "8-16-k3p1-fc128": Architecture((8, 16), 3, 1, 128),
    "16-32-k3p1-fc64": Architecture((16, 32), 3, 1, 64),
    "16-32-k3p1-fc32": Architecture((16, 32), 3, 1, 32),
    "16-32-k3p1-fc50": Architecture((16, 32), 3, 1, 50),
    "16-32-k5p2-fc64": Architecture((16, 32), 5, 2, 64),
    "16-32-k5p2-fc128": Architecture((16, 32), 5, 2, 128),
    "16-32-k3p1-fc128": Architecture((16, 32), 3, 1, 128),
    "32-64-k3p1-fc128": Architecture((32, 64), 3, 1, 128),
    "32-64-k5p2-fc1024": Architecture((32, 64), 5, 2, 1024),
}


#: What is subtracted from the pixels, and what they are then divided by.
NORMALIZATIONS: dict[str, tuple[float, float]] = {
    "none": (0.0, 1.0),
    "half": (0.5, 0.5),
    "mnist": (0.1307, 0.3081),
}


DROPOUTS: dict[str, tuple[float, float]] = {
    "none": (0.0, 0.0),
    "fc2": (0.0, 0.5),
    "both": (0.25, 0.5),
}


@dataclass(frozen=True)
class Settings:
    """Everything that decides a trial, except its seed."""

    architecture: str
    optimizer: str
    lr: float
    momentum: float = 0.0
    batch_size: int = 64
    epochs: int = 3
    #: The rates before the two fully connected layers: a key of `DROPOUTS`.
    dropout: str = "none"
    #: What is done to pixels in [0, 1]: a key of `NORMALIZATIONS`.
    normalize: str = "mnist"
    #: Factor on the learning rate after every epoch.
    gamma: float = 1.0
    #: How many training images, from the start of the file.
    images: int = 60_000


OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "sgd", "lr": 0.01, "momentum": 0.5},
    {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9},
    {"optimizer": "adam", "lr": 1e-3},
    {"optimizer": "adadelta", "lr": 1.0},
    {"optimizer": "sgd", "lr": 0.1},
    {"optimizer": "sgd", "lr": 0.01},
]
NARROW: list[Settings] = [
    Settings(architecture, **optimizer)
    for optimizer in OPTIMIZERS
    for architecture in ("6-16-k5-fc120", "10-20-k5-fc50", "16-32-k3p1-fc128")
]
FULL: list[Settings] = [
    Settings(architecture, **optimizer, normalize=normalize, epochs=10)
    for optimizer in OPTIMIZERS[1:3]
    for normalize in ("none", "mnist")
    for architecture in ("6-16-k5-fc120", "10-20-k5-fc50", "16-32-k3p1-fc128")
]
DETAIL: list[Settings] = [
    Settings("6-16-k5-fc120", "sgd", 0.01, 0.9, epochs=10, dropout="both"),
    Settings("16-32-k3p1-fc128", "sgd", 0.01, 0.9, epochs=10, dropout="both"),
    Settings("8-16-k3p1-fc128", "sgd", 0.01, 0.9, epochs=20),
    Settings("8-16-k3p1-fc128", "sgd", 0.01, 0.9, batch_size=32, epochs=10, normalize="half"),
    Settings("16-32-k3p1-fc128", "adadelta", 1.0, epochs=8, dropout="both", gamma=0.7),
    Settings("16-32-k3p1-fc64", "sgd", 0.01, 0.9, batch_size=32, epochs=10),
    Settings("16-32-k3p1-fc32", "sgd", 0.01, 0.9, batch_size=32, epochs=10),
    Settings("16-32-k3p1-fc64", "sgd", 0.01, 0.9, batch_size=32, epochs=10, dropout="fc2"),
    Settings("16-32-k3p1-fc128", "sgd", 0.01, 0.9, batch_size=32, epochs=12),
    Settings("16-32-k3p1-fc50", "sgd", 0.01, 0.9, batch_size=32, epochs=10),
    Settings("16-32-k5p2-fc64", "sgd", 0.01, 0.9, batch_size=32, epochs=10),
    Settings("16-32-k5p2-fc128", "sgd", 0.01, 0.9, batch_size=32, epochs=12),
    Settings("32-64-k3-fc128", "adadelta", 1.0, epochs=2, dropout="both", gamma=0.7),
]
BEST: list[Settings] = [
    Settings("16-32-k3p1-fc50", "sgd", 0.01, 0.9, batch_size=32, epochs=10),
    # The runner-up: rounder, but on seed 0 the largest change is in conv1.
    Settings("16-32-k3p1-fc64", "sgd", 0.01, 0.9, batch_size=32, epochs=10),
]
#: Chosen on seed 0 only: the lowest score of the first of `BEST`.
BEST_EPOCH = 8
STAGES: dict[str, tuple[list[Settings], tuple[int, ...]]] = {
    "narrow": (NARROW, (0,)),
    "full": (FULL, (0,)),
    "detail": (DETAIL, (0,)),
    "seeds": (BEST, (0, 1, 2, 3, 4)),
}


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


def statistics(changes: dict[str, Tensor]) -> dict[str, list[float]]:
    """Return the mean and the largest cumulative change of every layer, in order."""
    return {
        "mean": [round(float(changes[name].mean()), 5) for name in LAYERS],
        "max": [round(float(changes[name].max()), 5) for name in LAYERS],
    }


def score(figures: dict[str, list[float]]) -> float:
    """Return the sum of the absolute log ratios to the published figures."""
    total = 0.0
    for (statistic, layer), published in PUBLISHED.items():
        value = figures[statistic][LAYERS.index(layer)]
        total += abs(math.log(value / published)) if value > 0 else math.inf
    return total


def claims(figures: dict[str, list[float]]) -> dict[str, bool]:
    """Return which of the published orders hold."""
    conv1, conv2, fc1, fc2 = figures["mean"]
    largest = dict(zip(LAYERS, figures["max"], strict=True))
    return {
        "mean: conv1 > conv2 > fc1": conv1 > conv2 > fc1,
        "mean: conv1 is the highest": conv1 == max(figures["mean"]),
        "mean: fc1 is the lowest": fc1 == min(figures["mean"]),
        "mean: fc2 is between conv1 and fc1": fc1 < fc2 < conv1,
        "max: the network's is in fc2": largest["fc2"] == max(figures["max"]),
        "max: fc1 is above conv2": largest["fc1"] > largest["conv2"],
    }


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


def key(settings: dict[str, Any], seed: int) -> str:
    """Return what tells one trial from another."""
    return json.dumps([settings, seed], sort_keys=True)


def read_record(path: Path) -> list[dict[str, Any]]:
    """Return the trials recorded at `path`; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def search(stage: str, data: Mnist, path: Path, limit: float) -> None:
    """Run what is left of `stage`; start no trial once `limit` seconds are over."""
    grid, seeds = STAGES[stage]
    done = {key(trial["settings"], trial["seed"]) for trial in read_record(path)}
    start = time.perf_counter()
    for settings in grid:
        for seed in seeds:
            if key(asdict(settings), seed) in done:
                continue
            if time.perf_counter() - start > limit:
                print("out of time; run the same command again to go on")
                return
            trial = {"stage": stage, **run_trial(settings, seed, data)}
            with path.open("a") as stream:
                stream.write(json.dumps(trial, separators=(",", ":")) + "\n")
            print(describe(trial), flush=True)


def best_entry(trial: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the epoch and the reference whose score is the lowest."""
    found = ((entry, name) for entry in trial["epochs"] for name in REFERENCES if name in entry)
    return min(found, key=lambda pair: pair[0][pair[1]]["score"])


def best_score(trial: dict[str, Any]) -> float:
    """Return the lowest score of `trial`."""
    entry, reference = best_entry(trial)
    return float(entry[reference]["score"])


def describe(trial: dict[str, Any]) -> str:
    """Return one line on `trial`, at the epoch and reference that fit best."""
    entry, reference = best_entry(trial)
    held = claims(entry[reference])
    settings = trial["settings"]
    options = [settings["architecture"], settings["optimizer"], f"lr={settings['lr']:g}"]
    options += [f"m={settings['momentum']:g}", f"b={settings['batch_size']}"]
    options += [settings["normalize"], f"dropout={settings['dropout']}"]
    options += [f"gamma={settings['gamma']:g}"] if settings["gamma"] != 1 else []
    options += [f"n={settings['images']}"] if settings["images"] != 60_000 else []
    means = " ".join(f"{value:.4f}" for value in entry[reference]["mean"])
    largest = " ".join(f"{value:.4f}" for value in entry[reference]["max"])
    return (
        f"{entry[reference]['score']:6.3f} claims={sum(held.values())}/{len(held)} "
        f"epoch={entry['epoch']:2d}/{settings['epochs']} {reference:5s} "
        f"acc={entry['accuracy']:.4f} mean {means} max {largest} | {' '.join(options)} "
        f"seed={trial['seed']} {trial['seconds']:.0f}s"
    )


def report_seeds(trials: list[dict[str, Any]], settings: Settings, epoch: int) -> None:
    """Print what every seed gives with `settings` at `epoch`, and how many hold each claim."""
    chosen = [trial for trial in trials if trial["settings"] == asdict(settings)]
    chosen.sort(key=lambda trial: trial["seed"])
    for reference in REFERENCES:
        print(f"\n{settings.architecture}, after {epoch} epochs, reference {reference!r}")
        print("seed  accuracy  mean of " + " ".join(LAYERS) + "  max of the same  score")
        held: Counter[str] = Counter()
        for trial in chosen:
            entry = trial["epochs"][epoch - 1]
            figures = entry[reference]
            numbers = "  ".join(f"{value:.4f}" for value in figures["mean"] + figures["max"])
            print(f"{trial['seed']:4d}  {entry['accuracy']:.4f}  {numbers}  {figures['score']:.3f}")
            held.update(name for name, holds in claims(figures).items() if holds)
        for name in claims(chosen[0]["epochs"][epoch - 1][reference]):
            print(f"  {held[name]} of {len(chosen)} seeds  {name}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stage", choices=STAGES, default="narrow")
    parser.add_argument("--report", action="store_true", help="rank the record; train nothing")
    parser.add_argument("--data", type=Path, help="folder with the MNIST idx files")
    parser.add_argument("--record", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds")
    arguments = parser.parse_args()
    if arguments.report:
        for trial in sorted(read_record(arguments.record), key=best_score):
            print(describe(trial))
        for settings in BEST:
            report_seeds(read_record(arguments.record), settings, BEST_EPOCH)
        return
    if arguments.data is None:
        parser.error("training needs --data FOLDER")
    torch.set_num_threads(1)
    search(arguments.stage, Mnist(arguments.data), arguments.record, arguments.limit)


if __name__ == "__main__":
    main()
