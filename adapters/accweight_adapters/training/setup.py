"""From a model and data to a training graph: all decisions before training.

These depend on both: whether the batch size can be free, which axis of the output has the classes,
the shape of the targets. They are determined by running the model on the first samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import ModelProto

from accweight_adapters.training.config import TrainConfig, TrainSelection
from accweight_adapters.training.graph import (
    BATCH,
    fixed_batch,
    standardised,
    trained_way,
    with_free_batch,
    with_lengths,
    with_one_output,
    without_end,
)
from accweight_adapters.training.inputs import inputs_of
from accweight_adapters.training.library import reason_of, session
from accweight_adapters.training.loss import Loss, with_loss
from accweight_adapters.training.model import TrainableModel, choose, load_model
from accweight_adapters.training.operators import check_gradients, decompose
from accweight_core.errors import FormatError
from accweight_core.samples.samples import Array, Data, Input, batches
from accweight_core.samples.targets import with_labels, with_values

TRIED_BATCHES: Final = 2
"""Batches that a model with a freed batch size must compute correctly."""


USUAL_BATCH: Final = 32


@dataclass
class Network:
    """A model ready for data.

    Attributes:
        source: Its file.
        plain: The original model, with the parameter names of checkpoints.
        forward: The model to train, without its loss.
        inputs: Its inputs.
        selection: Trained and frozen parameters.
        fixed_batch: Its batch size; None if it is dynamic.
        notes: Remarks for the user.
    """

    source: Path
    plain: ModelProto
    forward: ModelProto
    inputs: tuple[Input, ...]
    selection: TrainSelection
    fixed_batch: int | None = None
    notes: list[str] = field(default_factory=list)


def network(config: TrainConfig) -> Network:
    """Return the model with its parameters selected and all operators trainable.

    Raises:
        FormatError: If it cannot be trained; says why.
        UnknownNameError: If an output or pattern does not exist.
    """
    path = config.model
    model = load_model(path)
    with_one_output(model.proto, config.output, path)
    plain = ModelProto()
    plain.CopyFrom(model.proto)
    ended = without_end(model.proto, config.loss)
    forward = standardised(model.proto, path)
    selection, unused = _reached(model, forward, config)
    notes = [*model.notes, *filter(None, [ended, unused])]
    check_gradients(forward, selection.trained, path)
    return Network(path, plain, forward, inputs_of(forward, path), selection, notes=notes)


def _reached(
    model: TrainableModel, forward: ModelProto, config: TrainConfig
) -> tuple[TrainSelection, str]:
    """Return the selection without parameters that the output does not depend on, and a note."""
    there = {tensor.name for tensor in forward.graph.initializer}
    model.roles = {name: role for name, role in model.roles.items() if name in there}
    selection = choose(model, config.train, config.freeze)
    reached, _ = trained_way(forward, selection.trained)
    lost = [name for name in selection.trained if name not in reached]
    if not reached:
        raise FormatError(model.path, f"the output does not depend on {', '.join(lost[:3])}")
    if not lost:
        return selection, ""
    trained = tuple(name for name in selection.trained if name in reached)
    frozen = tuple(name for name in model.roles if name not in reached)
    unused = f"{len(lost)} parameters ({lost[0]!r} ...) have no effect on it"
    return TrainSelection(trained, frozen), unused


# ---------------------------------------------------------------- with data


@dataclass
class Setup:
    """A network, its loss and its data, ready for training.

    Attributes:
        network: The network.
        training: The graph with its loss.
        loss: The loss function.
        data: Training samples.
        validation: Validation samples, if any.
        batch_size: Samples per update.
        whole_batches: Whether an incomplete last batch is left out.
        classes_last: Whether classes are along the last axis of scores.
    """

    network: Network
    training: ModelProto
    loss: Loss
    data: Data
    validation: Data | None
    batch_size: int
    whole_batches: bool
    classes_last: bool


def setup(net: Network, config: TrainConfig, data: Data, validation: Data | None) -> Setup:
    """Return the network with its loss, and the data in the form that they need.

    Raises:
        FormatError: If the samples do not fit the model, or the targets the loss.
    """
    size = _batch_size(net, config, data)
    scores = _scores(net, data, size)
    classes_last = False
    shape: tuple[int, ...] = scores.shape[1:]
    if config.loss.takes_labels:
        classes_last = _classes_last(scores, data)
        classes, shape = _classes(net, scores, classes_last)
        data = with_labels(data, classes, shape)
        validation = with_labels(validation, classes, shape) if validation else None
    else:
        unit = config.loss is Loss.bce_with_logits
        data = with_values(data, shape, between_0_and_1=unit)
        validation = with_values(validation, shape, between_0_and_1=unit) if validation else None
    training = ModelProto()
    training.CopyFrom(net.forward)
    with_lengths(training, [array.shape[1:] for array in data.inputs])
    net.notes += decompose(training, net.selection.trained, net.source)
    first: str | int = net.fixed_batch or BATCH
    with_loss(training, config.loss, (first, *shape), classes_last=classes_last)
    whole = net.fixed_batch is not None
    for part in (data, validation):
        if whole and part is not None and len(part) < size:
            raise FormatError(part.path, f"has {len(part)} samples; the model takes {size} at once")
    if whole and len(data) % size:
        net.notes.append(f"of every epoch, the last {len(data) % size} samples are left out")
    return Setup(net, training, config.loss, data, validation, size, whole, classes_last)


def _batch_size(net: Network, config: TrainConfig, data: Data) -> int:
    """Return the samples per update; make a fixed batch size dynamic if the model allows it."""
    fixed = fixed_batch(net.forward)
    if fixed is None:
        return min(config.batch_size or USUAL_BATCH, len(data))
    freed = with_free_batch(net.forward, fixed)
    if len(data) >= TRIED_BATCHES * fixed and _is_same(net, freed, data, fixed):
        net.forward, net.fixed_batch = freed, None
        net.notes.append(f"the model was exported for batches of {fixed}; it takes any number now")
        return min(config.batch_size or USUAL_BATCH, len(data))
    net.fixed_batch = fixed
    if config.batch_size not in (None, fixed):
        raise FormatError(
            net.source,
            f"only takes batches of {fixed} samples, so --batch-size {config.batch_size} is not "
            "possible; export it with a dynamic batch axis",
        )
    net.notes.append(
        f"the model only takes batches of {fixed}, so that is the batch size; export it "
        "with a dynamic batch axis to choose another"
    )
    return fixed


def _is_same(net: Network, freed: ModelProto, data: Data, fixed: int) -> bool:
    """Tell whether the freed model gives the same for all samples as the original in batches."""
    first = data.taken(slice(0, TRIED_BATCHES * fixed))
    try:
        before = session(net.forward.SerializeToString())
        after = session(freed.SerializeToString())
        parts = [
            before.run(None, _feeds(net.inputs, batch))[0]
            for batch in batches(first, net.inputs, fixed, whole=True)
        ]
        (everything,) = batches(first, net.inputs, len(first), whole=True)
        together = after.run(None, _feeds(net.inputs, everything))[0]
    except Exception:  # then it cannot be freed
        return False
    expected = np.concatenate(parts)
    if together.shape != expected.shape or together.shape[0] != len(first):
        return False
    return bool(np.allclose(together, expected, rtol=1e-4, atol=1e-5))


def _feeds(inputs: Sequence[Input], batch: Sequence[Array]) -> dict[str, Array]:
    return {wanted.name: array for wanted, array in zip(inputs, batch, strict=False)}


def _scores(net: Network, data: Data, size: int) -> Array:
    """Return the model's output for the first batch."""
    first = next(batches(data, net.inputs, min(size, len(data)), whole=False))
    try:
        run: Any = session(net.forward.SerializeToString())
        scores = np.asarray(run.run(None, _feeds(net.inputs, first))[0])
    except Exception as error:
        raise FormatError(
            net.source, f"does not take the samples in {data.path}: {reason_of(error)}"
        ) from error
    if scores.dtype != np.float32 or scores.ndim == 0 or len(scores) != len(first[0]):
        raise FormatError(
            net.source,
            f"gives {scores.dtype} of shape {scores.shape} for {len(first[0])} samples; a loss "
            "takes float32 with samples along the first axis",
        )
    return scores


def _classes_last(scores: Array, data: Data) -> bool:
    """Tell from the targets whether classes are along the last axis, as in language models."""
    inner = data.targets.shape[1:]
    return scores.ndim > 2 and inner == scores.shape[1:-1] and inner != scores.shape[2:]


def _classes(net: Network, scores: Array, classes_last: bool) -> tuple[int, tuple[int, ...]]:
    """Return the number of classes, and the shape of the labels of a sample."""
    if scores.ndim < 2 or scores.shape[-1 if classes_last else 1] < 2:
        raise FormatError(
            net.source,
            f"gives scores of shape {scores.shape}; cross_entropy takes one for each of two "
            "classes or more: for one output use bce_with_logits or mse",
        )
    if classes_last:
        return scores.shape[-1], scores.shape[1:-1]
    return scores.shape[1], scores.shape[2:]
