"""An ONNX graph, flattened: operators in order, and values with producers and consumers.

Names in ONNX are scoped: branches of an If see the values around them, functions see only their
arguments, initializers are behind Identity nodes. All of that is resolved here once, so that every
value knows its producer and its consumers. Bodies are placed where their operator is, so the list
is in network order.

Plain protobufs are used and not onnx-ir: this one traversal is all that is needed, and its errors
on damaged files are known.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

LARGEST_NODES = 1_000_000
"""Most nodes; functions that call functions could expand without limit."""

LARGEST_DEPTH = 40
STANDARD_DOMAINS = ("", "ai.onnx")
NAME_SCOPES = "pkg.torch.onnx.name_scopes"
RULES = "pkg.onnxscript.rewriter.rule_name"
SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
STATED = re.compile(r"^\S+: (?:PARAMETER|BUFFER) target='([^'\n]+)'", re.MULTILINE)


class GraphError(ValueError):
    """Raised if a graph calls itself or expands beyond the limits."""


@dataclass(eq=False, slots=True)
class Value:
    """An edge of the graph: the output of an operator, or a constant.

    `fixed` caches whether it depends on constants only.
    """

    name: str
    constant: Constant | None = None
    producer: Operator | None = None
    fixed: bool | None = None
    users: list[tuple[Operator, int]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Constant:
    """A tensor stored in the file: an initializer, or the value of a Constant node.

    Attributes:
        name: Its name, unique in the model.
        tensor: Type, shape, and the pointer to its values.
        from_node: Whether it belongs to a Constant node.
        sparse_shape: Its shape if it is stored sparsely, else None.
        is_zeros: Whether the exporter omitted it because all of its elements are zero.
        values: Its edges: several if it is in a function that is called several times.
    """

    name: str
    tensor: TensorProto
    from_node: bool = False
    sparse_shape: tuple[int, ...] | None = None
    is_zeros: bool = False
    values: list[Value] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.sparse_shape or tuple(self.tensor.dims)


@dataclass(eq=False, slots=True)
class Operator:
    """A node with its names resolved.

    Attributes:
        type: Operator type without domain.
        name: Name of the node, prefixed by the function calls around it; may be empty.
        index: Position in network order.
        inputs: Input edges; None for omitted ones.
        outputs: Output edges.
        attributes: Values by name, except graphs and tensors.
        module: Module path recorded by the torch exporter, if any.
        standard: Whether it is an operator of the ONNX standard.
        rules: Rewrite rules that the torch exporter's optimiser applied to it, latest first.
        has_body: Whether its outputs are made by branches or a body.
    """

    type: str
    name: str
    index: int
    inputs: list[Value | None]
    outputs: list[Value]
    attributes: dict[str, Any]
    module: str = ""
    standard: bool = True
    rules: tuple[str, ...] = ()
    has_body: bool = False

    def input(self, index: int) -> Value | None:
        """Return an input, or None if it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        value = self.attributes.get(name)
        return value if isinstance(value, int) else default

    def integers(self, name: str) -> list[int] | None:
        """Return an integer list attribute, or None if it has another type."""
        value = self.attributes.get(name)
        return value if isinstance(value, list) else None

    def text(self, name: str) -> str:
        """Return a string attribute."""
        value = self.attributes.get(name)
        return value.decode(errors="replace") if isinstance(value, bytes) else ""


@dataclass(slots=True)
class Passing:
    """A value that is another one, in a body or behind it.

    Attributes:
        before: Index of the first operator for which that holds.
        given: The value.
        received: What it is called there.
    """

    before: int
    given: Value
    received: Value


@dataclass(slots=True)
class Network:
    """All operators and constants of a model, in network order.

    Attributes:
        operators: The operators.
        constants: The constants.
        stated: Names of all parameters and buffers, if the torch exporter listed them.
        inputs: Values that are given from outside, with the number of their element type (0 if it
            is not said).
        outputs: The results.
        passings: What goes into the bodies of operators and comes out of them.
    """

    operators: list[Operator] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    stated: frozenset[str] = frozenset()
    inputs: list[tuple[Value, int]] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    passings: list[Passing] = field(default_factory=list)


