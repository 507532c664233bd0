"""The probe `class_hierarchy`: which classes a network takes for each other, at every layer.

Networks tell groups of classes apart before, and in earlier layers than, the classes within them.
The groups are found in what the network confuses (Bilal et al., "Do convolutional neural networks
learn class hierarchy?", the system Blocks, IEEE TVCG 2018): classes that are mixed up at any step
are joined first, by average linkage; more often than by chance, as a network that says one class
of everything mixes up no two of them. At every layer and step, a sample goes to the class with the
nearest mean of the others (leaving itself out), which says how far groups and classes are apart
there. Confusion is shown in the order of the hierarchy, so that groups are blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.class_groups import excess, hierarchy, nearest_mean
from accweight_core.probes.collecting import Values
from accweight_core.probes.context import Context
from accweight_core.probes.features import class_names, confusion, features_by_class
from accweight_core.probes.known import ratio
from accweight_core.probes.network import OUTPUT
from accweight_core.probes.probe import (
    Array,
    Batch,
    Needs,
    Probe,
    Results,
    Schema,
    array,
    final,
    option,
    stacked,
)
from accweight_core.text import some

APART = 0.9
"""Share of samples told right from which on groups, or classes, count as apart."""

MOST_CLASSES = 256


@dataclass
class ClassHierarchy(Probe):
    """Groups of classes that are confused, and where and when groups and classes come apart."""

    name, version, needs = "class_hierarchy", 2, Needs.FORWARD
    reading = (
        "Blocks on the diagonal are groups of classes that are taken for each other. Groups that "
        "are apart where classes are not yet: the layer, or the step, knows the kind alone."
    )

    layers: tuple[str, ...] = option((), "layers or nodes; by default all layers")
    groups: int = option(0, "groups of classes; by default where joining them costs most")
    points: int = option(2000, "samples at most, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the classes."""
        self._layers, self._labels = features_by_class(context, self.layers, self.points)
        self._predicted = context.collect(Values(self._said))
        self._names = class_names(context, self._labels)
        count, scores = len(self._names), context.tried()[OUTPUT]
        if not (2 < count <= MOST_CLASSES and scores.ndim == 2 and scores.shape[1] >= count):
            raise ArgumentValueError(
                f"probe {self.name!r} groups 3 to {MOST_CLASSES} classes by their scores; there "
                f"are {count} classes, and an output of shape {scores.shape[1:]}"
            )
        if not (self.groups == 0 or 1 < self.groups < count):
            raise ArgumentValueError(
                f"probe {self.name!r}: groups is {self.groups}; {count} classes have 2 to "
                f"{count - 1}"
            )
        names = [layer.node for layer in self._layers]
        return Schema.of(
            {"layer": names, "row": self._names, "rank": count, "class": count, "predicted": count},
            array("counts", "step row rank", "confusion, classes in their order"),
            array("near", "step layer row rank",
                  "samples of a class by the class with the nearest mean", "float32"),
            final("confusion", "step class predicted", "samples of a class (down) by the class "
                  "predicted (across), in the order of the hierarchy"),
            final("group", "row", "group of a class, in the order of the classes"),
            final("groups_apart", "step layer",
                  "share of samples that are nearest to a class of their group"),
            final("classes_apart", "step layer",
                  "share of samples that are nearest to their class"),
            final("within", "step", "share of confusion that is within a group"),
            rows=self._layers[0].rows,
        )  # fmt: skip

    def _said(self, batch: Batch) -> Array:
        """Return the class that is predicted of every sample."""
        found: Array = batch.outputs[OUTPUT][:, : len(self._names)].argmax(axis=1)
        return found

    def end(self) -> Mapping[str, Array]:
        """Return the confusion of the network, and of the nearest means at every layer."""
        labels, count = self._labels, len(self._names)
        near = [nearest_mean(layer.whole(), labels) for layer in self._layers]
        return {
            "counts": confusion(labels, self._predicted.whole(), count),
            "near": np.stack([confusion(labels, found, count) for found in near]),
        }

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the groups, and when and where they come apart."""
        counts = stacked(results, "counts")
        near = stacked(results, "near").astype(np.float64)
        group, self._order = hierarchy(
            excess(counts).sum(axis=0) + excess(near).sum(axis=(0, 1)), self.groups
        )
        same = group[:, None] == group[None]
        total = near.sum(axis=(2, 3))
        wrong = counts * (1 - np.eye(len(group)))
        return {
            "confusion": counts[:, self._order][:, :, self._order],
            "group": group,
            "groups_apart": (near * same).sum(axis=(2, 3)) / total,
            "classes_apart": np.trace(near, axis1=2, axis2=3) / total,
            "within": ratio((wrong * same).sum(axis=(1, 2)), wrong.sum(axis=(1, 2))),
        }

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return the classes in the order of the hierarchy."""
        names = tuple(self._names[at] for at in self._order)
        return {"class": names, "predicted": names}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return the groups, and where and when they and the classes are apart."""
        group, names = result.array("group"), result.labels("row")
        members = [
            some([name for name, own in zip(names, group, strict=True) if own == one], 12)
            for one in dict.fromkeys(group.tolist())
        ]
        lines = [f"groups: {' | '.join(members)}"]
        for what in ("groups", "classes"):
            apart = result.array(f"{what}_apart") >= APART
            told = [
                f"{layer} {result.steps[apart[:, at].argmax()]}"
                for at, layer in enumerate(result.labels("layer")) if apart[:, at].any()
            ]  # fmt: skip
            lines.append(f"{what} apart ({APART:.0%}) first at step: {some(told, 8) or 'nowhere'}")
        return lines
