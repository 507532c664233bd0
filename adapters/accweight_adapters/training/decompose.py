"""Decompose operators without a gradient into equivalent ones with gradients.

Each function replaces one operator: it writes a chain of others and returns the name of the last
output, or nothing if that form of the operator is not supported. The forms are chosen so that
nothing overflows, and axis lengths stay known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from onnx import NodeProto, helper, numpy_helper

AXES_ARE_INPUTS: Final = 18
"""Operator set from which the axes of reductions are an input."""

SCALES_PER_CHANNEL: Final = 21
"""Operator set from which GroupNormalization has a scale per channel, not per group."""

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


class Writer:
    """Writes operators in place of another."""

    def __init__(self, node: NodeProto, opset: int, lengths: dict[str, list[int]]) -> None:
        self.node = node
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self._lengths = lengths
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Write an operator; return the name of its output."""
        name = f"{self.node.output[0]}__{len(self.nodes)}"
        path = f"{self.node.name or self.node.output[0]}__{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=path, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Write a constant."""
        return self("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute of the replaced operator."""
        return self._attributes.get(name, default)

    def mean(self, value: str, axes: list[int]) -> str:
        """Write a mean along axes, kept with length one."""
        if self.opset >= AXES_ARE_INPUTS:
            return self("ReduceMean", value, self.constant(axes, np.int64), keepdims=1)
        return self("ReduceMean", value, axes=axes, keepdims=1)

    def lengths(self, value: str) -> list[int]:
        """Return the lengths of the axes, 0 where unknown; empty if the rank is unknown."""
        return self._lengths.get(value, [])


def _softplus(write: Writer, x: str) -> str:
    one = write.constant(1.0)
    bent = write("Log", write("Add", one, write("Exp", write("Neg", write("Abs", x)))))
    return write("Add", write("Relu", x), bent)


def _exponential(write: Writer, x: str, alpha: float, scale: float = 1.0) -> str:
    """Write max(x, 0) + alpha (exp(scale min(x, 0)) - 1), which does not overflow."""
    below = write("Neg", write("Relu", write("Neg", x)))
    scaled = write("Mul", below, write.constant(scale)) if scale != 1.0 else below
    bent = write("Sub", write("Exp", scaled), write.constant(1.0))
    return write("Add", write("Relu", x), write("Mul", bent, write.constant(alpha)))


def _elu(write: Writer, x: str) -> str:
    return _exponential(write, x, write.attribute("alpha", 1.0))


def _celu(write: Writer, x: str) -> str:
    alpha = write.attribute("alpha", 1.0)
    return _exponential(write, x, alpha, 1.0 / alpha)


def _selu(write: Writer, x: str) -> str:
    bent = _exponential(write, x, write.attribute("alpha", SELU_ALPHA))
    return write("Mul", bent, write.constant(write.attribute("gamma", SELU_GAMMA)))


def _sum(write: Writer, first: str, *others: str) -> str:
    total = first
    for other in others:
        total = write("Add", total, other)
    return total if others else write("Identity", first)


def _where(write: Writer, condition: str, x: str, y: str) -> str:
    """Write it for operands of equal shape: the gradient of a broadcast operand is wrong."""
    shape = write("Shape", write("Where", condition, x, y))
    return write("Where", condition, write("Expand", x, shape), write("Expand", y, shape))


def _prelu(write: Writer, x: str, slope: str) -> str:
    below = write("Mul", write("Relu", write("Neg", x)), slope)
    return write("Sub", write("Relu", x), below)


def _clipped_line(write: Writer, x: str, alpha: float, beta: float) -> str:
    line = write("Add", write("Mul", x, write.constant(alpha)), write.constant(beta))
    return write("Clip", line, write.constant(0.0), write.constant(1.0))


def _hard_sigmoid(write: Writer, x: str) -> str:
    return _clipped_line(write, x, write.attribute("alpha", 0.2), write.attribute("beta", 0.5))


def _hard_swish(write: Writer, x: str) -> str:
    return write("Mul", x, _clipped_line(write, x, 1 / 6, 0.5))


def _mish(write: Writer, x: str) -> str:
    return write("Mul", x, write("Tanh", _softplus(write, x)))


def _softsign(write: Writer, x: str) -> str:
    return write("Div", x, write("Add", write.constant(1.0), write("Abs", x)))


def _reciprocal(write: Writer, x: str) -> str:
    return write("Div", write.constant(1.0), x)


def _standardised(write: Writer, x: str, axes: list[int]) -> str:
    """Write values standardised along axes to mean 0 and variance 1."""
    off = write("Sub", x, write.mean(x, axes))
    variance = write.mean(write("Mul", off, off), axes)
    epsilon = write.constant(write.attribute("epsilon", 1e-5))
    return write("Div", off, write("Sqrt", write("Add", variance, epsilon)))


def _scaled(write: Writer, x: str, rank: int, scale: str, shift: str) -> str:
    """Write values with a scale and a shift per index of the second axis."""
    if rank > 2:
        axes = write.constant(range(1, rank - 1), np.int64)
        scale, shift = write("Unsqueeze", scale, axes), write("Unsqueeze", shift, axes)
    return write("Add", write("Mul", x, scale), shift)


def _batch_norm(write: Writer, x: str, scale: str, shift: str, mean: str, variance: str) -> str:
    """Write it with its stored statistics: a scale and a shift per channel."""
    rank = len(write.lengths(x))
    epsilon = write.constant(write.attribute("epsilon", 1e-5))
    slope = write("Div", scale, write("Sqrt", write("Add", variance, epsilon)))
    offset = write("Sub", shift, write("Mul", mean, slope))
    return _scaled(write, x, rank, slope, offset) if rank > 1 else ""


def _instance_norm(write: Writer, x: str, scale: str, shift: str) -> str:
    rank = len(write.lengths(x))
    if rank < 3:
        return ""
    return _scaled(write, _standardised(write, x, [*range(2, rank)]), rank, scale, shift)


def _group_norm(write: Writer, x: str, scale: str, shift: str) -> str:
    lengths = write.lengths(x)
    if len(lengths) < 3 or 0 in lengths[1:]:
        return ""
    groups = write.constant([0, write.attribute("num_groups", 1), -1], np.int64)
    whole = write.constant([0, *lengths[1:]], np.int64)
    x = _standardised(write, write("Reshape", x, groups), [2])
    if write.opset >= SCALES_PER_CHANNEL:
        return _scaled(write, write("Reshape", x, whole), len(lengths), scale, shift)
    return write("Reshape", _scaled(write, x, 3, scale, shift), whole)


def _average_pool(write: Writer, x: str) -> str:
    """Write a depthwise convolution; empty if that is not equivalent."""
    sizes, pads = write.attribute("kernel_shape", []), write.attribute("pads", [])
    channels = [*write.lengths(x), 0, 0][1]
    padded = any(pads) and not write.attribute("count_include_pad", 0)
    automatic = write.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if not channels or padded or automatic or write.attribute("ceil_mode", 0):
        return ""
    weights = write.constant(np.full((channels, 1, *sizes), 1 / math.prod(sizes)))
    kept = {"strides", "pads", "dilations"} & {a.name for a in write.node.attribute}
    attributes = {name: write.attribute(name, None) for name in sorted(kept)}
    return write("Conv", x, weights, group=channels, kernel_shape=sizes, **attributes)


def _split(write: Writer, x: str, *_sizes: str) -> str:
    """Write a slice for each part: the gradient is wrong if a part is not used."""
    axis, start = write.attribute("axis", 0), 0
    lengths = [write.lengths(output) for output in write.node.output]
    if not all(-len(each) <= axis < len(each) and each[axis] for each in lengths):
        return ""
    for output, each in zip(write.node.output, lengths, strict=True):
        ends = [write.constant([n], np.int64) for n in (start, start + each[axis], axis)]
        write("Slice", x, *ends)
        write.nodes[-1].output[0] = output
        start += each[axis]
    return str(write.node.output[0])


DECOMPOSITIONS: Final[dict[str, Callable[..., str]]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Celu": _celu,
    "Elu": _elu,
    "GroupNormalization": _group_norm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "InstanceNormalization": _instance_norm,
    "Mish": _mish,
    "PRelu": _prelu,
    "Reciprocal": _reciprocal,
    "Selu": _selu,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Split": _split,
    "Sum": _sum,
    "Where": _where,
}
"""Operators with no gradient, or with a wrong one, and their decompositions."""
