"""An ONNX graph, flattened: operators in order, and values with producers and consumers.

Names are resolved (`flattening`), so every value knows who makes it and who takes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onnx import TensorProto

STANDARD_DOMAINS = ("", "ai.onnx")


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
