"""The probe `filters`: the filters of a layer as pictures, on one scale through time.

A filter of three input channels is a picture in colour, of one channel a grey one. Of other layers
every pair of output and input channel has a picture. 0 is the middle of the scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.context import Context
from accweight_core.probes.likeness import likeness_to_last
from accweight_core.probes.pixels import (
    PICTURE,
    as_picture,
    picture_fields,
    picture_lengths,
    pictured,
)
from accweight_core.probes.probe import (
    Array,
    Needs,
    Probe,
    Results,
    Schema,
    Step,
    array,
    final,
    option,
    stacked,
)
from accweight_core.probes.unit_weights import layers_with_filters
from accweight_core.schema import Axis, Kind, Parameter

LEAST_SIDE = 8
"""Side from which on inputs in threes may be a picture in colour: 12 inputs hardly are one."""

LONGEST = 6
"""How many times wider than high a rectangle may be before a square is filled up."""

ORDER = {Kind.CONV: 0, Kind.CONV_TRANSPOSE: 0, Kind.LINEAR: 1}
"""Kinds of layers whose filters are shown, unless one is named: the first ones first."""


@dataclass
class Filters(Probe):
    """Filters of a layer as pictures, on one scale through time."""

    name, version, needs = "filters", 2, Needs.WEIGHTS
    reading = (
        "A filter that looks like noise has learned little; similarity says since when it was "
        "what it became."
    )

    layer: str = option("", "layer; by default the first convolution, else the first linear layer")
    most: int = option(256, "pictures at most, from the first filter on", least=1)
    scale: Literal["fixed", "step"] = option("fixed", "one scale for all steps, or one per step")

    def start(self, context: Context) -> Schema:
        """Return the arrays of the filters of one layer."""
        self._parameter = filter_parameter(context, self.layer)
        first = pictures_of(np.zeros(self._parameter.shape, np.float32), self._parameter)
        names = filter_names(self._parameter, first.shape[-1])
        self._unused = np.isnan(first[: self.most])
        return Schema.of(
            {"unit": names[: self.most], **picture_lengths(first.shape[1:])},
            array("weights", f"step unit {PICTURE}", "the filters themselves", "float32"),
            array("norm", "step unit", "norm of each filter"),
            *picture_fields("unit", "pictures"),
            final("similarity", "step unit", "cosine with the filter of the last step"),
            attributes={"parameter": self._parameter.name, "layer": self._parameter.layer},
        )

    def begin(self, step: Step) -> None:
        """Read the weights of the layer."""
        found = pictures_of(step.weights(self._parameter.name), self._parameter)
        self._filters = found[: self.most].astype(np.float32)

    def end(self) -> Mapping[str, Array]:
        """Return the filters of the step."""
        used = np.where(self._unused, 0, self._filters).reshape(len(self._filters), -1)
        norms = np.linalg.norm(used.astype(np.float64), axis=1)
        return {"weights": self._filters, "norm": norms}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return pictures on a common scale, and when each filter was what it became."""
        found = [np.where(self._unused, 0, one) for one in stacked(results, "weights")]
        pictures = pictured(results, "weights", each_step=self.scale == "step")
        return {**pictures, "similarity": likeness_to_last(found)}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which weights are shown, and on which scale."""
        scale, count = result.array("scale")[-1, 1], len(result.labels("unit"))
        shown = f"{result.attributes['parameter']}: {count} pictures"
        return [f"{shown}; black to white is -{scale:.3g} to {scale:.3g}"]


def filter_parameter(context: Context, layer: str) -> Parameter:
    """Return the weights of a layer; if none is named, of the first one that convolves.

    Without one, they are of the first linear layer, and without that of the first with filters.

    Raises:
        UnknownNameError: If there is no such layer, or none has weights of two axes or more.
    """
    found = layers_with_filters(context)
    own = {parameter.name: parameter for parameter in found.values()}
    if layer:
        return own.get(layer) or layers_with_filters(context, [layer])[layer]
    return min(found.values(), key=lambda parameter: ORDER.get(parameter.kind, len(ORDER)))


def pictures_of(weights: Array, parameter: Parameter) -> Array:
    """Return filters as (pictures, height, width, channels), with 1 or 3 channels.

    The kernel is the picture; a filter without one (of a linear layer) is folded to a rectangle, or
    to a square in colour if it may be of a picture. What has no rectangle is filled up with NaN. Of
    filters with other numbers of input channels, every channel is a picture of its own.
    """
    axes = parameter.axes
    outputs = [i for i, axis in enumerate(axes) if axis is Axis.OUTPUT]
    inputs = [i for i, axis in enumerate(axes) if axis is Axis.INPUT]
    others = [i for i in range(weights.ndim) if i not in (*outputs, *inputs)]
    ordered = np.transpose(weights, (*outputs, *inputs, *others))
    rows = math.prod(weights.shape[i] for i in outputs)
    planes = math.prod(weights.shape[i] for i in inputs)
    kernel = [weights.shape[i] for i in others]
    if not kernel or math.prod(kernel) == 1:
        side = math.isqrt(planes // 3)
        if side >= LEAST_SIDE and 3 * side**2 == planes:
            return ordered.reshape(rows, 3, side, side).transpose(0, 2, 3, 1)
        high = max(n for n in range(1, math.isqrt(planes) + 1) if planes % n == 0)
        if planes <= LONGEST * high**2:
            return ordered.reshape(rows, high, planes // high, 1)
        return as_picture(ordered.reshape(rows, planes))[..., None]
    height, width = math.prod(kernel[:-1]), kernel[-1]
    if planes == 3:
        return ordered.reshape(rows, 3, height, width).transpose(0, 2, 3, 1)
    return ordered.reshape(rows * planes, height, width, 1)


def filter_names(parameter: Parameter, channels: int) -> tuple[str, ...]:
    """Return what each picture shows: the output channel, and the input channel if it has one."""
    lengths = dict.fromkeys((Axis.OUTPUT, Axis.INPUT), 1)
    kernel = 1
    for axis, length in zip(parameter.axes, parameter.shape, strict=True):
        if axis in lengths:
            lengths[axis] *= length
        else:
            kernel *= length
    rows, planes = lengths[Axis.OUTPUT], lengths[Axis.INPUT]
    if kernel == 1 or channels == 3 or planes == 1:
        return tuple(map(str, range(rows)))
    return tuple(f"{row} from {plane}" for row in range(rows) for plane in range(planes))
