"""The probe `neighbors`: which samples are alike for the network, and which for their pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.features import Features, attributes_of, inputs_of, need_sklearn
from accweight_core.probes.likeness import neighbours_of, same_class
from accweight_core.probes.probe import Array, Needs, Probe, Schema, array, option


@dataclass
class Neighbors(Probe):
    """The nearest samples by the values of a layer, held against those by pixels."""

    name, version, needs = "neighbors", 2, Needs.FORWARD
    takes_finite_alone = True
    reading = "What the network has learned is what agreement has above pixel agreement."

    layer: str = option("", "layer or node; by default the last layer before the output")
    count: int = option(5, "neighbours of every sample")
    points: int = option(1000, "samples at most, each class with its share")
    distance: Literal["euclidean", "cosine"] = option("euclidean", "distance between samples")

    def start(self, context: Context) -> Schema:
        """Return the arrays."""
        need_sklearn(self.name)
        self._features = Features.of(context, self.layer, self.points)
        points = len(self._features.rows)
        if not 0 < self.count < points:
            raise ArgumentValueError(
                f"probe {self.name!r}: count is {self.count}; {points} samples have 1 to "
                f"{points - 1}"
            )
        attributes = attributes_of(context, self._features)
        self._labels = np.array(attributes["targets"])
        self._pixels: Array | None = None
        self._inputs = partial(inputs_of, context, self._features.rows)
        return Schema.of(
            {"point": points, "neighbour": self.count},
            array("agreement", "step", "share of neighbours of the same class"),
            array("pixel_agreement", "step", "the same by pixels"),
            array("shared", "step", "share of neighbours that are neighbours by pixels"),
            array("nearest", "step point neighbour",
                  "indices of the nearest points, nearest first"),
            attributes=attributes, rows=self._features.rows,
        )  # fmt: skip

    def end(self) -> Mapping[str, Array]:
        """Return neighbours, and how many are of one class."""
        if self._pixels is None:
            self._pixels = neighbours_of(self._inputs(), self.count, self.distance)
        nearest = neighbours_of(self._features.whole(), self.count, self.distance)
        shared = (nearest[:, :, None] == self._pixels[:, None, :]).any(axis=2).mean(axis=1).mean()
        return {
            "agreement": np.asarray(same_class(nearest, self._labels)),
            "pixel_agreement": np.asarray(same_class(self._pixels, self._labels)),
            "shared": np.asarray(shared),
            "nearest": nearest,
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return how many samples were compared, by which layer."""
        count = len(result.attributes["rows"])
        return [f"{count} samples by {result.attributes['node']}, and by their inputs"]
