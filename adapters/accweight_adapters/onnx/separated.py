"""Load an ONNX model with each parameter as a tensor of its own, to run or train it.

The reader of ONNX files already tells weights from constants, and separates tensors that were
stored once because they were equal before training. Whoever computes with a model needs the same:
every parameter in the reader's list becomes an initializer of the graph, under the reader's name,
so that equal layers can diverge.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from accweight_adapters.onnx.description import described, small_integers
from accweight_adapters.onnx.extents import Weights
from accweight_adapters.onnx.flattening import network_of
from accweight_adapters.onnx.graph import STANDARD_DOMAINS, GraphError, Network
from accweight_adapters.onnx.layers import Layer, Part, layers_of
from accweight_adapters.onnx.shared import separate
from accweight_adapters.onnx.wire import read_model, recognised
from accweight_core.errors import FormatError
from accweight_core.readers import unrecognised
from accweight_core.remote.local import LocalPath, check_not_special

OF_TORCH = (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors")
"""Endings of files that people of PyTorch take for the network."""

EXPORT = (
    "export it once, with batch norm kept apart: torch.onnx.export(model.eval(), args, "
    "'net.onnx', dynamo=True, optimize=False)"
)


@dataclass(slots=True)
class SeparatedModel:
    """A model with one initializer per parameter, under the reader's names.

    Attributes:
        proto: The model.
        layers: Its layers, with their parameters, in network order.
        network: All operators and values.
        before: Names of the initializers that the file has.
    """

    proto: ModelProto
    layers: list[Layer]
    network: Network
    before: set[str]

    @property
    def parts(self) -> list[Part]:
        """All parameters in network order."""
        return [part for layer in self.layers for part in layer.parts]


def checked(path: Path) -> Path:
    """Return a path whose file is an ONNX model that keeps to its sizes and to its folder.

    Raises:
        FormatError: If it is not.
    """
    check_not_special(path)
    local = LocalPath(path)
    if not recognised(local):
        if local.is_file() and path.suffix.lower() in OF_TORCH:
            raise FormatError(
                path, "is not an ONNX model; a file of PyTorch has weights, not the network: "
                f"{EXPORT}; or give the module itself in Python: aw.Network.from_module(model)"
            )  # fmt: skip
        raise unrecognised(local, "an ONNX model")
    described(local)
    return local


def loaded(path: Path) -> ModelProto:
    """Return the model at `path` with its weights, and with functions in place of their calls.

    Raises:
        FormatError: If it is damaged.
    """
    path = checked(path)
    try:
        proto = onnx.load(path)
    except Exception as error:  # onnx raises nearly anything
        raise FormatError(path, f"cannot be loaded: {' '.join(str(error).split())}") from None
    return _inlined(proto, path)


def _inlined(proto: ModelProto, path: Path) -> ModelProto:
    """Return the model with functions inlined."""
    if not proto.functions:
        return proto
    from onnx import inliner

    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise FormatError(path, f"its functions cannot be unfolded ({reason})") from None


def separated(proto: ModelProto, path: Path) -> SeparatedModel:
    """Make every parameter an initializer of the main graph; the model is changed in place.

    Args:
        proto: A model from `loaded`.
        path: Its file, for messages.

    Raises:
        FormatError: If it is no valid model, or a parameter is stored sparsely.
    """
    with _stored(proto) as file:
        read = read_model(file)
        sources = _marked(read.graph, proto.graph)
        try:
            network = network_of(read)
        except GraphError as error:
            raise FormatError(path, f"not a valid ONNX model: {error}") from None
        integers = partial(small_integers, weights=Weights(file))
        separate(network, integers)
        layers = layers_of(network, integers)
    graph = proto.graph
    model = SeparatedModel(proto, layers, network, {tensor.name for tensor in graph.initializer})
    names = {part.constant.name for part in model.parts}
    try:
        _rename_uses(proto, network, names)
    except ValueError:  # there are more bodies than attributes with names of their own
        raise FormatError(path, "not a valid ONNX model: an attribute is given twice") from None
    moved = set()
    for part in model.parts:
        constant = part.constant
        if constant.sparse_shape is not None:
            reason = f"parameter {constant.name!r} is stored sparsely; export it densely"
            raise FormatError(path, reason)
        if constant.name in model.before:
            continue
        tensor = TensorProto()
        if constant.is_zeros:
            zeros = np.zeros(constant.shape, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(zeros, constant.name))
        else:
            place = int(constant.tensor.doc_string)
            tensor.CopyFrom(sources[place])
            moved.add(place)
        tensor.name = constant.name
        graph.initializer.append(tensor)
    _without_moved(read.graph, graph, moved, {tensor.name for tensor in graph.initializer})
    prune(proto)
    return model


@contextmanager
def _stored(proto: ModelProto) -> Iterator[Path]:
    """Give the model as a file, which the reader reads without its weights."""
    with TemporaryDirectory() as folder:
        stored = Path(folder) / "model.onnx"
        onnx.save(proto, stored)
        yield stored


# ---------------------------------------------------------------- graphs and the bodies in them


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs among the attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and the bodies in it, in network order."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from _graphs(body)


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield operators in network order: each before those in its bodies."""
    for node in graph.node:
        if not _is_constant(node):
            yield node
            for body in bodies(node):
                yield from _nodes(body)