def network_of(model: ModelProto) -> Network:
    """Return the flattened network.

    Raises:
        GraphError: If functions call themselves, or the network exceeds the limits.
    """
    flattening = _Flattening({(f.domain, f.name, f.overload): f for f in model.functions})
    scope = _Scope()
    flattening.graph(model.graph, scope)
    network = flattening.network
    network.stated = frozenset(STATED.findall(_noted(model.graph, SIGNATURE)))
    given = [(scope.find(one.name), one.type.tensor_type.elem_type) for one in model.graph.input]
    network.inputs = [(v, number) for v, number in given if v is not None and v.constant is None]
    network.outputs = [v for one in model.graph.output if (v := scope.find(one.name)) is not None]
    return network


class _Scope:
    """Values by name, including those of the surrounding graph."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self._outer = outer
        self._values: dict[str, Value] = {}

    def add(self, name: str, value: Value | None = None) -> Value:
        """Bind a name in this scope, or complete a value that was used before its definition."""
        if value is not None:
            self._values[name] = value
        return self._values.setdefault(name, Value(name))

    def find(self, name: str) -> Value | None:
        """Return the value of a name; before its definition, a placeholder."""
        if not name:
            return None
        scope: _Scope | None = self
        while scope is not None:
            if name in scope._values:
                return scope._values[name]
            scope = scope._outer
        return self.add(name)


@dataclass
class _Call:
    """Context of a node inside functions: attributes of the call, name prefix, depth."""

    attributes: Mapping[str, AttributeProto] = field(default_factory=dict)
    prefix: str = ""
    depth: int = 0

    def deeper(self) -> _Call:
        """Return the context one level further down."""
        if self.depth >= LARGEST_DEPTH:
            raise GraphError(f"branches and functions are nested more than {LARGEST_DEPTH} deep")
        return replace(self, depth=self.depth + 1)


class _Flattening:
    """Traverses graphs, branches and function bodies."""

    def __init__(self, functions: dict[tuple[str, str, str], FunctionProto]) -> None:
        self.network = Network()
        self._functions = functions
        self._names: set[str] = set()
        self._visited = 0
        self._of_tensor: dict[int, Constant] = {}

    def graph(self, graph: GraphProto, scope: _Scope, call: _Call | None = None) -> None:
        """Add a graph, inputs first, since a constant may be the default of an input."""
        for argument in graph.input:
            scope.add(argument.name)
        for tensor in graph.initializer:
            self._constant(tensor.name, tensor, scope)
        for sparse in graph.sparse_initializer:
            shape = tuple(sparse.dims)
            self._constant(sparse.values.name, sparse.values, scope, sparse_shape=shape)
        self._nodes(graph.node, scope, call or _Call())

    def _constant(self, name: str, tensor: TensorProto, scope: _Scope, **properties: Any) -> None:
        known = self._of_tensor.get(id(tensor))
        if known is None:
            known = Constant(self._unique(name), tensor, **properties)
            self._of_tensor[id(tensor)] = known
            self.network.constants.append(known)
        value = scope.add(name)
        value.constant = known
        known.values.append(value)

    def _unique(self, name: str) -> str:
        """Return the name, numbered if another scope has used it."""
        candidate, count = name, 1
        while candidate in self._names:
            count += 1
            candidate = f"{name}@{count}"
        self._names.add(candidate)
        return candidate

    def _nodes(self, nodes: Iterable[NodeProto], scope: _Scope, call: _Call) -> None:
        for node in nodes:
            self._visited += 1
            if self._visited > LARGEST_NODES:
                raise GraphError(f"the graph unfolds to more than {LARGEST_NODES} nodes")
            attributes = dict(_attributes(node.attribute, call))
            function = self._functions.get((node.domain, node.op_type, node.overload))
            if function is not None:
                self._function(function, node, attributes, scope, call)
            elif node.op_type == "Constant" and node.domain in STANDARD_DOMAINS and node.output:
                self._constant_node(node.output[0], attributes, scope)
            else:
                self._operator(node, attributes, scope, call)

    def _constant_node(
        self, name: str, attributes: Mapping[str, AttributeProto], scope: _Scope
    ) -> None:
        if "value" in attributes:
            self._constant(name, attributes["value"].t, scope, from_node=True)
        elif "sparse_value" in attributes:
            sparse = attributes["sparse_value"].sparse_tensor
            shape = tuple(sparse.dims)
            self._constant(name, sparse.values, scope, from_node=True, sparse_shape=shape)
        else:
            scope.add(name)  # numbers and strings in the node: arguments, not weights

    def _operator(
        self, node: NodeProto, attributes: Mapping[str, AttributeProto], scope: _Scope, call: _Call
    ) -> None:
        inputs = [scope.find(name) for name in node.input]
        outputs = [scope.add(name) for name in node.output]
        operator = self._add(node, inputs, outputs, call)
        operator.attributes = {
            name: onnx.helper.get_attribute_value(a)
            for name, a in attributes.items()
            if a.type in PLAIN_ATTRIBUTES
        }
        for attribute in attributes.values():
            for body in (attribute.g, *attribute.graphs):
                operator.has_body = operator.has_body or bool(body.output)
                inner = _Scope(scope)
                self._enter(body, operator, inner)
                self._body(body, outputs, inner, call.deeper())
                self._leave(body, operator, inner)

    def _enter(self, body: GraphProto, operator: Operator, scope: _Scope) -> None:
        """Note which values of an operator are arguments of its body."""
        before = len(self.network.operators)
        for argument, value in zip(body.input, operator.inputs, strict=False):
            if value is not None:
                self.network.passings.append(Passing(before, value, scope.add(argument.name)))

    def _leave(self, body: GraphProto, operator: Operator, scope: _Scope) -> None:
        """Note which results of a body are outputs of its operator."""
        before = len(self.network.operators)
        results = body.output[1:] if operator.type == "Loop" else body.output  # the first: go on?
        for result, output in zip(results, operator.outputs, strict=False):
            value = scope.find(result.name)
            if value is not None:
                self.network.passings.append(Passing(before, value, output))

    def _body(self, body: GraphProto, outputs: list[Value], scope: _Scope, call: _Call) -> None:
        """Add a branch; its outputs become those of its operator."""
        self.graph(body, scope, call)
        for result, output in zip(body.output, outputs, strict=False):
            value = scope.find(result.name)
            if value is not None:
                index = len(self.network.operators)
                link = Operator("Identity", "", index, [value], [output], {})
                value.users.append((link, 0))

    def _add(
        self, node: NodeProto, inputs: list[Value | None], outputs: list[Value], call: _Call
    ) -> Operator:
        operator = Operator(
            node.op_type,
            call.prefix + node.name,
            len(self.network.operators),
            inputs,
            outputs,
            {},
            module=_module(node),
            standard=node.domain in STANDARD_DOMAINS,
            rules=tuple(filter(None, _noted(node, RULES).split(", "))),
        )
        self.network.operators.append(operator)
        for index, value in enumerate(inputs):
            if value is not None:
                value.users.append((operator, index))
        for value in outputs:
            value.producer = operator
        return operator

    def _function(
        self,
        function: FunctionProto,
        node: NodeProto,
        attributes: dict[str, AttributeProto],
        scope: _Scope,
        call: _Call,
    ) -> None:
        """Add the body of a function in place of a call."""
        inner = _Scope()
        for name, argument in zip(function.input, node.input, strict=False):
            inner.add(name, scope.find(argument))
        for name, result in zip(function.output, node.output, strict=False):
            inner.add(name, scope.add(result))
        defaults = {a.name: a for a in function.attribute_proto}
        prefix = f"{call.prefix}{node.name}/" if node.name else call.prefix
        deeper = replace(call.deeper(), attributes=defaults | attributes, prefix=prefix)
        self._nodes(function.node, inner, deeper)


PLAIN_ATTRIBUTES = frozenset(
    {AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING, AttributeProto.INTS}
)


def _attributes(
    attributes: Iterable[AttributeProto], call: _Call
) -> Iterator[tuple[str, AttributeProto]]:
    """Yield attributes by name; references to attributes of the call are resolved."""
    for attribute in attributes:
        if not attribute.ref_attr_name:
            yield attribute.name, attribute
        elif attribute.ref_attr_name in call.attributes:
            yield attribute.name, call.attributes[attribute.ref_attr_name]


def _noted(proto: NodeProto | GraphProto, key: str) -> str:
    """Return a metadata entry of a node or graph, or ''."""
    return next((entry.value for entry in proto.metadata_props if entry.key == key), "")


def _module(node: NodeProto) -> str:
    """Return the module recorded by the torch exporter: the last but one of its name scopes."""
    text = _noted(node, NAME_SCOPES)
    if not text or len(text) >= 1 << 14:
        return ""
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""
