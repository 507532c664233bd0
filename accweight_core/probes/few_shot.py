"""The probe `few_shot`: can a layer tell apart classes that you show it a few pictures of?

Point it at a folder with a few pictures per class, which the network need not have been trained on:
each picture is given the class of the nearest others by the values of a layer, leaving itself out
(as Teachable Machine does: Carney et al., CHI 2020). Per layer and checkpoint this says where to
cut the network to make a classifier of your own; the pictures that are taken for another class are
shown beside those that they are taken for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.features import (
    class_names,
    confusion,
    features_by_class,
    inputs_of,
    sample_names,
)
from accweight_core.probes.likeness import neighbours_of, vote_of
from accweight_core.probes.pixels import PICTURE, beside, picture_lengths
from accweight_core.probes.probe import (
    Array,
    Lengths,
    Needs,
    Probe,
    Results,
    Schema,
    array,
    final,
    option,
    stacked,
)
from accweight_core.samples.pictures import sample_pictures
from accweight_core.text import some

BLANK = 255
"""Value of the pictures of confused samples where fewer are confused."""


@dataclass
class FewShot(Probe):
    """Classes of a few pictures by their nearest neighbours at every layer, and those confused."""

    name, version, needs = "few_shot", 2, Needs.FORWARD
    reading = (
        "Accuracy of the nearest neighbours among so few samples is coarse: one sample more "
        "or less is a step. Pairs: left what was shown, right the nearest one, of another class; "
        "a pair is of the same sample at all steps, and missing where it was told right. In the "
        "matrix a column is the class of the nearest samples, not an answer of the network."
    )

    layers: tuple[str, ...] = option((), "layers or nodes; by default all layers")
    count: int = option(1, "neighbours that vote; of equal votes, the nearest wins", least=1)
    distance: Literal["cosine", "euclidean"] = option("cosine", "distance between samples")
    pairs: int = option(8, "confused samples that are shown, of the best layer")
    points: int = option(1000, "samples at most, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the samples and their classes."""
        self._layers, self._labels = features_by_class(context, self.layers, self.points)
        rows = self._layers[0].rows
        least = int(np.unique(self._labels, return_counts=True)[1].min())
        if not self.count < len(rows) or least < 2:
            raise ArgumentValueError(
                f"probe {self.name!r} compares each of {len(rows)} samples with {self.count} "
                f"others; it needs two of each class at least, and the smallest class has {least}"
            )
        self._pictures = sample_pictures(context.data, rows)
        self._names = sample_names(context, rows, self._labels)
        self._chosen = min(self.pairs, len(rows))
        return self._schema(context, rows)

    def _schema(self, context: Context, rows: Array) -> Schema:
        classes = class_names(context, self._labels)
        nearest, self._classes = self._voted(inputs_of(context, rows))[0], len(classes)
        attributes = {
            "rows": rows.tolist(), "targets": self._labels.tolist(), "classes": list(classes),
            "pixels": float((nearest == self._labels).mean()), "blank": BLANK,
            "names": self._names if context.data.names else [],
        }  # fmt: skip
        lengths: Lengths = {
            "layer": [layer.node for layer in self._layers], "row": len(rows), "class": classes,
            "predicted": classes, "unit": self._chosen,
        }  # fmt: skip
        fields = [
            array("accuracy", "step layer",
                  "share of samples whose nearest others are of their class"),
            array("voted", "step layer row", "class by the nearest"),
            array("nearest", "step layer row",
                  "the sample that decided, as a place among the samples"),
            final("confusion", "step class predicted", "samples of a class (down) by that of the "
                  "nearest (across), at the best layer"),
        ]  # fmt: skip
        if self._pictures is not None:
            height, width, channels = self._pictures.shape[1:]
            lengths = {**lengths, **picture_lengths((height, 2 * width + 1, channels))}
            words = ("confused: left the sample, right what it is nearest to, at the best layer of "
                     "the last step; nothing where it is told right")  # fmt: skip
            fields.append(final("images", f"step unit {PICTURE}", words, "uint8"))
        return Schema.of(lengths, *fields, attributes=attributes, rows=rows)

    def end(self) -> Mapping[str, Array]:
        """Return the class of every sample by its nearest others, at every layer."""
        found = [self._voted(layer.whole()) for layer in self._layers]
        voted, nearest = (np.stack(each) for each in zip(*found, strict=True))
        accuracy = (voted == self._labels).mean(axis=1)
        return {"accuracy": accuracy, "voted": voted, "nearest": nearest}

    def _voted(self, values: Array) -> tuple[Array, Array]:
        """Return the class by the nearest others of every sample, and the first that voted so."""
        return vote_of(
            neighbours_of(np.nan_to_num(values), self.count, self.distance), self._labels
        )

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return confusion at the best layer of the last step, and pictures of what is confused."""
        best = int(stacked(results, "accuracy")[-1].argmax())
        voted = stacked(results, "voted")[:, best].astype(int)
        near = stacked(results, "nearest")[:, best].astype(int)
        counts = [confusion(self._labels, own, self._classes) for own in voted]
        found = {"confusion": np.stack(counts)}
        if self._pictures is not None:
            wrong = voted != self._labels
            # those of the last step first, then those that were confused at most steps
            self._shown = np.lexsort((-wrong.sum(axis=0), ~wrong[-1]))[: self._chosen]
            shown = [np.where(own, np.arange(len(own)), -1)[self._shown] for own in wrong]
            others = near[:, self._shown]
            pairs = [beside(self._pictures, *own, BLANK) for own in zip(shown, others, strict=True)]
            found["images"] = np.stack(pairs)
        return found

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return the names of the samples whose pairs are shown."""
        if "images" not in values:
            return {}
        return {"unit": tuple(self._names[row] for row in self._shown)}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return the best layer, beside the pixels, and the samples that it confuses."""
        said, accuracy = result.attributes, result.array("accuracy")[-1]
        best = int(accuracy.argmax())
        voted = result.array("voted")[-1, best].astype(int)
        names, labels = said["classes"], said["targets"]
        samples = said.get("names") or said["rows"]
        wrong = [
            f"{sample} ({names[label]} as {names[one]})"
            for sample, label, one in zip(samples, labels, voted.tolist(), strict=True)
            if label != one
        ]
        layer, told = result.labels("layer")[best], f"by the input {said['pixels']:.0%}"
        line = (f"{len(labels)} samples of {len(set(labels))} classes: best at {layer}, "
                f"{accuracy[best]:.0%}; {told}")  # fmt: skip
        return [line, f"confused: sample {some(wrong, 8)}"] if wrong else [line]
