"""The settings that the search for the published experiment tries: networks, optimisers, grids.

Names of architectures are kept in the record, so what a name means does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
