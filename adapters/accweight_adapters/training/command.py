"""``accweight train``: an ONNX model and data in, a run of checkpoints out.

Training needs onnxruntime-training, reading what it leaves does not. Everything heavy is imported
when the command runs, never before: asking for help is quick, and needs neither.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from accweight_core.cli.options import AsJson


class LossName(StrEnum):
    """What is made small."""

    cross_entropy = "cross_entropy"
    mse = "mse"
    bce_with_logits = "bce_with_logits"
    l1 = "l1"


class OptimizerName(StrEnum):
    """What turns gradients into updates."""

    adamw = "adamw"
    sgd = "sgd"


def train(
    model: Annotated[Path, typer.Argument(help="An ONNX model, as exported for use.")],
    data: Annotated[
        Path,
        typer.Option(
            help="Samples and targets (.npz): arrays named as the model's inputs, or x, and y."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder for the checkpoints.")],
    loss: Annotated[LossName, typer.Option(help="What is made small.")] = LossName.cross_entropy,
    optimizer: Annotated[
        OptimizerName, typer.Option(help="How weights are updated.")
    ] = OptimizerName.adamw,
    epochs: Annotated[int, typer.Option(min=1, help="Walks over the data.")] = 10,
    learning_rate: Annotated[
        float | None, typer.Option(help="0.001 for adamw and 0.01 for sgd by default.")
    ] = None,
    weight_decay: Annotated[float, typer.Option(min=0.0, help="Weight decay of adamw.")] = 0.01,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples per update; 32 by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the order of samples.")] = 0,
    validation: Annotated[
        str | None,
        typer.Option(help="Samples that are not trained on: another .npz, or a share as 0.1."),
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(help="Leave parameters of this name as they are (pattern).")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--train", help="Train parameters of this name alone (pattern)."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Output of the model to train on, if it has several.")
    ] = None,
    save_every: Annotated[
        int, typer.Option(min=1, help="Epochs from one checkpoint to the next.")
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in OUT, up to --epochs.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; as many as processors by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Train an ONNX model on your data with ONNX Runtime, keeping a checkpoint per epoch."""
    from accweight_adapters.training.config import (
        Epochs,
        OptimizerConfig,
        OptimizerKind,
        TrainConfig,
    )
    from accweight_adapters.training.library import runtime
    from accweight_adapters.training.loss import Loss
    from accweight_adapters.training.progress import document, progress, summary
    from accweight_adapters.training.run import run_training
    from accweight_core.cli import tables

    runtime()  # before anything is read: what is missing is told at once
    rate = _rate(optimizer, learning_rate)
    config = TrainConfig(
        model=model,
        data=data,
        out=out,
        loss=Loss(loss.value),
        optimizer=OptimizerConfig(OptimizerKind(optimizer.value), rate, weight_decay, threads),
        epochs=Epochs(last=epochs, save_every=save_every, seed=seed),
        output=output,
        train=tuple(only or ()),
        freeze=tuple(freeze or ()),
        batch_size=batch_size,
        validation=_validation(validation),
        resume=resume,
    )
    with progress(epochs) as watch:
        result = run_training(config, watch, tables.remark)
    tables.show(document(result) if json else summary(result))


def _rate(optimizer: OptimizerName, given: float | None) -> float:
    usual = 0.001 if optimizer is OptimizerName.adamw else 0.01
    rate = usual if given is None else given
    if not 0 < rate < float("inf"):
        raise typer.BadParameter(f"{rate} is not a learning rate; expected a number above 0")
    return rate


def _validation(text: str | None) -> Any:
    """Return a share between 0 and 1, else the path of a file."""
    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        return Path(text)
    if not 0 < share < 1:
        raise typer.BadParameter(f"{text} is not a share of the data; expected one such as 0.1")
    return share
