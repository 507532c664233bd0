"""An ONNX graph as a network: run by torch operations, its weights an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor

from accweight_adapters.execution.element_types import stored_tensor, type_name
from accweight_adapters.execution.graph import InvalidGraphError, compiled, lengths_of
from accweight_adapters.execution.layer_nodes import layer_nodes
from accweight_adapters.execution.limits import budget
from accweight_adapters.execution.operators import OPERATORS
from accweight_adapters.execution.program import Program
from accweight_adapters.execution.torch_bound import Function, TorchBound, fitting_weights
from accweight_adapters.onnx.graph import STANDARD_DOMAINS
from accweight_adapters.onnx.separated import SeparatedModel, bodies, loaded, separated
from accweight_core.errors import FormatError
from accweight_core.probes.network import OUTPUT, Array, Network, Port

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
)


class OnnxNetwork(Network):
    """The network in an ONNX file."""

    engine = "onnx"

    def __init__(self, model: SeparatedModel, path: Path, device: torch.device) -> None:
        graph = model.proto.graph
        self._path = path
        self.device = device
        self.inputs = tuple(_port(value) for value in graph.input)
        self.outputs = tuple(_port(value) for value in graph.output)
        own = _parameters(model)
        try:
            self._graph = compiled(graph, opset_of(model.proto), device, parameters=own)
        except InvalidGraphError as error:
            raise FormatError(path, f"not a valid ONNX model: {error}") from None
        self.program: Program = self._graph.program()
        needed = self.program.needed(self.program.outputs)
        self.own = {
            name: stored_tensor(tensor).to(device)
            for name, tensor in own.items()
            if self._graph.slots[name] in needed
        }
        self.slots = self._slots(layer_nodes(model.layers), needed)
        self.layers = tuple(name for name in layer_nodes(model.layers) if name in self.slots)
        self.parameters = {name: tuple(value.shape) for name, value in self.own.items()}

    @classmethod
    def opened(cls, path: Path, *, device: str = "cpu") -> OnnxNetwork:
        """Return the network in a file.

        Raises:
            FormatError: If it is damaged.
            UnsupportedOperatorError: If an operator in it is not known.
        """
        proto = with_known_operators(loaded(path))
        return cls(separated(proto, path), path, torch.device(device))

    @property
    def source(self) -> Path:
        """The file."""
        return self._path

    def with_weights(self, weights: Mapping[str, Array]) -> OnnxBound:
        """Return the network with these weights, by its own names; see `Network.with_weights`."""
        return OnnxBound(self, {**self.own, **fitting_weights(weights, self.own, self.device)})

    def _slots(self, layers: Mapping[str, str], needed: set[int]) -> dict[str, int]:
        """Return the slots of all nodes; layers first."""
        graph = self._graph
        others = {*graph.constants, *graph.static, *graph.arguments}
        others |= {graph.slots[name] for name in self.own}
        made = {n: s for n, s in graph.slots.items() if s in needed and s not in others}
        of_layers = {name: made[value] for name, value in layers.items() if value in made}
        return {**of_layers, **{n: s for n, s in made.items() if n not in of_layers}}


class OnnxBound(TorchBound):
    """An ONNX graph with the weights of one checkpoint."""

    def __init__(self, network: OnnxNetwork, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self.network = network

    @property
    def ports(self) -> tuple[Port, ...]:
        """The inputs."""
        return self.network.inputs

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.network.device

    @property
    def nodes(self) -> tuple[str, ...]:
        """Layers by name, then all other values."""
        return tuple(self.network.slots)

    def evaluated(
        self,
        inputs: Mapping[str, Tensor],
        keep: Sequence[str],
        weights: Mapping[str, Tensor],
        functions: Mapping[str, Sequence[Function]],
        *,
        outputs: bool,
    ) -> dict[str, Tensor]:
        """Return outputs, if asked for, and kept nodes."""
        network = self.network
        results = network.program.outputs if outputs else []
        slots = [*results, *(network.slots[name] for name in keep)]
        plan = network.program.plan(slots)
        given = {
            slot: value
            for port, slot in zip(network.inputs, network.program.inputs, strict=True)
            if (value := inputs.get(port.name)) is not None
        }
        names = network._graph.slots
        given.update((names[n], weights[n]) for n in network.own if names[n] in plan.needed)
        patches: dict[int, list[Function]] = {}
        for name, several in functions.items():
            patches.setdefault(network.slots[name], []).extend(several)
        with budget():
            values = plan.run(given, {slot: _composed(f) for slot, f in patches.items()})
        named = [OUTPUT, *(port.name for port in network.outputs[1:])] if outputs else []
        return dict(zip([*named, *keep], values, strict=True))


def _composed(functions: Sequence[Function]) -> Function:
    def composed(value: Any) -> Any:
        for function in functions:
            value = function(value)
        return value

    return composed if len(functions) != 1 else functions[0]


def opset_of(proto: ModelProto) -> int:
    """Return the version of the standard operator set."""
    versions = [o.version for o in proto.opset_import if o.domain in STANDARD_DOMAINS]
    return int(max(versions, default=1))


def with_known_operators(proto: ModelProto) -> ModelProto:
    """Return the model with operators that are not known replaced by what the standard says.

    The standard defines some operators by others. Those that it does not are left.
    """
    unknown = {
        ("", node.op_type)
        for node in _all_nodes(proto.graph.node)
        if node.domain in STANDARD_DOMAINS and node.op_type not in OPERATORS
    }
    if not unknown:
        return proto
    try:
        return onnx.inliner.inline_selected_functions(
            onnx.shape_inference.infer_shapes(proto),
            sorted(unknown),
            exclude=False,
            inline_schema_functions=True,
        )
    except Exception:  # what is left is refused by name
        return proto


def _all_nodes(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    found = []
    for node in nodes:
        found.append(node)
        for body in bodies(node):
            found += _all_nodes(body.node)
    return found


def _port(value: onnx.ValueInfoProto) -> Port:
    return Port(value.name, lengths_of(value), type_name(value.type.tensor_type.elem_type))


def _parameters(model: SeparatedModel) -> dict[str, TensorProto]:
    """Return the initializers that are given for every run, in network order.

    They are the parameters of layers, and all other floating-point tensors of more than one
    element that are taken as tensors, not as arguments.
    """
    stored = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    ordered = dict.fromkeys(part.constant.name for part in model.parts)
    taken = _taken_as_tensors(model.proto.graph.node)
    others = [
        name
        for name, tensor in stored.items()
        if tensor.data_type in FLOATS and _elements(tensor) > 1 and name in taken
    ]
    names = dict.fromkeys([*ordered, *others])
    return {n: stored[n] for n in names if n in stored and stored[n].data_type in FLOATS}


def _elements(tensor: TensorProto) -> int:
    count = 1
    for length in tensor.dims:
        count *= length
    return count


def _taken_as_tensors(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    taken: set[str] = set()
    for node in _all_nodes(nodes):
        known = OPERATORS.get(node.op_type)
        host = known.host if known is not None else frozenset()
        taken.update(name for index, name in enumerate(node.input) if index not in host)
        for body in bodies(node):
            taken.update(output.name for output in body.output)
    return taken
