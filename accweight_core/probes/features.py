"""Samples as vectors: the values of a node at chosen samples, for probes that compare samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.errors import ArgumentValueError, MissingLibraryError
from accweight_core.probes.context import Context
from accweight_core.probes.likeness import agreement
from accweight_core.probes.probe import Array, Batch, Field, array
from accweight_core.probes.units import UnitAxes

MOST_FEATURES = 1024
"""Features of a sample that are kept; of more, so many random projections, which keep distances to
a few hundredths (Johnson and Lindenstrauss). They are sparse (Li, Hastie and Church, KDD 2006): a
dense projection of 500 samples took as long as 3,000 samples through a small network."""

LEAST_POINTS = 4
"""Samples that can be compared with each other."""

MOST_PROJECTED = 1 << 15
"""Features that are projected; of nodes with more, the mean over positions of every unit is taken
first."""


@dataclass
class Features:
    """The values of one node at chosen samples, collected of every batch of a step.

    Attributes:
        node: The node.
        rows: The samples.
        width: Features per sample.
    """

    node: str
    rows: Array
    width: int
    _axes: UnitAxes
    _pooled: bool
    _projection: Any
    _kept: list[Array] = field(default_factory=list)

    @classmethod
    def of(cls, context: Context, node: str, points: int) -> Features:
        """Choose node and samples.

        Args:
            context: What the probe is told.
            node: The node; empty for the last layer before the output.
            points: Samples at most, each class with its share.

        Raises:
            UnknownNameError: If there is no such node, or it has no axis for the samples.
            ArgumentValueError: If there are fewer than four samples.
        """
        layers = context.layers_of_samples or context.layers
        chosen = node or (layers[-2] if len(layers) > 1 else layers[0])
        axes = context.checked_axes(chosen, "choose another one with layer=")
        rows = context.chosen_rows(points)
        if len(rows) < LEAST_POINTS:
            raise ArgumentValueError(
                f"probe {context.probe!r} compares samples with each other; {len(rows)} are too few"
            )
        pooled = axes.count * axes.positions > MOST_PROJECTED
        width = axes.count if pooled else axes.count * axes.positions
        projection = projection_of(context.random(), width)
        kept = min(width, MOST_FEATURES)
        return context.collect(cls(chosen, rows, kept, axes, pooled, projection))

    def begin(self) -> None:
        """Start with nothing."""
        self._kept = []

    def add(self, batch: Batch) -> None:
        """Take the values of a batch."""
        flat = self._axes.of(batch.outputs[self.node])
        flat = flat.mean(axis=2) if self._pooled else flat.reshape(len(flat), -1)
        flat = flat.astype(np.float32)
        self._kept.append(flat if self._projection is None else flat @ self._projection)

    def whole(self) -> Array:
        """Return (samples, features)."""
        found: Array = np.concatenate(self._kept)
        return found


def projection_of(chance: np.random.Generator, width: int) -> Any:
    """Return (features, `MOST_FEATURES`), sparse: a random projection; None if it is not needed."""
    if width <= MOST_FEATURES:
        return None
    from sklearn.random_projection import SparseRandomProjection

    seed = int(chance.integers(1 << 31))
    made = SparseRandomProjection(MOST_FEATURES, random_state=seed).fit(np.zeros((1, width)))
    return made.components_.T.astype(np.float32).tocsr()


def labels_of(context: Context, rows: Array) -> list[int] | None:
    """Return the classes of samples; None if targets are no class numbers."""
    targets = context.data.targets
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1 or targets.dtype.kind not in "biu":
        return None
    return [int(label) for label in targets[rows]]


def classes_of(context: Context, rows: Array) -> Array:
    """Return the classes of samples.

    Raises:
        ArgumentValueError: If they have none, or all are of one.
    """
    labels = labels_of(context, rows)
    if labels is None or len(set(labels)) < 2:
        raise ArgumentValueError(
            f"probe {context.probe!r} compares classes; {context.data.path} has "
            f"{'no whole numbers as targets' if labels is None else 'samples of one class'}: save "
            "them as y, or put images into a folder per class"
        )
    return np.array(labels, np.int64)


def features_by_class(
    context: Context, layers: Sequence[str], points: int
) -> tuple[list[Features], Array]:
    """Return the features of layers, by default of all, at the same samples, and their classes.

    Raises:
        MissingLibraryError: If scikit-learn is not installed.
        UnknownNameError: If there is no such layer.
        ArgumentValueError: If samples are too few, or have no classes.
    """
    need_sklearn(context.probe)
    names = layers or context.layers_of_samples
    found = [Features.of(context, name, points) for name in names]
    return found, classes_of(context, found[0].rows)


@dataclass(frozen=True)
class Agreement:
    """How far samples of one class agree at each of some nodes, and those of several do not.

    Attributes:
        rows: The samples; one, and nothing is stored, where they have no classes or are too few.
    """

    rows: Array
    _features: tuple[Features, ...]
    _labels: Array

    @classmethod
    def of(cls, context: Context, nodes: Iterable[str], points: int) -> Agreement:
        """Return that of nodes, at so many samples at most."""
        rows = context.chosen_rows(max(points, 1))
        labels = labels_of(context, rows) if len(rows) >= LEAST_POINTS else None
        if labels is None:
            return cls(rows[:1], (), np.empty(0))
        features = tuple(Features.of(context, node, points) for node in nodes)
        return cls(rows, features, np.array(labels))

    @property
    def fields(self) -> tuple[Field, ...]:
        """The array of it, as a probe stores it."""
        words = "mean cosine of pictures of one class, less that of several"
        return (array("agreement", "step layer", words),) if self._features else ()

    def values(self) -> dict[str, Array]:
        """Return the arrays of `fields` for a step."""
        found = [agreement(own.whole(), self._labels) for own in self._features]
        return {"agreement": np.array(found)} if found else {}


def inputs_of(context: Context, rows: Array) -> Array:
    """Return (samples, elements): all inputs of samples, flat."""
    flat = [values.reshape(len(rows), -1) for values in context.samples(rows).values()]
    return np.concatenate(flat, axis=1)


def confusion(labels: Array, predicted: Array, count: int) -> Array:
    """Return (classes, classes): how many samples of a class (down) are given each (across)."""
    found = np.bincount(labels * count + predicted, minlength=count**2)
    return found.reshape(count, count).astype(np.float64)


def class_names(context: Context, labels: npt.ArrayLike) -> tuple[str, ...]:
    """Return the names of classes 0 to the largest of the labels: their numbers without names."""
    count, names = int(np.max(labels, initial=-1)) + 1, context.data.class_names
    return tuple(names[:count]) if len(names) >= count else tuple(map(str, range(count)))


def sample_names(context: Context, rows: Array, labels: npt.ArrayLike) -> list[str]:
    """Return the file of each sample, or its number and class."""
    if context.data.names:
        return [context.data.names[row] for row in rows]
    classes, numbers = class_names(context, labels), np.asarray(labels).tolist()
    return [f"{row} ({classes[at]})" for row, at in zip(rows.tolist(), numbers, strict=True)]


def attributes_of(context: Context, features: Features) -> dict[str, Any]:
    """Return what is stored about points: which samples they are, and their classes."""
    labels = labels_of(context, features.rows)
    return {
        "node": features.node,
        "rows": [int(row) for row in features.rows],
        "targets": labels or [],
        "classes": list(context.data.class_names),
    }


def need_sklearn(probe: str) -> None:
    """Raise unless scikit-learn is installed.

    Raises:
        MissingLibraryError: If it is not.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingLibraryError("scikit-learn", "probe", f"probe {probe!r}") from None
