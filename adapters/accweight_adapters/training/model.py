"""Load an ONNX model for training, with each parameter as a tensor of its own.

The reader of ONNX files already tells weights from constants, and separates tensors that were
stored once because they were equal before training. Training uses its result: every parameter in
the reader's list becomes a separate initializer, so that equal layers can diverge, and the
checkpoints have the parameters that an analysis of the model has.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from accweight_adapters.onnx.description import described, small_integers
from accweight_adapters.onnx.extents import Weights, type_name
from accweight_adapters.onnx.graph import STANDARD_DOMAINS, GraphError, Network, network_of
from accweight_adapters.onnx.layers import Part, layers_of
from accweight_adapters.onnx.reader import OnnxReader
from accweight_adapters.onnx.shared import separate
from accweight_adapters.onnx.wire import read_model
from accweight_adapters.training.config import TrainSelection
from accweight_core.errors import FormatError, UnknownNameError
from accweight_core.readers import unrecognised
from accweight_core.remote.local import LocalPath, check_not_special
from accweight_core.schema import Role

QUANTISED: Final = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinear",
    "ConvInteger",
    "MatMulInteger",
    "QGemm",
    "MatMulNBits",
)
CONTROL_FLOW: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})
LARGEST_BYTES: Final = 1_900_000_000
"""Limit of a protobuf message, which the training graph must fit in."""

TRAINED_ROLES: Final = (Role.WEIGHT, Role.BIAS, Role.NORM, Role.EMBEDDING)


@dataclass(slots=True)
class TrainableModel:
    """A model with one initializer per parameter, under the reader's names.

    Attributes:
        path: The file.
        proto: The model.
        roles: Role of every parameter by name, in network order.
        notes: Changes made, for the user.
    """

    path: Path
    proto: ModelProto
    roles: dict[str, Role]
    notes: list[str] = field(default_factory=list)


def load_model(path: Path) -> TrainableModel:
    """Return the model at `path`, with separate parameters.

    Raises:
        FormatError: If it is damaged, or cannot be trained; says why.
    """
    check_not_special(path)
    path = LocalPath(path)
    if not OnnxReader().recognises(path):
        raise unrecognised(path)
    described(path)  # checks all sizes, and that no path leaves the folder
    _check_size(path)
    try:
        proto = onnx.load(path)
    except Exception as error:  # onnx raises nearly anything
        raise FormatError(path, f"cannot be loaded: {' '.join(str(error).split())}") from None
    proto = _inlined(proto, path)
    _check_operators(proto, path)
    model = _with_own_parameters(proto, path)
    _check_types(model)
    return model


def choose(model: TrainableModel, train: Sequence[str], freeze: Sequence[str]) -> TrainSelection:
    """Return the parameters to train: those that match `train`, if given, and not `freeze`.

    Raises:
        UnknownNameError: If a pattern matches no parameter.
        FormatError: If nothing is left to train.
    """
    able = [name for name, role in model.roles.items() if role in TRAINED_ROLES]
    for pattern in (*train, *freeze):
        if not any(fnmatchcase(name, pattern) for name in model.roles):
            known = ", ".join(list(model.roles)[:6]) + (", ..." if len(model.roles) > 6 else "")
            raise UnknownNameError(f"no parameter matches {pattern!r}; parameters are {known}")
    wanted = [name for name in able if not train or _fits(name, train)]
    trained = tuple(name for name in wanted if not _fits(name, freeze))
    if not trained:
        has = f"its {len(able)} parameters are all frozen" if able else "it holds no weights"
        raise FormatError(model.path, f"there is nothing to train: {has}")
    return TrainSelection(trained, tuple(name for name in model.roles if name not in set(trained)))


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_size(path: Path) -> None:
    files = {str(path), *described(path).files}
    size_bytes = sum(Path(file).stat().st_size for file in files)
    if size_bytes > LARGEST_BYTES:
        raise FormatError(
            path, f"has {size_bytes / 1e9:.1f} GB; models can be trained here up to 1.9 GB"
        )


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


def _check_operators(proto: ModelProto, path: Path) -> None:
    """Raise for operators that can never be trained."""
    for node in proto.graph.node:
        what = f"operator {node.op_type}" + (f" ({node.name!r})" if node.name else "")
        if node.op_type.startswith(QUANTISED):
            raise FormatError(
                path,
                f"is quantised ({what}): codes have no gradient; train the float model that it "
                "was made from, and quantise it afterwards",
            )
        if node.domain not in STANDARD_DOMAINS:
            raise FormatError(
                path,
                f"uses {what} of the domain {node.domain!r}; only operators of the ONNX standard "
                "can be trained: export the model without optimisation for a runtime",
            )
        if node.op_type in CONTROL_FLOW:
            raise FormatError(
                path,
                f"branches ({what}), and onnxruntime-training has no gradient for that; export "
                "the model with fixed control flow",
            )


def _check_types(model: TrainableModel) -> None:
    types = {t.name: type_name(t) for t in model.proto.graph.initializer}
    for name in model.roles:
        if types[name] != "float32" and model.roles[name] in TRAINED_ROLES:
            raise FormatError(
                model.path,
                f"parameter {name!r} is {types[name]}; training works in float32: "
                "export the model in float32",
            )


# ---------------------------------------------------------------- parameters of their own


def _with_own_parameters(proto: ModelProto, path: Path) -> TrainableModel:
    """Make every parameter an initializer under its own name, and record the changes."""
    graph = proto.graph
    with TemporaryDirectory() as folder:
        stored = Path(folder) / "model.onnx"
        onnx.save(proto, stored)
        read = read_model(stored)
        sources = _marked(read, proto)
        try:
            network = network_of(read)
        except GraphError as error:
            raise FormatError(path, f"not a valid ONNX model: {error}") from None
        integers = partial(small_integers, weights=Weights(stored))
        separate(network, integers)
        parts = [part for layer in layers_of(network, integers) for part in layer.parts]
    model = TrainableModel(path, proto, {part.constant.name: part.role for part in parts})
    before = {tensor.name for tensor in graph.initializer}
    _rename_uses(proto, network, model.roles)
    for part in parts:
        constant = part.constant
        if constant.sparse_shape is not None:
            reason = f"parameter {constant.name!r} is stored sparsely; export it densely"
            raise FormatError(path, reason)
        if constant.name in before:
            continue
        tensor = TensorProto()
        if constant.is_zeros:
            zeros = np.zeros(constant.shape, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(zeros, constant.name))
        else:
            tensor.CopyFrom(sources[int(constant.tensor.doc_string)])
        tensor.name = constant.name
        graph.initializer.append(tensor)
    model.notes += _notes_on(parts, before)
    made = {tensor.name for tensor in graph.initializer}
    _replace(graph.node, [node for node in graph.node if made.isdisjoint(node.output)])
    prune(proto)
    return model


def _marked(read: ModelProto, proto: ModelProto) -> list[TensorProto]:
    """Return all tensors with values; mark those read without values by their list position."""
    pairs = list(zip(read.graph.initializer, proto.graph.initializer, strict=True))
    for ours, theirs in zip(read.graph.node, proto.graph.node, strict=True):
        if _is_constant(ours):
            values = zip(ours.attribute, theirs.attribute, strict=True)
            pairs += [(a.t, b.t) for a, b in values if a.name == "value"]
    for place, (tensor, _) in enumerate(pairs):
        tensor.doc_string = str(place)
    return [tensor for _, tensor in pairs]


def _is_constant(node: NodeProto) -> bool:
    named = node.op_type == "Constant" and node.domain in STANDARD_DOMAINS
    return named and bool(node.output)


def _rename_uses(proto: ModelProto, network: Network, roles: Mapping[str, Role]) -> None:
    """Make every operator use its parameters under the reader's names."""
    nodes = [node for node in proto.graph.node if not _is_constant(node)]
    for node, operator in zip(nodes, network.operators, strict=True):
        for index, value in enumerate(operator.inputs):
            if value is None or value.constant is None or value.constant.name not in roles:
                continue
            if index == len(node.input):  # a zero bias that the exporter omitted
                node.input.append(value.constant.name)
            node.input[index] = value.constant.name


