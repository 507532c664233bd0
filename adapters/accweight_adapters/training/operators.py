"""Operators that ONNX Runtime can train, and decompositions of others into those.

Only while building gradients does the runtime find that an operator has none, and for some it ends
the process without an error. So the working operators are listed here, each tested against finite
differences, and all others are refused by name before training starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnx
from onnx import ModelProto, NodeProto

from accweight_adapters.onnx.separated import prune
from accweight_adapters.training.decompose import DECOMPOSITIONS, Writer
from accweight_adapters.training.graph import opset_of, replace_nodes, trained_way
from accweight_core.errors import FormatError

TRAINABLE: Final = frozenset(
    {"Abs", "Add", "Cast", "Clip", "Concat", "Conv", "Cos", "Div", "Dropout", "Erf",
     "Exp", "Expand", "Flatten", "GRU", "Gather", "Gelu", "Gemm", "GlobalAveragePool", "Identity",
     "LSTM", "LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool",
     "Min", "Mul", "Neg", "Pad", "Pow", "ReduceMean", "ReduceSum", "Relu", "Reshape",
     "Sigmoid", "Sin", "Slice", "Softmax", "Sqrt", "Squeeze", "Sub", "Tanh",
     "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
"""Operators with a correct gradient."""


def check_gradients(proto: ModelProto, trained: Sequence[str], path: Path) -> None:
    """Check that the output can be trained down to the parameters `trained`.

    Raises:
        FormatError: If an operator between them has no gradient; names it.
    """
    _, way = trained_way(proto, trained)
    for node in reversed(way):
        if node.op_type not in TRAINABLE and node.op_type not in DECOMPOSITIONS:
            raise _without_gradient(node, proto, trained, path)
        mode = next((a.s for a in node.attribute if a.name == "mode"), b"constant")
        if node.op_type == "Pad" and mode != b"constant":
            form = f" by {mode.decode(errors='replace')!r}, not by a constant,"
            raise _without_gradient(node, proto, trained, path, form)


def decompose(proto: ModelProto, trained: Sequence[str], path: Path) -> list[str]:
    """Decompose operators without a gradient into others.

    Returns:
        Remarks for the user.

    Raises:
        FormatError: If an operator has a form that cannot be decomposed; names it.
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
        elif node.op_type in DECOMPOSITIONS:
            write = Writer(node, opset, lengths)
            if not DECOMPOSITIONS[node.op_type](write, *node.input):
                form = " with these attributes, on values of this shape,"
                raise _without_gradient(node, proto, trained, path, form)
            if len(node.output) == 1:
                write.nodes[-1].output[0] = node.output[0]
            replaced[node.output[0]] = write.nodes
    replace_nodes(proto, replaced)
    prune(proto)  # unused slices would be fused into a Split again
    if any(node.op_type == "BatchNormalization" for node in way):
        remark = (
            "BatchNormalization works with the mean and variance that the model holds, as in "
            "use; its scale and shift are trained"
        )
        return [remark]
    return []


def _with_statistics(proto: ModelProto, output: str) -> None:
    """Add the outputs mean and deviation to a LayerNormalization, for its gradient."""
    for node in proto.graph.node:
        if node.output and node.output[0] == output:
            outputs = [o or f"{output}__{i}" for i, o in enumerate([*node.output, "", ""][:3])]
            del node.output[:]
            node.output.extend(outputs)


def _lengths(proto: ModelProto) -> dict[str, list[int]]:
    """Return the axis lengths of all values, as far as they are known."""
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def _without_gradient(
    node: NodeProto, proto: ModelProto, trained: Sequence[str], path: Path, form: str = ""
) -> FormatError:
    """Return the error for an operator, with the parameters after it that could be trained."""
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
