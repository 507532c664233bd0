"""Writes the checkpoints of a real run of Lightning into the folder named.

Called by `tests/test_lightning.py`, where tests of the callback have imported Lightning before.
The settings are objects of the classes of users, which make the files unreadable for
``torch.load(weights_only=True)``. The bare network's weights are written beside, in `bare`.
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Settings:
    """What a user's settings hold."""

    class Optimiser(Enum):
        """A class inside a class, which is pickled by a call of `getattr`."""

        ADAM = "adam"

    rate: float = 0.05
    folder: Path = Path("data")
    optimiser: Optimiser = Optimiser.ADAM


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)
    )


class Module(pl.LightningModule):
    """A network under `model`, and settings of all kinds."""

    def __init__(self, settings: Settings, **rest: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = network()
        self.rate = settings.rate

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        """Return the loss of a batch."""
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Log the loss of a batch."""
        self.log("val_loss", self.training_step(batch, index))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam, whose state is three times the weights."""
        return torch.optim.Adam(self.parameters(), lr=self.rate)


def write(folder: Path) -> None:
    """Train three epochs of four steps, with a checkpoint after each and a copy of the last."""
    torch.manual_seed(0)
    images = torch.randn(32, 1, 4, 4)
    rows = TensorDataset(images, (images.mean((1, 2, 3)) > 0).long())
    module = Module(
        Settings(),
        arguments=argparse.Namespace(workers=2),
        activation=nn.functional.relu,
        scale=functools.partial(torch.mul, 2),
        backbone=nn.Linear(2, 2),
        sizes={1, 2},
    )
    keep = ModelCheckpoint(folder / "run", monitor="val_loss", save_top_k=-1, save_last=True)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        callbacks=[keep],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(rows, 8), DataLoader(rows, 32))
    (folder / "bare").mkdir()
    torch.save(module.model.state_dict(), folder / "bare" / "epoch_2.pt")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
