"""The probe `filters`: the filters of a layer as pictures, on one scale through time.

A filter of three input channels is a picture in colour, of one channel a grey one. Of other layers
every pair of output and input channel has a picture. 0 is the middle of the scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.arguments import brief
from accweight_core.dtypes import is_measurable
from accweight_core.errors import ArgumentValueError, UnknownNameError
from accweight_core.probes.context import Context
from accweight_core.probes.pixels import as_picture, as_pixels, bounds, largest_of, scale_field
from accweight_core.probes.probe import Array, Field, Needs, Probe, Results, Schema, Step, option
from accweight_core.schema import Axis, Kind, Layer, Parameter, Role, Run
from accweight_core.text import some

LEAST_SIDE = 8
"""Side from which on inputs in threes may be a picture in colour: 12 inputs hardly are one."""

LONGEST = 6
"""How many times wider than high a rectangle may be before a square is filled up."""


@dataclass
class Filters(Probe):
    """Filters of a layer as pictures, on one scale through time."""

    name: ClassVar[str] = "filters"
    version: ClassVar[int] = 2
    needs: ClassVar[Needs] = Needs.WEIGHTS
    reading: ClassVar[str] = (
        "A filter that looks like noise has learned little; similarity says since when it was "
        "what it became."
    )

    layer: str = option("", "layer; by default the first convolution, else the first linear layer")
    most: int = option(256, "pictures at most, from the first filter on")
    scale: Literal["fixed", "step"] = option("fixed", "one scale for all steps, or one per step")

    def start(self, context: Context) -> Schema:
        """Return the arrays of the filters of one layer."""
        if self.most < 1:
            raise ArgumentValueError(f"most must be at least 1, got {self.most}")
        self._parameter = filter_parameter(context.run, self.layer)
        first = pictures_of(np.zeros(self._parameter.shape, np.float32), self._parameter)
        names = filter_names(self._parameter, first.shape[-1])
        count = min(len(first), self.most)
        self._unused = np.isnan(first[:count])
        shape = (0, count, *first.shape[1:])
        axes = ("step", "unit", "height", "width", "channel")
        fields = (
            Field("weights", axes, shape, "the filters themselves", "float32"),
            Field("norm", ("step", "unit"), (0, count), "norm of each filter"),
            Field("images", axes, shape, "pictures: 128 is 0", "uint8", final=True),
            scale_field(),
            Field("similarity", ("step", "unit"), (0, count),
                  "cosine with the filter of the last step", final=True),
        )  # fmt: skip
        attributes = {"parameter": self._parameter.name, "layer": self._parameter.layer}
        return Schema(fields, {"unit": names[:count]}, attributes)

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
        largest = largest_of(results, "weights")
        if self.scale == "fixed":
            largest = np.full_like(largest, largest.max(initial=0.0))
        count = len(results.steps)
        found = [results.at("weights", index) for index in range(count)]
        images = [as_pixels(f, scale) for f, scale in zip(found, largest, strict=True)]
        ways = [_directions(np.where(self._unused, 0, filters)) for filters in found]
        similar = [(own * ways[-1]).sum(axis=1) for own in ways]
        return {
            "images": np.stack(images),
            "scale": bounds(largest),
            "similarity": np.stack(similar),
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return which weights are shown, and on which scale."""
        scale, count = result.array("scale")[-1, 1], len(result.labels("unit"))
        shown = f"{result.attributes['parameter']}: {count} pictures"
        return [f"{shown}; black to white is -{scale:.3g} to {scale:.3g}"]


def _directions(filters: Array) -> Array:
    """Return filters as vectors of length 1; NaN for those that are 0."""
    flat = filters.reshape(len(filters), -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    found: Array = np.divide(flat, norms, out=np.full_like(flat, np.nan), where=norms > 0)
    return found


def filter_parameter(run: Run, layer: str) -> Parameter:
    """Return the weights of a layer, or of the first layer that has filters.

    Raises:
        UnknownNameError: If there is no such layer, or it has no weights of two axes or more.
    """
    found = [(one, p) for one in run.layers if (p := weights_of(one)) is not None]
    if layer:
        chosen = next((p for one, p in found if layer in (one.name, p.name)), None)
        if chosen is None:
            known = some([one.name for one, _ in found], 12) or "none"
            raise UnknownNameError(
                f"probe 'filters': no layer {brief(layer)} has filters; layers that do: {known}"
            )
        return chosen
    for kinds in ((Kind.CONV, Kind.CONV_TRANSPOSE), (Kind.LINEAR,), tuple(Kind)):
        for one, parameter in found:
            if one.kind in kinds:
                return parameter
    raise UnknownNameError(f"probe 'filters': {run.source} has no layer with filters")


def layers_with_filters(run: Run) -> dict[str, Parameter]:
    """Return the weights of the layers that have filters, by their names."""
    return {one.name: p for one in run.layers if (p := weights_of(one)) is not None}


def weights_of(layer: Layer) -> Parameter | None:
    """Return the weights of a layer with filters: its first matrix; None without one."""
    for parameter in layer.parameters:
        is_weight = parameter.role is Role.WEIGHT and is_measurable(parameter.dtype)
        if is_weight and len(parameter.shape) > 1:
            return parameter
    return None


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
