"""The graph of an ONNX model with layers as nodes, by the names that its description has.

Operators that use a parameter of a layer are the layer. What a Loop hands on to its next turn is
left out: a layer inside has the edges of one turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from onnx import TensorProto

from accweight_adapters.onnx import names
from accweight_adapters.onnx.description import small_integers
from accweight_adapters.onnx.extents import Weights
from accweight_adapters.onnx.flattening import network_of
from accweight_adapters.onnx.graph import GraphError, Network, Operator, Value
from accweight_adapters.onnx.layers import Layer, layers_of
from accweight_adapters.onnx.roles import meaning_of
from accweight_adapters.onnx.shared import separate
from accweight_adapters.onnx.trace import Ints, uses_of
from accweight_adapters.onnx.wire import read_model
from accweight_core.errors import FormatError
from accweight_core.graphs.contracting import Contraction
from accweight_core.graphs.layer_graph import GraphSizeError, LayerGraph

SIZES = frozenset({"Shape", "Size", "ConstantOfShape", "Range", "EyeLike"})
"""Operators whose results tell of shapes, not of values."""

SCALES_TOO = "DynamicQuantizeLinear"
"""Its further results are scales of the first, which go around the layer that takes it."""

NUMBERS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE,
                     TensorProto.BFLOAT16, TensorProto.UNDEFINED})  # fmt: skip
"""Element types of inputs that layers compute with; others are indices and masks."""


def layer_graph(path: Path) -> LayerGraph:
    """Return the graph of a model, without reading its weights.

    Raises:
        FormatError: If the model is damaged, or its graph is too large.
    """
    weights = Weights(path)
    model = read_model(path)
    ints = partial(small_integers, weights=weights)
    try:
        network = network_of(model)
        separate(network, ints)
        return _Flow(network, layers_of(network, ints), ints).graph(path.name)
    except GraphError as error:
        raise FormatError(path, f"not a valid ONNX model: {error}; export it again") from None
    except GraphSizeError as error:
        raise FormatError(path, f"it cannot be drawn: {error}") from None


class _Flow:
    """Follows values through the operators."""

    def __init__(self, network: Network, layers: list[Layer], ints: Ints) -> None:
        self._network = network
        self._found = Contraction()
        self._sources: dict[int, int | None] = {}
        self._layer_of: dict[int, str] = {}
        self._layers = {layer.name: layer for layer in layers}
        for layer in layers:
            for operator in _operators_of(layer, ints):
                self._layer_of.setdefault(id(operator), layer.name)

    def graph(self, origin: str) -> LayerGraph:
        """Return the graph."""
        found = self._found
        for value, number in self._network.inputs:
            self._sources[id(value)] = found.input(value.name, integers=number not in NUMBERS)
        passings = iter(sorted(self._network.passings, key=lambda one: one.before))
        waiting = next(passings, None)
        for operator in [*self._network.operators, None]:
            at = operator.index if operator is not None else len(self._network.operators)
            while waiting is not None and waiting.before <= at:
                self._receive(waiting.given, waiting.received)
                waiting = next(passings, None)
            if operator is not None:
                self._follow(operator)
        for name, layer in self._layers.items():  # those that no operator uses are nodes as well
            found.layer(name, _parameters(layer))
        for value in self._network.outputs:
            found.output(value.name, self._source(value))
        return found.graph(origin)

    def _source(self, value: Value | None) -> int | None:
        return None if value is None else self._sources.get(id(value))

    def _receive(self, given: Value, received: Value) -> None:
        """Let a value come from one more branch."""
        sources = [self._source(received), self._source(given)]
        self._sources[id(received)] = self._found.operator(sources, "If")

    def _follow(self, operator: Operator) -> None:
        if operator.has_body or operator.type in SIZES:
            return
        name = self._layer_of.get(id(operator), "")
        if name:
            self._found.layer(name, _parameters(self._layers[name]))
        sources = [self._source(value) for value in operator.inputs]
        source = self._found.operator(
            sources, operator.type, layer=name, module=_module_of(operator)
        )
        scales = operator.type == SCALES_TOO
        for place, value in enumerate(operator.outputs):
            self._sources[id(value)] = None if scales and place else source


def _operators_of(layer: Layer, ints: Ints) -> Iterator[Operator]:
    """Yield the operators that use the parameters of a layer, also those of a second use."""
    for part in layer.parts:
        yield part.use.operator
        elements, rank = 1, len(part.constant.shape)
        for length in part.constant.shape:
            elements *= length
        for use in uses_of(part.constant, ints):
            meaning = meaning_of(use, elements, rank)
            if meaning.certain:
                yield use.operator
                yield meaning.operator


def _parameters(layer: Layer) -> tuple[str, ...]:
    return tuple(part.constant.name for part in layer.parts)


def _module_of(operator: Operator) -> str:
    """Return the module of an operator, if the exporter says it."""
    if operator.module:
        return operator.module
    is_path = operator.name.startswith("/") and operator.name.count("/") > 1
    return names.module_of_node(operator.name, "") if is_path else ""
