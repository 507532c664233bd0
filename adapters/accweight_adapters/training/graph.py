"""Rewrite a graph so that ONNX Runtime can train it, without changing what it computes.

Operator sets are converted to the range with gradients, a fixed batch size is made dynamic, a final
softmax that is part of the loss is removed, and operators without a gradient are decomposed
(`operators`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from accweight_adapters.onnx.graph import STANDARD_DOMAINS
from accweight_adapters.onnx.separated import prune
from accweight_adapters.training.library import NEWEST_IR, NEWEST_OPSET, OLDEST_OPSET
from accweight_adapters.training.loss import Loss
from accweight_core.errors import FormatError, UnknownNameError
from accweight_core.text import meant

RAISED_OPSET: Final = 17
"""Operator set that older models are converted to: the first one with all decompositions."""

BATCH: Final = "batch"

ENDS: Final[dict[Loss, tuple[str, ...]]] = {
    Loss.cross_entropy: ("Softmax", "LogSoftmax"),
    Loss.bce_with_logits: ("Sigmoid",),
}
"""Final operators that are part of a loss, and must not be applied twice."""


def standardised(proto: ModelProto, path: Path) -> ModelProto:
    """Return the model in a trainable operator set.

    Raises:
        FormatError: If it cannot be converted; says which operator set to export.
    """
    version = opset_of(proto)
    wanted = version
    if version < OLDEST_OPSET:
        wanted = RAISED_OPSET
    if version > NEWEST_OPSET:
        wanted = NEWEST_OPSET
    proto.ir_version = NEWEST_IR
    if wanted == version:
        return proto
    from onnx import version_converter

    try:
        converted = version_converter.convert_version(proto, wanted)
        onnx.checker.check_model(converted)
    except Exception as error:  # any exception of native code
        reason = " ".join(str(error).split())[:200]
        raise FormatError(
            path,
            f"uses operator set {version}, and cannot be converted to {wanted} ({reason}); "
            f"export it with an operator set from {OLDEST_OPSET} to {NEWEST_OPSET}",
        ) from None
    converted.ir_version = NEWEST_IR
    return converted


def opset_of(proto: ModelProto) -> int:
    """Return the version of the standard operator set."""
    versions = [o.version for o in proto.opset_import if o.domain in STANDARD_DOMAINS]
    return int(versions[0]) if versions else 1


def with_one_output(proto: ModelProto, name: str | None, path: Path) -> None:
    """Keep the output that is trained, and what it depends on.

    Raises:
        UnknownNameError: If there are several and `name` is None, or it does not exist.
    """
    names = [output.name for output in proto.graph.output]
    if name is None and len(names) != 1:
        raise UnknownNameError(
            f"{path}: the model has the outputs {', '.join(names)}; choose the one for the "
            "loss with --output"
        )
    if name is not None and name not in names:
        raise UnknownNameError(
            f"{path}: no output is called {name!r}; {meant(name, names)}there is {', '.join(names)}"
        )
    kept = [output for output in proto.graph.output if name in (None, output.name)]
    first = onnx.ValueInfoProto()
    first.CopyFrom(kept[0])
    del proto.graph.output[:]
    proto.graph.output.append(first)
    prune(proto)


def without_end(proto: ModelProto, loss: Loss) -> str:
    """Remove a final softmax or sigmoid that is part of the loss; return a note, or ''."""
    output = proto.graph.output[0]
    makers = {name: node for node in proto.graph.node for name in node.output}
    node = makers.get(output.name)
    if node is None or node.op_type not in ENDS.get(loss, ()):
        return ""
    rank = len(output.type.tensor_type.shape.dim)
    default = 1 if opset_of(proto) < OLDEST_OPSET else -1
    axis = next((a.i for a in node.attribute if a.name == "axis"), default)
    if node.op_type != "Sigmoid" and rank > 1 and axis not in (1, -1, rank - 1):
        return ""
    output.name = node.input[0]
    proto.graph.node.remove(node)
    prune(proto)
    return (
        f"the model ends with {node.op_type}, which is part of {loss}: it is left out of the "
        "training, so that it does not count twice"
    )


# ---------------------------------------------------------------- batches


@dataclass(frozen=True, slots=True)
class Batches:
    """Number of samples per call of the model: `fixed`, or any if that is None."""

    fixed: int | None


def fixed_batch(proto: ModelProto) -> int | None:
    """Return the batch size of the inputs, or None if it is dynamic."""
    sizes = [_first_length(value) for value in proto.graph.input]
    known = [size for size in sizes if size]
    return known[0] if known and len(set(known)) == 1 and len(known) == len(sizes) else None


def _first_length(value: onnx.ValueInfoProto) -> int:
    dims = value.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0


def with_free_batch(proto: ModelProto, size: int) -> ModelProto:
    """Return the model with a dynamic batch size; the caller must test that it works."""
    freed = ModelProto()
    freed.CopyFrom(proto)
    del freed.graph.value_info[:]
    for value in (*freed.graph.input, *freed.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == size:
            dims[0].dim_param = BATCH
    tensors = {tensor.name: tensor for tensor in freed.graph.initializer}
    constants = {node.output[0]: node for node in freed.graph.node if node.op_type == "Constant"}
    fixed = _fixed_values(freed)
    for node in list(freed.graph.node):
        if node.op_type == "Reshape" and node.input[0] not in fixed:
            shape = _shape_argument(node, tensors, constants)
            if shape is not None and len(shape) and shape[0] == size:
                shape[0] = 0 if (shape == -1).any() else -1
                name = f"{node.output[0]}__shape"
                freed.graph.initializer.append(numpy_helper.from_array(shape, name))
                node.input[1] = name
    prune(freed)
    return freed


def with_lengths(proto: ModelProto, shapes: Sequence[Sequence[int]]) -> None:
    """Set the shape of samples at the inputs; some gradients need known lengths."""
    for value, shape in zip(proto.graph.input, shapes, strict=True):
        for dimension, length in zip(value.type.tensor_type.shape.dim[1:], shape, strict=True):
            dimension.dim_value = length
    del proto.graph.value_info[:]


def _fixed_values(proto: ModelProto) -> set[str]:
    """Return the names of values that depend only on tensors of the file."""
    fixed = {tensor.name for tensor in proto.graph.initializer} | {""}
    for node in proto.graph.node:
        if fixed.issuperset(node.input):
            fixed.update(node.output)
    return fixed


def _shape_argument(
    node: NodeProto, tensors: dict[str, TensorProto], constants: dict[str, NodeProto]
) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    name = node.input[1]
    if name in tensors:
        return np.array(numpy_helper.to_array(tensors[name]), np.int64)
    if name in constants:
        for attribute in constants[name].attribute:
            if attribute.name == "value":
                return np.array(numpy_helper.to_array(attribute.t), np.int64)
            if attribute.name == "value_ints":
                return np.array(attribute.ints, np.int64)
    return None


# ---------------------------------------------------------------- what the loss depends on


def trained_way(proto: ModelProto, trained: Iterable[str]) -> tuple[set[str], list[NodeProto]]:
    """Return the parameters that the output depends on, and the operators between them.

    Gradients flow through floating-point values only; tensors used to compute shapes are not
    trained.
    """
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=False)
    numbers = (TensorProto.FLOAT, TensorProto.UNDEFINED)
    typed = (*inferred.graph.value_info, *inferred.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in typed}
    behind, nodes = set(trained), []
    for node in proto.graph.node:
        if behind.intersection(node.input):
            outputs = [o for o in node.output if types.get(o, TensorProto.UNDEFINED) in numbers]
            if outputs:
                behind.update(outputs)
                nodes.append(node)
    needed = {proto.graph.output[0].name}
    way = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            way.append(node)
            needed.update(name for name in node.input if name in behind)
    return needed.intersection(trained), list(reversed(way))


def replace_nodes(proto: ModelProto, replaced: dict[str, Sequence[NodeProto]]) -> None:
    """Replace the operators that produce the named values."""
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        others = replaced.get(node.output[0]) if node.output else None
        nodes += [node] if others is None else others
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
