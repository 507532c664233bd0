"""Flatten an ONNX graph: branches and functions unfolded, names resolved.

Names in ONNX are scoped: branches of an If see the values around them, functions see only their
arguments, initializers are behind Identity nodes. All of that is resolved here once. Bodies are
placed where their operator is, so the list is in network order.

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

from accweight_adapters.onnx.graph import (
    STANDARD_DOMAINS,
    Constant,
    GraphError,
    Network,
    Operator,
    Passing,
    Value,
)

LARGEST_NODES = 1_000_000
"""Most nodes; functions that call functions could expand without limit."""

LARGEST_DEPTH = 40
NAME_SCOPES = "pkg.torch.onnx.name_scopes"
RULES = "pkg.onnxscript.rewriter.rule_name"
SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
STATED = re.compile(r"^\S+: (?:PARAMETER|BUFFER) target='([^'\n]+)'", re.MULTILINE)

PLAIN_ATTRIBUTES = frozenset(
    {AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING, AttributeProto.INTS}
)


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
