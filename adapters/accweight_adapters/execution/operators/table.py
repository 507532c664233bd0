"""The table of operators: how each is made from a node of a graph.

An operator is registered as a *maker*. It is given the node once, with its attributes, and returns
the function that is called with tensors whenever the graph is run: what attributes say is decided
before, not at every call. Makers refuse forms that they do not know; a wrong result is never an
option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from accweight_adapters.execution.arguments import ARGUMENTS
from accweight_core.errors import UnsupportedOperatorError

OLDEST_OPSET, NEWEST_OPSET = 7, 28
"""The operator sets that are known."""

LONGEST_NAME = 80
"""Characters of a node's name in messages."""

Call = Callable[..., Any]
"""Takes the inputs of a node, None for omitted ones; returns its output, or a tuple of several."""

Numbers = tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A node as makers see it.

    Attributes:
        type: Type of the operator.
        name: Its name in messages.
        opset: Version of the operator set.
        attributes: Their values by name; strings as text, tensors and graphs as protobufs.
        inputs: Which inputs are given.
        outputs: Which outputs are used.
        bodies: Graphs among the attributes, ready to be called.
    """

    type: str
    name: str
    opset: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[bool, ...] = ()
    outputs: tuple[bool, ...] = (True,)
    bodies: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or the default."""
        return self.attributes.get(name, default)

    def needed(self, name: str) -> Any:
        """Return an attribute that the operator cannot do without."""
        if name not in self.attributes:
            raise self.refused(f"lacks its attribute {name!r}")
        return self.attributes[name]

    def gives(self, index: int) -> bool:
        """Tell whether an output is used."""
        return index < len(self.outputs) and self.outputs[index]

    def takes(self, index: int) -> bool:
        """Tell whether an input is given."""
        return index < len(self.inputs) and self.inputs[index]

    def refused(self, problem: str) -> UnsupportedOperatorError:
        """Return the error that says why this form of the operator cannot be run."""
        where = f" ({self.name[:LONGEST_NAME]!r})" if self.name else ""
        return UnsupportedOperatorError(f"operator {self.type}{where} {problem}", self.type)

    def only(self, name: str, *known: Any, default: Any = None) -> Any:
        """Return an attribute, which must have one of the known values."""
        value = self.get(name, default)
        if value not in known:
            raise self.refused(f"has {name}={value!r}, which is not known here")
        return value


Maker = Callable[[Node], Call]


@dataclass(frozen=True, slots=True)
class Operator:
    """An entry of the table.

    Attributes:
        make: Returns the function for a node.
        newest: The latest version of the operator in the ONNX standard that it follows.
        host: Inputs that are taken as numbers and not as tensors, such as the axes of a Squeeze.
        free: Whether the shapes of its outputs depend on values of its inputs.
        on_cpu: Whether it makes its outputs on the CPU, wherever its inputs are.
    """

    make: Maker
    newest: int
    host: frozenset[int] = frozenset()
    free: bool = False
    on_cpu: bool = False


OPERATORS: dict[str, Operator] = {}


def operator(
    *names: str, newest: int, free: bool = False, on_cpu: bool = False
) -> Callable[[Maker], Maker]:
    """Register a maker for operators that have had the same latest version."""

    def register(make: Maker) -> Maker:
        for name in names:
            host = ARGUMENTS.get(name, frozenset())
            OPERATORS[name] = Operator(make, newest, host, free, on_cpu)
        return make

    return register


def plain(newest: int, functions: Mapping[str, Call]) -> None:
    """Register functions of tensors alone, without attributes."""
    for name, function in functions.items():
        OPERATORS[name] = Operator(_always(function), newest)


def _always(function: Call) -> Maker:
    return lambda node: function


def listed(value: Tensor | Numbers) -> tuple[Any, ...]:
    """Return the numbers of a host input: known before, or in a tensor of one axis or none."""
    return value if isinstance(value, tuple) else tuple(value.reshape(-1).tolist())


def single(value: Tensor | Numbers) -> Any:
    """Return the only number of a host input.

    Raises:
        UnsupportedOperatorError: If there are more or none.
    """
    numbers = listed(value)
    if len(numbers) != 1:
        raise UnsupportedOperatorError(f"an argument has {len(numbers)} numbers, where 1 is due")
    return numbers[0]


def axis_in(axis: int, rank: int) -> int:
    """Return an axis counted from the front.

    Raises:
        UnsupportedOperatorError: If the tensor has no such axis.
    """
    if not -rank <= axis < max(rank, 1):
        raise UnsupportedOperatorError(f"there is no axis {axis} in a tensor of {rank} axes")
    return axis % rank if rank else 0


def axes_in(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return axes counted from the front."""
    return tuple(axis_in(axis, rank) for axis in axes)