def _is_constant(node: NodeProto) -> bool:
    named = node.op_type == "Constant" and node.domain in STANDARD_DOMAINS
    return named and bool(node.output)


def _marked(read: GraphProto, proto: GraphProto) -> list[TensorProto]:
    """Return all tensors with values; mark those read without values by their list position."""
    pairs: list[tuple[TensorProto, TensorProto]] = []
    for ours, theirs in zip(_graphs(read), _graphs(proto), strict=True):
        pairs += zip(ours.initializer, theirs.initializer, strict=True)
        for mine, other in zip(ours.node, theirs.node, strict=True):
            if _is_constant(mine):
                values = zip(mine.attribute, other.attribute, strict=True)
                pairs += [(a.t, b.t) for a, b in values if a.name == "value"]
    for place, (tensor, _) in enumerate(pairs):
        tensor.doc_string = str(place)
    return [tensor for _, tensor in pairs]


def _rename_uses(proto: ModelProto, network: Network, names: set[str]) -> None:
    """Make every operator use its parameters under the reader's names."""
    for node, operator in zip(_nodes(proto.graph), network.operators, strict=True):
        for index, value in enumerate(operator.inputs):
            if value is None or value.constant is None or value.constant.name not in names:
                continue
            if index == len(node.input):  # a zero bias that the exporter omitted
                node.input.append(value.constant.name)
            node.input[index] = value.constant.name


def _without_moved(read: GraphProto, proto: GraphProto, moved: set[int], made: set[str]) -> None:
    """Remove from where they were what is among the initializers of the main graph now.

    Args:
        read: The graph as read, whose tensors are marked.
        proto: The graph to change.
        moved: Marks of the tensors that were moved.
        made: Names of all initializers of the main graph.
    """
    for ours, theirs in zip(list(_graphs(read)), list(_graphs(proto)), strict=True):
        main = theirs is proto
        nodes = [
            other
            for mine, other in zip(ours.node, theirs.node, strict=True)
            if not made.intersection(other.output)
            or not (main or other.op_type == "Identity" or _places(mine) & moved)
        ]
        _replace(theirs.node, nodes)
        if not main:
            pairs = zip(ours.initializer, theirs.initializer, strict=True)
            _replace(theirs.initializer, [b for a, b in pairs if int(a.doc_string) not in moved])


def _places(node: NodeProto) -> set[int]:
    """Return the marks of the tensors in a Constant node."""
    return {int(a.t.doc_string) for a in node.attribute if a.name == "value" and a.t.doc_string}


def prune(proto: ModelProto) -> None:
    """Remove operators and tensors that no output depends on, and inputs that are tensors."""
    graph = proto.graph
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(_taken(node))
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    names = {tensor.name for tensor in graph.initializer}
    inputs = [i for i in graph.input if i.name in needed and i.name not in names]
    _replace(graph.node, list(reversed(kept)))
    _replace(graph.initializer, tensors)
    _replace(graph.input, inputs)


def _taken(node: NodeProto) -> set[str]:
    """Return the names that a node and its bodies use."""
    taken = set(node.input)
    for body in bodies(node):
        taken.update(output.name for output in body.output)
        for inner in body.node:
            taken |= _taken(inner)
    return taken


def _replace(repeated: Any, items: Sequence[Any]) -> None:
    """Replace the items of a repeated field; they may be some of its own."""
    if len(items) == len(repeated):
        return
    copies = [copy.deepcopy(item) for item in items]
    del repeated[:]
    repeated.extend(copies)
