"""Compare what a bound network computes with the loss or accuracy that checkpoints recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.probes.binding.arrays import Array
from accweight_core.probes.network import OUTPUT, BoundNetwork

BATCH = 256
TOLERANCE = 1e-3
"""Largest relative difference of a loss that counts as reproduced."""

SPREAD = 20 * TOLERANCE
"""Least relative spread of a measure over steps, from which equal values are not chance."""

_LOSS = re.compile(r"loss|nll|cross_?entropy|mse|mae|error|objective|perplexity", re.IGNORECASE)
_ACCURACY = re.compile(r"acc(uracy)?", re.IGNORECASE)
_HELD_OUT = re.compile(r"val|test|eval|dev", re.IGNORECASE)


@dataclass(frozen=True)
class Reproduced:
    """One recorded measure and the figure that comes nearest to it.

    Attributes:
        measure: Its name in the checkpoints.
        figure: What was computed.
        steps: Steps compared.
        recorded: Its values there.
        computed: The figure there.
    """

    measure: str
    figure: str
    steps: tuple[int, ...]
    recorded: tuple[float, ...]
    computed: tuple[float, ...]
    samples: int

    @property
    def error(self) -> float:
        """Largest difference, relative for losses, in shares for accuracies."""
        gaps = np.abs(np.subtract(self.recorded, self.computed))
        if self.figure == "accuracy":
            return float(gaps.max())
        return float((gaps / np.maximum(np.abs(self.recorded), 1e-12)).max())

    @property
    def is_equal(self) -> bool:
        """Whether they agree at every step, and would not by chance."""
        allowed = max(TOLERANCE, 0.51 / self.samples) if self.figure == "accuracy" else TOLERANCE
        return self.error <= allowed and self.is_telling

    @property
    def is_telling(self) -> bool:
        """Whether the measure moves enough over the steps."""
        low, high = min(self.recorded), max(self.recorded)
        return high - low >= SPREAD * max(abs(high), abs(low), 1e-12)

    def __str__(self) -> str:
        """Return the comparison at the last step in words."""
        return (
            f"{self.measure} {self.recorded[-1]:.6g} recorded at step {self.steps[-1]}, "
            f"{self.figure} {self.computed[-1]:.6g} computed"
        )


def told_measures(measures: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the losses and accuracies that all checkpoints have, held-out ones first."""
    common = set.intersection(*(set(found) for found in measures)) if measures else set()
    told = [name for name in common if _LOSS.search(name) or _ACCURACY.search(name)]
    return sorted(told, key=lambda name: (_HELD_OUT.search(name) is None, name))


def compared(
    measures: Sequence[Mapping[str, float]],
    figures: Sequence[Mapping[str, float]],
    steps: Sequence[int],
    samples: int,
) -> Reproduced | None:
    """Return the recorded measure and figure that agree best; None if none can be compared."""
    found = []
    for measure in told_measures(measures):
        is_accuracy = _ACCURACY.search(measure) is not None
        recorded = [row[measure] for row in measures]
        if is_accuracy and max(recorded) > 1:
            recorded = [value / 100 for value in recorded]
        for figure in set.intersection(*(set(row) for row in figures)):
            if (figure == "accuracy") == is_accuracy:
                values = tuple(row[figure] for row in figures)
                found.append(
                    Reproduced(measure, figure, tuple(steps), tuple(recorded), values, samples)
                )
    equal = [item for item in found if item.is_equal]
    return min(equal or found, key=lambda item: item.error, default=None)


def figures_of(
    network: BoundNetwork, inputs: Mapping[str, Array], targets: Array
) -> dict[str, float]:
    """Return the losses and the accuracy of a network on samples, those that make sense for them.

    Args:
        network: The network.
        inputs: Samples along axis 0, by input.
        targets: Class numbers, or values in the shape of the output.
    """
    outputs = []
    for start in range(0, len(targets), BATCH):
        batch = {name: values[start : start + BATCH] for name, values in inputs.items()}
        outputs.append(network.run(batch)[OUTPUT])
    return dict(_figures(np.concatenate(outputs).astype(np.float64), np.asarray(targets)))


def _figures(output: Array, targets: Array) -> Iterator[tuple[str, float]]:
    if targets.dtype.kind in "iub" and output.ndim > 1:
        axis = _class_axis(output, targets)
        if axis is not None:
            yield from _of_classes(np.moveaxis(output, axis, -1), targets)
    if output.size == targets.size:
        flat, wanted = output.reshape(-1), targets.reshape(-1).astype(np.float64)
        gaps = flat - wanted
        yield "mean squared error", float((gaps * gaps).mean())
        yield "mean absolute error", float(np.abs(gaps).mean())
        if ((wanted == 0) | (wanted == 1)).all():
            yield "binary cross entropy", float((np.logaddexp(0, flat) - wanted * flat).mean())
            yield "accuracy", float(((flat > 0) == (wanted > 0.5)).mean())


def _class_axis(output: Array, targets: Array) -> int | None:
    if output.shape[:1] + output.shape[2:] == targets.shape:
        return 1
    return output.ndim - 1 if output.shape[:-1] == targets.shape else None


def _of_classes(scores: Array, targets: Array) -> Iterator[tuple[str, float]]:
    if targets.size == 0 or targets.min() < 0 or targets.max() >= scores.shape[-1]:
        return
    rows, labels = scores.reshape(-1, scores.shape[-1]), targets.reshape(-1).astype(np.int64)
    yield "accuracy", float((rows.argmax(1) == labels).mean())
    is_share = (rows >= 0).all() and np.allclose(rows.sum(1), 1, atol=1e-4)
    shifted = rows - rows.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    if is_share:
        logs = np.log(np.maximum(rows, np.finfo(np.float64).tiny))
    loss = float(-logs[np.arange(len(rows)), labels].mean())
    yield "cross entropy", loss
    yield "perplexity", float(np.exp(min(loss, 700.0)))
