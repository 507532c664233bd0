"""``accweight train``: from an ONNX model and data to a run of checkpoints.

Training needs onnxruntime-training, reading its checkpoints does not. Heavy imports happen when the
command runs, so that --help is quick and needs none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from accweight_core.cli import options


@click.command()
@click.argument("model", type=options.FILE, help="An ONNX model, as exported for use.")
@click.option(
    "--data",
    required=True,
    type=options.FILE,
    metavar="FILE",
    help="Samples and targets (.npz): arrays named as the model's inputs, or x, and y.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=options.OUT,
    metavar="FOLDER",
    help="New folder for the checkpoints.",
)
@click.option(
    "--loss",
    type=click.Choice(["cross_entropy", "mse", "bce_with_logits", "l1"]),
    default="cross_entropy",
    show_default=True,
    help="Loss function.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["adamw", "sgd"]),
    default="adamw",
    show_default=True,
    help="Optimizer.",
)
@click.option(
    "--epochs",
    type=options.AT_LEAST_ONE,
    default=10,
    show_default=True,
    metavar="N",
    help="Epochs to train.",
)
@click.option(
    "--learning-rate",
    type=float,
    metavar="RATE",
    help="0.001 for adamw and 0.01 for sgd by default.",
)
@click.option(
    "--weight-decay",
    type=click.FloatRange(min=0.0),
    default=0.01,
    show_default=True,
    metavar="DECAY",
    help="Weight decay of adamw.",
)
@click.option(
    "--batch-size",
    type=options.AT_LEAST_ONE,
    metavar="N",
    help="Samples per update; 32 by default.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the order of samples.",
)
@click.option(
    "--validation",
    metavar="FILE|SHARE",
    help="Validation samples: another .npz, or a share such as 0.1.",
)
@click.option(
    "--freeze",
    multiple=True,
    metavar="PATTERN",
    help="Do not train parameters of this name (pattern).",
)
@click.option(
    "--train",
    "only",
    multiple=True,
    metavar="PATTERN",
    help="Train only parameters of this name (pattern).",
)
@click.option(
    "--output", metavar="NAME", help="Output of the model to train on, if it has several."
)
@click.option(
    "--save-every",
    type=options.AT_LEAST_ONE,
    default=1,
    show_default=True,
    metavar="N",
    help="Epochs between checkpoints.",
)
@click.option("--resume", is_flag=True, help="Continue the run in OUT, up to --epochs.")
@click.option(
    "--threads",
    type=options.AT_LEAST_ONE,
    metavar="N",
    help="Threads; one per processor by default.",
)
@options.as_json
def train(
    model: Path,
    data: Path,
    out: str,
    loss: str,
    optimizer: str,
    epochs: int,
    learning_rate: float | None,
    weight_decay: float,
    batch_size: int | None,
    seed: int,
    validation: str | None,
    freeze: tuple[str, ...],
    only: tuple[str, ...],
    output: str | None,
    save_every: int,
    threads: int | None,
    *,
    resume: bool,
    json: bool,
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
    from accweight_core.cli import output as printed
    from accweight_core.io.target import target_at

    folder = target_at(out, "a run")
    runtime()  # report a missing library before reading anything
    rate = _rate(optimizer, learning_rate)
    config = TrainConfig(
        model=model,
        data=data,
        out=folder,
        loss=Loss(loss),
        optimizer=OptimizerConfig(OptimizerKind(optimizer), rate, weight_decay, threads),
        epochs=Epochs(last=epochs, save_every=save_every, seed=seed),
        output=output,
        train=only,
        freeze=freeze,
        batch_size=batch_size,
        validation=_validation(validation),
        resume=resume,
    )
    with progress(epochs) as watch:
        result = run_training(config, watch, printed.remark)
    printed.show(document(result) if json else summary(result))


def _rate(optimizer: str, given: float | None) -> float:
    usual = 0.001 if optimizer == "adamw" else 0.01
    rate = usual if given is None else given
    if not 0 < rate < float("inf"):
        raise click.BadParameter(f"{rate} is not a learning rate; expected a number above 0")
    return rate


def _validation(text: str | None) -> Any:
    """Return a share between 0 and 1, or the path of a file."""
    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        return Path(text)
    if not 0 < share < 1:
        raise click.BadParameter(f"{text} is not a share of the data; expected one such as 0.1")
    return share
