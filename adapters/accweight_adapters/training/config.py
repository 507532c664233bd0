"""What the user asks of a training, and which parameters that comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from accweight_adapters.training.loss import Loss


class OptimizerKind(StrEnum):
    """What turns gradients into updates."""

    adamw = "adamw"
    sgd = "sgd"


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """How weights are updated.

    Attributes:
        kind: Which rule.
        learning_rate: Its learning rate.
        weight_decay: Share of a weight, times learning rate, taken off at every update of AdamW.
        threads: Threads of the runtime; None for as many as processors.
    """

    kind: OptimizerKind
    learning_rate: float
    weight_decay: float
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Epochs:
    """How long to train, and what to keep.

    Attributes:
        last: Number of the last epoch.
        first: Number of the first one; above 1 where a run is resumed.
        save_every: Epochs from one checkpoint to the next.
        seed: Of the order of samples.
    """

    last: int
    first: int = 1
    save_every: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """All that the user asks for.

    Attributes:
        model: The ONNX model.
        data: The samples to train on.
        out: Folder of the run.
        loss: What is made small.
        optimizer: How weights are updated.
        epochs: How long.
        output: Output of the model that the loss is taken of; the only one if None.
        train: Patterns of parameters to train; all if empty.
        freeze: Patterns of parameters to leave as they are.
        batch_size: Samples per update; None for the usual, or what the model is made for.
        validation: Another file of samples, or a share of `data`; None for none.
        resume: Whether to go on with the run in `out`.
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
    """Which parameters are trained, and which stay as they are."""

    trained: tuple[str, ...]
    frozen: tuple[str, ...]
