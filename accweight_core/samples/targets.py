"""Targets in the form that a loss takes: class numbers, or values like those of the output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from accweight_core.errors import FormatError
from accweight_core.samples.samples import Data


def with_labels(data: Data, classes: int, shape: tuple[int, ...]) -> Data:
    """Return the data with class numbers as targets.

    Args:
        data: Samples and targets.
        classes: Number of classes of the model.
        shape: Shape of the labels of one sample.

    Raises:
        FormatError: If a target is not a class of the model, or their shape does not fit.
    """
    targets, notes = data.targets, list(data.notes)
    per_sample = math.prod(shape)
    if targets.shape[1:] == (classes, *shape) and classes > 1:
        if not (((targets == 0) | (targets == 1)).all() and (targets.sum(axis=1) == 1).all()):
            raise FormatError(data.path, "targets have a column per class, but are not one-hot")
        notes.append(f"targets are one-hot; the column of the 1 of {classes} is the class")
        targets = targets.argmax(axis=1)
    if targets.size != len(targets) * per_sample:
        raise FormatError(
            data.path,
            f"targets have shape {data.targets.shape}; expected one class per sample, "
            f"{(len(targets), *shape)}",
        )
    labels = targets.astype(np.int64)
    if (labels != targets).any():
        raise FormatError(data.path, "targets are not whole numbers; cross_entropy takes classes")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise FormatError(
            data.path,
            f"targets go from {lowest} to {highest}; the model has {classes} classes, "
            f"numbered from 0 to {classes - 1}",
        )
    return replace(data, targets=labels.reshape(len(labels), *shape), notes=tuple(notes))


def with_values(data: Data, shape: tuple[int, ...], *, between_0_and_1: bool) -> Data:
    """Return the data with float32 targets in the shape of the model's output.

    Raises:
        FormatError: If they have another shape, or are outside the range of the loss.
    """
    targets = data.targets
    if targets.size != len(targets) * math.prod(shape) or not _same_but_ones(
        targets.shape[1:], shape
    ):
        raise FormatError(
            data.path,
            f"targets have shape {targets.shape}; the model gives {(len(targets), *shape)}",
        )
    if between_0_and_1 and (targets.min() < 0 or targets.max() > 1):
        raise FormatError(
            data.path,
            f"targets go from {targets.min()} to {targets.max()}; bce_with_logits takes 0 to 1",
        )
    values = targets.astype(np.float32).reshape(len(targets), *shape)
    return replace(data, targets=values)


def _same_but_ones(shape: Sequence[int], other: Sequence[int]) -> bool:
    return [n for n in shape if n != 1] == [n for n in other if n != 1]
