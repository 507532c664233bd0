"""An ONNX file prepared for running: in inference mode, its parameters apart from its constants.

This much does not depend on the engine, and needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from accweight_adapters.execution.arguments import ARGUMENTS
from accweight_adapters.execution.layer_nodes import layer_nodes
from accweight_adapters.onnx.extents import NAMES
from accweight_adapters.onnx.graph import STANDARD_DOMAINS
from accweight_adapters.onnx.separated import bodies, loaded, separated
from accweight_core.probes.network import Port

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
)


@dataclass(slots=True)
class PreparedModel:
    """A model ready to be run.

    Attributes:
        proto: The model; its parameters are initializers of the main graph.
        inputs: What the user gives.
        outputs: What it returns.
        parameters: The initializers that are given for every run, in network order.
        layers: Names of the values of layers, in network order.
    """

    proto: ModelProto
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    parameters: dict[str, TensorProto]
    layers: dict[str, str]

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        imports = self.proto.opset_import
        versions = [o.version for o in imports if o.domain in STANDARD_DOMAINS]
        return int(max(versions, default=1))


def prepared(path: Path, known: Collection[str] | None = None) -> PreparedModel:
    """Return the model in a file, ready to be run.

    Args:
        path: The file.
        known: Operators that the engine has; others are replaced by what the standard defines
            them as, where it does. None if the engine has all.

    Raises:
        FormatError: If the file is damaged.
    """
    proto = loaded(path)
    if known is not None:
        proto = _with_known_operators(proto, known)
    _in_inference_mode(proto)
    model = separated(proto, path)
    graph = model.proto.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    taken = _taken_as_tensors(graph.node) | {output.name for output in graph.output}
    others = [
        name
        for name, tensor in stored.items()
        if tensor.data_type in FLOATS and math.prod(tensor.dims) > 1 and name in taken
    ]
    ordered = dict.fromkeys([*(part.constant.name for part in model.parts), *others])
    values = (n for n in ordered if n in stored and n in taken)
    parameters = {n: stored[n] for n in values if stored[n].data_type in FLOATS}
    return PreparedModel(
        model.proto,
        tuple(_port(value) for value in graph.input),
        tuple(_port(value) for value in graph.output),
        parameters,
        layer_nodes(model.layers, parameters),
    )


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        dims = tensor.shape.dim
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
    return Port(value.name, shape, NAMES.get(tensor.elem_type, "") if tensor.elem_type else "")


def all_nodes(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes, and those in their bodies."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from all_nodes(body.node)


def _taken_as_tensors(nodes: Sequence[NodeProto]) -> set[str]:
    """Return the names of values that are computed on, and are not arguments alone."""
    taken: set[str] = set()
    for node in all_nodes(nodes):
        arguments = ARGUMENTS.get(node.op_type, frozenset())
        taken.update(name for index, name in enumerate(node.input) if index not in arguments)
        for body in bodies(node):
            taken.update(output.name for output in body.output)
    return taken


def _with_known_operators(proto: ModelProto, known: Collection[str]) -> ModelProto:
    """Return the model with other operators replaced by what the standard defines them as.

    It defines some by others. Those that it does not are left.
    """
    others = {
        ("", node.op_type)
        for node in all_nodes(proto.graph.node)
        if node.domain in STANDARD_DOMAINS and node.op_type not in known
    }
    if not others:
        return proto
    from onnx import inliner, shape_inference

    try:
        return inliner.inline_selected_functions(
            shape_inference.infer_shapes(proto),
            sorted(others),
            exclude=False,
            inline_schema_functions=True,
        )
    except Exception:  # what is left is refused by name
        return proto


def _in_inference_mode(proto: ModelProto) -> None:
    """Make dropout and batch norm do what they do in inference, if they were exported in training.

    Statistics of the batch that nobody uses are no longer computed.
    """
    used = {name for node in all_nodes(proto.graph.node) for name in node.input}
    used.update(output.name for output in proto.graph.output)
    for node in all_nodes(proto.graph.node):
        if node.domain not in STANDARD_DOMAINS:
            continue
        if node.op_type == "Dropout" and len(node.input) > 2:
            del node.input[1:]
        if node.op_type == "BatchNormalization" and used.isdisjoint(node.output[1:]):
            del node.output[1:]
            kept = [a for a in node.attribute if a.name != "training_mode"]
            del node.attribute[:]
            node.attribute.extend(kept)