def _notes_on(parts: Sequence[Part], before: set[str]) -> list[str]:
    notes = []
    constants = [part.constant for part in parts]
    apart = [c.name for c in constants if c.name not in before and not c.from_node]
    if apart:
        notes.append(
            f"{len(apart)} parameters ({apart[0]!r} ...) were stored together with equal ones; "
            "each is trained separately"
        )
    tied = [part for part in parts if part.elsewhere]
    if tied:
        notes.append(
            f"{len(tied)} tensors serve several layers ({tied[0].constant.name!r} also "
            f"{tied[0].elsewhere!r}) and are trained as one"
        )
    return notes


def prune(proto: ModelProto) -> None:
    """Remove operators and tensors that no output depends on, and inputs that are tensors."""
    graph = proto.graph
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    names = {tensor.name for tensor in graph.initializer}
    inputs = [i for i in graph.input if i.name in needed and i.name not in names]
    _replace(graph.node, list(reversed(kept)))
    _replace(graph.initializer, tensors)
    _replace(graph.input, inputs)


def _replace(repeated: Any, items: Sequence[Any]) -> None:
    """Replace the items of a repeated field; they may be some of its own."""
    if len(items) == len(repeated):
        return
    copies = [copy.deepcopy(item) for item in items]
    del repeated[:]
    repeated.extend(copies)
