"""From a graph with a loss to a training session, by way of ONNX Runtime's artifacts.

The artifacts are written to a temporary folder: a model with gradients, one without, a checkpoint
of the initial weights, and the optimizer as a model of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import ModelProto

from accweight_adapters.training.config import OptimizerConfig, OptimizerKind, TrainSelection
from accweight_adapters.training.library import NEWEST_IR, options, quiet, reason_of, runtime
from accweight_core.errors import FormatError

TRAINING, EVALUATION = "training_model.onnx", "eval_model.onnx"
OPTIMIZER, CHECKPOINT = "optimizer_model.onnx", "checkpoint"
ADAM_EPSILON: Final = 1e-8
ADAM_OF_TORCH: Final = 0


def build(
    model: ModelProto,
    selection: TrainSelection,
    config: OptimizerConfig,
    folder: Path,
    source: Path,
) -> None:
    """Write the artifacts for a model with the outputs loss and scores.

    Raises:
        FormatError: If the runtime cannot build the gradients; includes its reason.
    """
    artifacts = runtime("onnxruntime.training.artifacts")
    blocks = runtime("onnxruntime.training.onnxblock")
    if config.kind is OptimizerKind.adamw:
        block = blocks.optim.AdamW(eps=ADAM_EPSILON, weight_decay=config.weight_decay)
    else:
        block = blocks.optim.SGD()
    try:
        with quiet():
            artifacts.generate_artifacts(
                model,
                requires_grad=list(selection.trained),
                frozen_params=list(selection.frozen),
                optimizer=block,
                artifact_directory=str(folder),
            )
    except Exception as error:  # native code and a checker with its own exceptions
        reason = f"onnxruntime-training cannot build its gradients: {reason_of(error)}"
        raise FormatError(source, reason) from error
    _correct_optimizer(folder / OPTIMIZER)


def _correct_optimizer(path: Path) -> None:
    """Make the optimizer's model readable, and its AdamW equal to torch's.

    The library gives it a version of the format that it rejects itself, and applies weight decay
    after the update where torch applies it before.
    """
    model = onnx.load(path)
    model.ir_version = NEWEST_IR
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "adam_mode":
                attribute.i = ADAM_OF_TORCH
    onnx.save(model, path)


@dataclass
class Session:
    """A model in training: its state and its update functions.

    Attributes:
        state: Parameters and properties, as the runtime's `CheckpointState`.
        module: Computes losses and gradients.
        optimizer: Updates the parameters.
    """

    state: Any
    module: Any
    optimizer: Any

    def step(self, batch: list[Any]) -> tuple[float, Any]:
        """Make one update; return loss and scores before it."""
        loss, scores = self.module.train()(*batch)
        self.optimizer.step()
        self.module.lazy_reset_grad()
        return float(loss), scores

    def evaluate(self, batch: list[Any]) -> tuple[float, Any]:
        """Return loss and scores without an update."""
        loss, scores = self.module.eval()(*batch)
        return float(loss), scores


def opened(
    folder: Path, config: OptimizerConfig, source: Path, checkpoint: Path | None = None
) -> Session:
    """Return a session from the artifacts, with the initial weights or those of a checkpoint.

    Raises:
        FormatError: If the runtime lacks an operator for the gradients.
    """
    api = runtime("onnxruntime.training.api")
    try:
        with quiet():
            state = api.CheckpointState.load_checkpoint(str(checkpoint or folder / CHECKPOINT))
            module = api.Module(
                str(folder / TRAINING),
                state,
                str(folder / EVALUATION),
                session_options=options(config.threads),
            )
            optimizer = api.Optimizer(str(folder / OPTIMIZER), module)
    except Exception as error:
        reason = f"onnxruntime-training cannot train this model: {reason_of(error)}"
        raise FormatError(source, reason) from error
    optimizer.set_learning_rate(config.learning_rate)
    return Session(state, module, optimizer)
