"""The user's configuration of a training, and the selection of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from accweight_adapters.training.loss import Loss


class OptimizerKind(StrEnum):
    """Update rule."""

    adamw = "adamw"
    sgd = "sgd"


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """Configuration of the optimizer.

    Attributes:
        kind: Update rule.
        learning_rate: Its learning rate.
        weight_decay: Weight decay of AdamW.
        threads: Threads of the runtime; None for one per processor.
    """

    kind: OptimizerKind
    learning_rate: float
    weight_decay: float
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Epochs:
    """Epochs to train, and checkpoints to keep.

    Attributes:
        last: Number of the last epoch.
        first: Number of the first epoch; above 1 in a resumed run.
        save_every: Epochs between checkpoints.
        seed: Seed of the order of samples.
    """

    last: int
    first: int = 1
    save_every: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The whole configuration.

    Attributes:
        model: The ONNX model.
        data: The training samples.
        out: Folder of the run.
        loss: The loss function.
        optimizer: The optimizer.
        epochs: Epochs to train.
        output: Output of the model that enters the loss; None for the only one.
        train: Patterns of parameters to train; all if empty.
        freeze: Patterns of parameters not to train.
        batch_size: Samples per update; None for the default, or for the model's fixed batch size.
        validation: File of validation samples, or a share of `data`; None for none.
        resume: Whether to continue the run in `out`.
    """

    model: Path
    data: Path
    out: Path
    loss: Loss
    optimizer: OptimizerConfig
    epochs: Epochs
    output: str | None = None
    train: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    batch_size: int | None = None
    validation: Path | float | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True)
class TrainSelection:
    """Trained and frozen parameters."""

    trained: tuple[str, ...]
    frozen: tuple[str, ...]
