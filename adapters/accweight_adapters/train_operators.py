"""Operators that ONNX Runtime can train through, and others, written out in those.

The runtime learns only while it builds the gradients that an operator has none, and some end the
process instead of saying so. So what works is listed here, each compared with differences of the
operator itself in the tests, and everything else is refused by name before training begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from accweight_adapters.train_graph import opset_of, replace_nodes, trained_way
from accweight_adapters.train_model import prune
from accweight_core.errors import FormatError

TRAINABLE: Final = frozenset(
    {"Abs", "Add", "Cast", "Clip", "Concat", "Conv", "Cos", "Div", "Dropout", "Erf",
     "Exp", "Expand", "Flatten", "GRU", "Gather", "Gelu", "Gemm", "GlobalAveragePool", "Identity",
     "LSTM", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool",
     "Min", "Mul", "Neg", "Pad", "Pow", "ReduceMean", "ReduceSum", "Relu", "Reshape",
     "Sigmoid", "Sin", "Slice", "Softmax", "Sqrt", "Squeeze", "Sub", "Tanh",
     "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
"""Operators whose gradient is there and right."""

AXES_ARE_INPUTS: Final = 18
"""Operator set from which reductions take their axes as an input."""

SCALES_PER_CHANNEL: Final = 21
"""Operator set from which GroupNormalization has a scale per channel, not per group."""

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


class _Writer:
    """Writes operators behind each other, in the place of one."""

    def __init__(self, node: NodeProto, opset: int, lengths: dict[str, list[int]]) -> None:
        self.node = node
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self._lengths = lengths
        self._attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Write an operator and return the name of its output."""
        name = f"{self.node.output[0]}__{len(self.nodes)}"
        path = f"{self.node.name or self.node.output[0]}__{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=path, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Write a constant."""
        return self("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def attribute(self, name: str, default: Any) -> Any:
        """Return an attribute of the operator that is replaced."""
        return self._attributes.get(name, default)

    def mean(self, value: str, axes: list[int]) -> str:
        """Write a mean along axes, which stay with length one."""
        if self.opset >= AXES_ARE_INPUTS:
            return self("ReduceMean", value, self.constant(axes, np.int64), keepdims=1)
        return self("ReduceMean", value, axes=axes, keepdims=1)

    def lengths(self, value: str) -> list[int]:
        """Return the lengths of the axes, 0 where one is not known; empty if there are none."""
        return self._lengths.get(value, [])


def _softplus(write: _Writer, x: str) -> str:
    one = write.constant(1.0)
    bent = write("Log", write("Add", one, write("Exp", write("Neg", write("Abs", x)))))
    return write("Add", write("Relu", x), bent)


def _exponential(write: _Writer, x: str, alpha: float, scale: float = 1.0) -> str:
    """Write max(x, 0) + alpha (exp(scale min(x, 0)) - 1), which overflows nowhere."""
    below = write("Neg", write("Relu", write("Neg", x)))
    scaled = write("Mul", below, write.constant(scale)) if scale != 1.0 else below
    bent = write("Sub", write("Exp", scaled), write.constant(1.0))
    return write("Add", write("Relu", x), write("Mul", bent, write.constant(alpha)))


def _elu(write: _Writer, x: str) -> str:
    return _exponential(write, x, write.attribute("alpha", 1.0))


def _celu(write: _Writer, x: str) -> str:
    alpha = write.attribute("alpha", 1.0)
    return _exponential(write, x, alpha, 1.0 / alpha)


def _selu(write: _Writer, x: str) -> str:
    bent = _exponential(write, x, write.attribute("alpha", SELU_ALPHA))
    return write("Mul", bent, write.constant(write.attribute("gamma", SELU_GAMMA)))


def _sum(write: _Writer, first: str, *others: str) -> str:
    total = first
    for other in others:
        total = write("Add", total, other)
    return total if others else write("Identity", first)


def _where(write: _Writer, condition: str, x: str, y: str) -> str:
    """Write it for operands of one shape: of one that is repeated, the gradient is wrong."""
    shape = write("Shape", write("Where", condition, x, y))
    return write("Where", condition, write("Expand", x, shape), write("Expand", y, shape))


def _prelu(write: _Writer, x: str, slope: str) -> str:
    below = write("Mul", write("Relu", write("Neg", x)), slope)
    return write("Sub", write("Relu", x), below)


def _clipped_line(write: _Writer, x: str, alpha: float, beta: float) -> str:
    line = write("Add", write("Mul", x, write.constant(alpha)), write.constant(beta))
    return write("Clip", line, write.constant(0.0), write.constant(1.0))


def _hard_sigmoid(write: _Writer, x: str) -> str:
    return _clipped_line(write, x, write.attribute("alpha", 0.2), write.attribute("beta", 0.5))


def _hard_swish(write: _Writer, x: str) -> str:
    return write("Mul", x, _clipped_line(write, x, 1 / 6, 0.5))


def _mish(write: _Writer, x: str) -> str:
    return write("Mul", x, write("Tanh", _softplus(write, x)))


def _softsign(write: _Writer, x: str) -> str:
    return write("Div", x, write("Add", write.constant(1.0), write("Abs", x)))


def _reciprocal(write: _Writer, x: str) -> str:
    return write("Div", write.constant(1.0), x)


def _standardised(write: _Writer, x: str, axes: list[int]) -> str:
    """Write values with mean 0 and variance 1 along axes."""
    off = write("Sub", x, write.mean(x, axes))
    variance = write.mean(write("Mul", off, off), axes)
    epsilon = write.constant(write.attribute("epsilon", 1e-5))
    return write("Div", off, write("Sqrt", write("Add", variance, epsilon)))


def _scaled(write: _Writer, x: str, rank: int, scale: str, shift: str) -> str:
    """Write values with a scale and a shift for each length of the second axis."""
    if rank > 2:
        axes = write.constant(range(1, rank - 1), np.int64)
        scale, shift = write("Unsqueeze", scale, axes), write("Unsqueeze", shift, axes)
    return write("Add", write("Mul", x, scale), shift)


def _batch_norm(write: _Writer, x: str, scale: str, shift: str, mean: str, variance: str) -> str:
    """Write it with the statistics that it holds: a scale and a shift per channel."""
    rank = len(write.lengths(x))
    epsilon = write.constant(write.attribute("epsilon", 1e-5))
    slope = write("Div", scale, write("Sqrt", write("Add", variance, epsilon)))
    offset = write("Sub", shift, write("Mul", mean, slope))
    return _scaled(write, x, rank, slope, offset) if rank > 1 else ""


def _instance_norm(write: _Writer, x: str, scale: str, shift: str) -> str:
    rank = len(write.lengths(x))
    if rank < 3:
        return ""
    return _scaled(write, _standardised(write, x, [*range(2, rank)]), rank, scale, shift)


def _group_norm(write: _Writer, x: str, scale: str, shift: str) -> str:
    lengths = write.lengths(x)
    if len(lengths) < 3 or 0 in lengths[1:]:
        return ""
    groups = write.constant([0, write.attribute("num_groups", 1), -1], np.int64)
    whole = write.constant([0, *lengths[1:]], np.int64)
    x = _standardised(write, write("Reshape", x, groups), [2])
    if write.opset >= SCALES_PER_CHANNEL:
        return _scaled(write, write("Reshape", x, whole), len(lengths), scale, shift)
    return write("Reshape", _scaled(write, x, 3, scale, shift), whole)


def _average_pool(write: _Writer, x: str) -> str:
    """Write a convolution of every channel by itself; empty where that is not the same."""
    sizes, pads = write.attribute("kernel_shape", []), write.attribute("pads", [])
    channels = (write.lengths(x) + [0, 0])[1]
    padded = any(pads) and not write.attribute("count_include_pad", 0)
    automatic = write.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if not channels or padded or automatic or write.attribute("ceil_mode", 0):
        return ""
    weights = write.constant(np.full((channels, 1, *sizes), 1 / math.prod(sizes)))
    kept = {"strides", "pads", "dilations"} & {a.name for a in write.node.attribute}
    attributes = {name: write.attribute(name, None) for name in sorted(kept)}
    return write("Conv", x, weights, group=channels, kernel_shape=sizes, **attributes)


def _split(write: _Writer, x: str, *_sizes: str) -> str:
    """Write a slice for each part: where one part is not used, the gradient is wrong."""
    axis, start = write.attribute("axis", 0), 0
    lengths = [write.lengths(output) for output in write.node.output]
    if not all(-len(each) <= axis < len(each) and each[axis] for each in lengths):
        return ""
    for output, each in zip(write.node.output, lengths, strict=True):
        ends = [write.constant([n], np.int64) for n in (start, start + each[axis], axis)]
        write("Slice", x, *ends)
        write.nodes[-1].output[0] = output
        start += each[axis]
    return write.node.output[0]


WRITTEN_OUT: Final[dict[str, Callable[..., str]]] = {
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
"""Operators without a gradient, or with one that fails, and how they are written in others."""


def check_gradients(proto: ModelProto, trained: Sequence[str], path: Path) -> None:
    """Make sure that the output can be trained through, down to the parameters `trained`.

    Raises:
        FormatError: If an operator on the way has no gradient; names it.
    """
    _, way = trained_way(proto, trained)
    for node in reversed(way):
        if node.op_type not in TRAINABLE and node.op_type not in WRITTEN_OUT:
            raise _without_gradient(node, proto, trained, path)
        mode = next((a.s for a in node.attribute if a.name == "mode"), b"constant")
        if node.op_type == "Pad" and mode != b"constant":
            form = f" by {mode.decode(errors='replace')!r}, not by a constant,"
            raise _without_gradient(node, proto, trained, path, form)


def write_out(proto: ModelProto, trained: Sequence[str], path: Path) -> list[str]:
    """Write what has no gradient of its own in operators that have one.

    Returns:
        Remarks for the user.

    Raises:
        FormatError: If an operator has a form that cannot be written out; names it.
    """
    _, way = trained_way(proto, trained)
    lengths, opset = _lengths(proto), opset_of(proto)
    replaced: dict[str, Sequence[NodeProto]] = {}
    for node in way:
        if node.op_type == "LayerNormalization":
            _with_statistics(proto, node.output[0])
        elif node.op_type == "MaxPool" and 0 in lengths.get(node.input[0], [0])[1:]:
            form = " on values whose shape depends on the data"
            raise _without_gradient(node, proto, trained, path, form)
        elif node.op_type in WRITTEN_OUT:
            write = _Writer(node, opset, lengths)
            if not WRITTEN_OUT[node.op_type](write, *node.input):
                form = " with these attributes, on values of this shape,"
                raise _without_gradient(node, proto, trained, path, form)
            if len(node.output) == 1:
                write.nodes[-1].output[0] = node.output[0]
            replaced[node.output[0]] = write.nodes
    replace_nodes(proto, replaced)
    prune(proto)  # slices that nobody takes would be put together to a Split again
    if any(node.op_type == "BatchNormalization" for node in way):
        remark = (
            "BatchNormalization works with the mean and variance that the model holds, as in "
            "use; its scale and shift are trained"
        )
        return [remark]
    return []


def _with_statistics(proto: ModelProto, output: str) -> None:
    """Let a LayerNormalization hand out mean and deviation, which its gradient takes."""
    for node in proto.graph.node:
        if node.output and node.output[0] == output:
            outputs = [o or f"{output}__{i}" for i, o in enumerate([*node.output, "", ""][:3])]
            del node.output[:]
            node.output.extend(outputs)


def _lengths(proto: ModelProto) -> dict[str, list[int]]:
    """Return the lengths of the axes of all values, as far as they are known."""
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def _without_gradient(
    node: NodeProto, proto: ModelProto, trained: Sequence[str], path: Path, form: str = ""
) -> FormatError:
    """Return the refusal of an operator, with the parameters that could be trained behind it."""
    seen = False
    behind: list[str] = []
    for other in proto.graph.node:
        if seen:
            behind += [name for name in other.input if name in trained and name not in behind]
        seen = seen or list(other.output) == list(node.output)
    named = f" ({node.name!r})" if node.name else ""
    advice = "export the model with another operator in its place"
    if behind:
        advice += f", or train only what lies behind it: --train '{behind[0]}'"
        advice += " ..." if len(behind) > 1 else ""
    return FormatError(
        path,
        f"operator {node.op_type}{named}{form} has no gradient in onnxruntime-training, and "
        f"trained parameters lie before it; {advice}",
    )
