"""How outputs are held against targets: loss, accuracy and confusion, as sums over samples.

What the targets are decides: class numbers are held against the scores of the classes by cross
entropy, numbers against the output by the mean squared error.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

import numpy as np

from accweight_core.errors import ArgumentValueError
from accweight_core.probes.features import confusion
from accweight_core.probes.known import ratio
from accweight_core.probes.probe import Array, Schema, array
from accweight_core.samples.samples import Data
from accweight_core.samples.targets import with_labels, with_values

MOST_CLASSES = 256
"""Classes up to which confusion is stored; a language model has tens of thousands."""

LEAST = float(np.finfo(np.float32).tiny)
"""Least probability by which gradients are divided."""

SUM_ERROR = 1e-3
"""How far the sum of probabilities may be from 1."""

Loss = Literal["auto", "cross_entropy", "bce", "mse"]
Form = Literal["auto", "scores", "probabilities"]


def check_targets(data: Data) -> None:
    """Raise unless there are targets.

    Raises:
        ArgumentValueError: If there are none.
    """
    if not data.has_targets:
        raise ArgumentValueError(
            f"{data.path}: has no targets to evaluate against; save them as y, or put images "
            "into a folder per class"
        )


class Scoring(Protocol):
    """How outputs are held against the targets: sums over samples."""

    def schema(self, data: Data) -> Schema:
        """Return the arrays that are stored."""

    def reset(self) -> None:
        """Start from nothing."""

    def add(self, scores: Array, rows: Array, /) -> None:
        """Add some samples."""

    def result(self) -> dict[str, Array]:
        """Return loss, and what else there is, of the samples added."""

    def gradient(self, scores: Array, rows: Array, /) -> Array:
        """Return the gradient of the loss of each sample with respect to its output.

        Args:
            scores: The output, (samples, ...).
            rows: The samples.

        Returns:
            Of the same shape, float64. The mean of the samples' losses is the loss.
        """


def scoring_of(loss: Loss, form: Form, data: Data, scores: Array) -> Scoring:
    """Return how outputs are held against the targets.

    Args:
        loss: The loss, or "auto".
        form: What the outputs are, or "auto".
        data: Samples with targets.
        scores: The output for some samples.

    Raises:
        ArgumentValueError: If a loss of values is to hold class numbers against several outputs.
    """
    is_class = data.targets.dtype.kind in "biu"
    if loss == "auto":
        single = scores.size == len(scores)
        loss = "mse" if not is_class else "bce" if single else "cross_entropy"
    if loss == "cross_entropy":
        axis = _class_axis(data.targets, scores)
        others = scores.shape[1:axis] + scores.shape[axis + 1 :]
        last = np.moveaxis(scores, axis, -1)
        of = form == "probabilities" or (form == "auto" and are_probabilities(last))
        labels = with_labels(data, scores.shape[axis], others).targets
        return _Classes(labels, scores.shape[axis], axis, are_probabilities=of)
    if is_class and data.targets.size == len(data.targets) and scores.size > len(scores):
        shape = ", ".join(map(str, scores.shape[1:]))
        raise ArgumentValueError(
            f"{data.path}: targets are class numbers, one per sample; {loss} compares values with "
            f"each of the {shape} outputs. Leave out {loss}: classes are held against the output "
            "by cross entropy; or save targets with a column per class, 0 or 1"
        )
    fitted = with_values(data, scores.shape[1:], between_0_and_1=loss == "bce")
    if loss == "mse":
        return _Squares(fitted.targets)
    of = form == "probabilities" or (form == "auto" and bool(((scores > 0) & (scores < 1)).all()))
    return _Binary(fitted.targets, are_probabilities=of)


def _class_axis(targets: Array, scores: Array) -> int:
    """Return the axis of the classes: 1, or the last one if the targets have the axes before."""
    if scores.ndim < 2:
        raise ArgumentValueError(
            f"the output has shape {scores.shape[1:]} per sample; cross_entropy needs a score per "
            "class"
        )
    is_last = targets.shape[1:] == scores.shape[1:-1] and targets.ndim > 1
    return scores.ndim - 1 if is_last else 1


class _Classes:
    """Sums of cross entropy and confusion."""

    def __init__(self, labels: Array, classes: int, axis: int, *, are_probabilities: bool) -> None:
        self._labels = labels
        self._axis = axis
        self.classes = classes
        self._are_probabilities = are_probabilities
        self.reset()

    def schema(self, data: Data) -> Schema:
        """Return the arrays that are stored."""
        count = self.classes
        fields = [
            array("loss", "step", "mean cross entropy, in nats"),
            array("accuracy", "step", "share of samples whose largest score is the label"),
        ]
        lengths: dict[str, tuple[str, ...]] = {}
        if count <= MOST_CLASSES:
            known = data.class_names
            names = known if len(known) == count else tuple(map(str, range(count)))
            lengths = {"class": names, "predicted": names}
            fields += [
                array("class_accuracy", "step class", "accuracy per class"),
                array("confusion", "step class predicted",
                      "samples of a class (down) by the class predicted (across)"),
            ]  # fmt: skip
        of = "probabilities" if self._are_probabilities else "scores"
        said = {"loss": "cross_entropy", "output_is": of}
        return Schema.of(lengths, *fields, attributes=said)

    def reset(self) -> None:
        """Start from nothing."""
        side = self.classes if self.classes <= MOST_CLASSES else 0
        self._loss, self._right, self._count = 0.0, 0, 0
        self._confusion = np.zeros((side, side))

    def add(self, scores: Array, rows: Array) -> None:
        """Add some samples."""
        last = np.moveaxis(scores, self._axis, -1).reshape(-1, self.classes)
        labels = self._labels[rows].reshape(-1)
        if self._are_probabilities:
            _check_probabilities(last)
        logs = log_probabilities(last, are_probabilities=self._are_probabilities)
        self._loss -= float(np.take_along_axis(logs, labels[:, None], 1).sum())
        predicted = last.argmax(axis=1)
        self._right += int(np.count_nonzero(predicted == labels))
        self._count += len(labels)
        if self._confusion.size:
            self._confusion += confusion(labels, predicted, self.classes)

    def result(self) -> dict[str, Array]:
        """Return the arrays of the step."""
        found: dict[str, Any] = {
            "loss": np.float64(self._loss / self._count),
            "accuracy": np.float64(self._right / self._count),
        }
        if self._confusion.size:
            each = ratio(np.diagonal(self._confusion), self._confusion.sum(axis=1))
            found |= {"class_accuracy": each, "confusion": self._confusion}
        return found

    def gradient(self, scores: Array, rows: Array) -> Array:
        """Return that of the mean cross entropy of a sample, over its positions."""
        last = np.moveaxis(scores, self._axis, -1)
        labels = self._labels[rows].reshape(last.shape[:-1])
        right = np.arange(self.classes) == labels[..., None]
        if self._are_probabilities:
            found = np.where(right, -1 / np.maximum(last.astype(np.float64), LEAST), 0.0)
        else:
            flat = last.reshape(-1, self.classes)
            found = np.exp(log_probabilities(flat, are_probabilities=False)).reshape(last.shape)
            found -= right
        return np.moveaxis(found, -1, self._axis) * (len(labels) / max(labels.size, 1))


class _Squares:
    """Sums of squared errors."""

    def __init__(self, targets: Array) -> None:
        self._targets = targets.astype(np.float64)
        self._variance = float(((self._targets - self._targets.mean(axis=0)) ** 2).sum())
        self.reset()

    def schema(self, data: Data) -> Schema:
        """Return the arrays that are stored."""
        return Schema.of(
            {},
            array("loss", "step", "mean squared error"),
            array("r2", "step", "share of the variance of the targets that is explained"),
            attributes={"loss": "mse"},
        )

    def reset(self) -> None:
        """Start from nothing."""
        self._loss, self._count = 0.0, 0

    def add(self, outputs: Array, rows: Array) -> None:
        """Add some samples."""
        targets = self._targets[rows]
        self._count += targets.size
        self._loss += float(((outputs.astype(np.float64) - targets) ** 2).sum())

    def result(self) -> dict[str, Array]:
        """Return the arrays of the step."""
        r2 = 1 - self._loss / self._variance if self._variance else math.nan
        return {"loss": np.asarray(self._loss / self._count), "r2": np.asarray(r2)}

    def gradient(self, outputs: Array, rows: Array) -> Array:
        """Return that of the mean squared error of a sample."""
        apart = outputs.astype(np.float64) - self._targets[rows]
        return np.asarray(2 * apart * (len(apart) / max(apart.size, 1)))


class _Binary:
    """Sums of binary cross entropy."""

    def __init__(self, targets: Array, *, are_probabilities: bool) -> None:
        self._targets = targets.astype(np.float64)
        self._are_probabilities = are_probabilities
        self.reset()

    def schema(self, data: Data) -> Schema:
        """Return the arrays that are stored."""
        of = "probabilities" if self._are_probabilities else "scores"
        return Schema.of(
            {},
            array("loss", "step", "mean binary cross entropy, in nats"),
            array("accuracy", "step", "share of outputs on the side of the target"),
            attributes={"loss": "bce", "output_is": of},
        )

    def reset(self) -> None:
        """Start from nothing."""
        self._loss, self._right, self._count = 0.0, 0, 0

    def add(self, outputs: Array, rows: Array) -> None:
        """Add some samples."""
        targets, found = self._targets[rows], outputs.astype(np.float64)
        self._count += targets.size
        border = 0.5 if self._are_probabilities else 0.0
        self._right += int(np.count_nonzero((found > border) == (targets > 0.5)))
        if self._are_probabilities:
            _check_probabilities(found)
            tiny = np.finfo(np.float64).tiny
            yes, no = np.log(np.maximum(found, tiny)), np.log(np.maximum(1 - found, tiny))
            self._loss -= float((targets * yes + (1 - targets) * no).sum())
        else:
            self._loss += float((np.logaddexp(0, found) - targets * found).sum())

    def result(self) -> dict[str, Array]:
        """Return the arrays of the step."""
        return {
            "loss": np.asarray(self._loss / self._count),
            "accuracy": np.asarray(self._right / self._count),
        }

    def gradient(self, outputs: Array, rows: Array) -> Array:
        """Return that of the mean binary cross entropy of a sample."""
        targets, found = self._targets[rows], outputs.astype(np.float64)
        if self._are_probabilities:
            apart = (found - targets) / np.maximum(found * (1 - found), LEAST)
        else:
            apart = np.exp(-np.logaddexp(0, -found)) - targets
        return np.asarray(apart * (len(apart) / max(apart.size, 1)))


def _check_probabilities(found: Array) -> None:
    """Raise if numbers that were taken for probabilities are none.

    Raises:
        ArgumentValueError: If one is below 0 or above 1.
    """
    if found.size and (found.min() < -SUM_ERROR or found.max() > 1 + SUM_ERROR):
        raise ArgumentValueError(
            f"outputs go from {found.min():.3g} to {found.max():.3g}, so they are no "
            "probabilities; say --probe evaluate:output_is=scores"
        )


def finite_samples(outputs: Array) -> Array:
    """Return (samples,): whether a sample has a finite number among its outputs, if it has any."""
    flat = outputs.reshape(len(outputs), math.prod(outputs.shape[1:]))
    return np.asarray(np.isfinite(flat).any(axis=1) | (flat.shape[1] == 0))


def are_probabilities(scores: Array) -> bool:
    """Tell whether scores, classes along the last axis, are probabilities: a softmax came last."""
    sums = scores.sum(axis=-1)
    return bool((scores >= 0).all() and (np.abs(sums - 1) < SUM_ERROR).all())


def log_probabilities(scores: Array, *, are_probabilities: bool) -> Array:
    """Return the logarithms of the probabilities of classes, float64.

    Args:
        scores: (samples, classes).
        are_probabilities: Whether they are probabilities already, and not their logarithms up to a
            constant.
    """
    wide = scores.astype(np.float64)
    if are_probabilities:
        return np.asarray(np.log(np.maximum(wide, np.finfo(np.float64).tiny)))
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
