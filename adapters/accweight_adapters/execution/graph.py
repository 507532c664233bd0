"""From a graph of ONNX to a `Program`.

Names are resolved to slots; bodies of loops and branches become programs of their own, which say
what they take from around. Constants are folded where everything that an operator takes is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch
from onnx import AttributeProto, GraphProto, NodeProto
from torch import Tensor

from accweight_adapters.execution.graph_statements import (
    attribute_value,
    declared_form,
    stored_constant,
)
from accweight_adapters.execution.limits import at_most, budget
from accweight_adapters.execution.operators import OPERATORS
from accweight_adapters.execution.operators.control import Declared
from accweight_adapters.execution.operators.table import (
    NEWEST_OPSET,
    OLDEST_OPSET,
    Call,
    Node,
    Operator,
)
from accweight_adapters.execution.program import (
    NOTHING,
    BodyProgram,
    Program,
    Step,
    described,
    failure,
    moved_to,
)
from accweight_adapters.onnx.graph import STANDARD_DOMAINS
from accweight_core.errors import MemoryLimitError, UnsupportedOperatorError

LARGEST_FOLDED = 1 << 23
"""Most bytes of a result that is computed before the first run."""


class InvalidGraphError(ValueError):
    """Raised if names in a graph do not fit together."""


@dataclass(slots=True)
class Compilation:
    """A graph being turned into a program.

    Attributes:
        opset: Version of the operator set.
        device: Where the program will run.
        outer: The graph around it, if it is a body.
        slots: Slots by names.
        constants: Contents of slots that never change.
        captured: Slots that stand for values of the outer graph, and their slots there.
        inner: For values in bodies of operators here, by name, the slots of the operators' results.
        bodies: Graphs of bodies of operators here.
    """

    opset: int
    device: torch.device
    outer: Compilation | None = None
    slots: dict[str, int] = field(default_factory=dict)
    constants: dict[int, Any] = field(default_factory=dict)
    captured: dict[int, int] = field(default_factory=dict)
    inner: dict[str, tuple[int, ...]] = field(default_factory=dict)
    bodies: list[Compilation] = field(default_factory=list)
    arguments: list[int] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    declared: list[Declared | None] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    uses: list[tuple[Operator | None, tuple[int, ...]]] = field(default_factory=list)
    size: int = 1
    fixed: set[int] = field(default_factory=set)
    static: set[int] = field(default_factory=set)

    # ------------------------------------------------------------ slots

    def slot(self, name: str) -> int:
        """Return a new slot for a name."""
        if name in self.slots:
            raise InvalidGraphError(f"two values are called {name[:80]!r}")
        self.slots[name] = self._new()
        return self.slots[name]

    def _new(self) -> int:
        self.size += 1
        return self.size - 1

    def constant(self, name: str, value: Tensor) -> None:
        """Define a value that never changes."""
        slot = self.slot(name)
        self.constants[slot] = value
        self.fixed.add(slot)

    def given(self, name: str) -> int:
        """Define a value that is given for every run."""
        slot = self.slot(name)
        self.fixed.add(slot)
        return slot

    def find(self, name: str) -> int | None:
        """Return the slot of a name here or around, or None."""
        if name in self.slots:
            return self.slots[name]
        around = self.outer.find(name) if self.outer is not None else None
        if around is None or self.outer is None:
            return None
        if around in self.outer.constants:
            self.constant(name, self.outer.constants[around])
            return self.slots[name]
        slot = self.slot(name)
        self.captured[slot] = around
        if around in self.outer.fixed:
            self.fixed.add(slot)
        return slot

    # ------------------------------------------------------------ nodes

    def add(self, proto: NodeProto) -> None:
        """Add a node."""
        operator = self._operator(proto)
        inputs = [self._input(proto, name) for name in proto.input]
        first_body = len(self.bodies)
        node, around, within = self._node(proto)
        own = len(inputs)
        inputs += around
        what = described(proto.op_type, proto.name)
        try:
            call = operator.make(node)
        except Exception as error:
            raise failure(what, error) from None
        static = self._is_static(proto, inputs)
        for body in self.bodies[first_body:] if static else ():
            body.stay_on_cpu()
        known = all(slot == NOTHING or slot in self.constants for slot in inputs)
        if known and self._folded(proto, call, inputs, what):
            return
        outputs = tuple(self.slot(name) if name else NOTHING for name in proto.output)
        made = [slot for slot in outputs if slot != NOTHING]
        for name in within if made else ():
            self.inner[name] = (*self.inner.get(name, ()), made[0])
        if static:
            self.static.update(made)
        if static or self._is_fixed(operator, inputs[:own]):
            self.fixed.update(made)
        self.steps.append(Step(call, tuple(inputs), outputs, what, static))
        self.uses.append((operator, tuple(inputs[:own])))

    def _operator(self, proto: NodeProto) -> Operator:
        kind = proto.op_type
        domain = "" if proto.domain in STANDARD_DOMAINS else proto.domain
        if domain or kind not in OPERATORS:
            name = f"{domain}:{kind}" if domain else kind
            raise UnsupportedOperatorError(
                f"operator {described(name, proto.name)} is not known here; ONNX Runtime may know "
                "it: take the engine 'ort'",
                kind,
            )
        try:
            version = onnx.defs.get_schema(kind, self.opset, "").since_version
        except onnx.defs.SchemaError:
            version = self.opset
        if version > OPERATORS[kind].newest:
            raise UnsupportedOperatorError(
                f"operator {described(kind, proto.name)} is of version {version}, and known here "
                f"up to version {OPERATORS[kind].newest}; export with an older operator set",
                kind,
            )
        return OPERATORS[kind]

    def _input(self, proto: NodeProto, name: str) -> int:
        slot = self.find(name) if name else NOTHING
        if slot is None:
            raise InvalidGraphError(
                f"operator {described(proto.op_type, proto.name)} takes {name[:80]!r}, which "
                "nothing before it makes"
            )
        return slot

    def _node(self, proto: NodeProto) -> tuple[Node, list[int], list[str]]:
        """Return the node for its maker, what its bodies take from here, and names inside them."""
        attributes: dict[str, Any] = {}
        bodies: dict[str, Compilation] = {}
        for attribute in proto.attribute:
            if attribute.type == AttributeProto.GRAPH:
                bodies[attribute.name] = compiled(attribute.g, self.opset, self.device, self)
            else:
                attributes[attribute.name] = attribute_value(attribute)
        self.bodies += bodies.values()
        around = list(dict.fromkeys(s for b in bodies.values() for s in b.captured.values()))
        ready = {
            name: BodyProgram(
                body.program,
                len(body.arguments),
                tuple(around.index(slot) for slot in body.captured.values()),
                len(body.steps),
                tuple(body.declared),
                body.made(),
                body.inner,
            )
            for name, body in bodies.items()
        }
        within = [name for body in bodies.values() for name in (*body.made(), *body.inner)]
        node = Node(
            proto.op_type,
            proto.name,
            self.opset,
            attributes,
            tuple(bool(name) for name in proto.input),
            tuple(bool(name) for name in proto.output),
            ready,
        )
        return node, around, list(dict.fromkeys(within))

    def stay_on_cpu(self) -> None:
        """Run on the CPU, and so the bodies within: what follows from shapes is computed there."""
        self.device = torch.device("cpu")
        for body in self.bodies:
            body.stay_on_cpu()

    def made(self) -> dict[str, int]:
        """Return the slots of the values that operators make, by name."""
        made = {slot for step in self.steps for slot in step.outputs}
        return {name: slot for name, slot in self.slots.items() if slot in made}

    def _folded(self, proto: NodeProto, call: Any, inputs: Sequence[int], what: str) -> bool:
        """Compute a node of constants now; tell whether its results are kept.

        What would be large is left to the first run.
        """
        try:
            with budget(), at_most(LARGEST_FOLDED):
                made = call(*[self.constants.get(slot) for slot in inputs])
        except MemoryLimitError:
            return False
        except Exception as error:
            raise failure(what, error) from None
        values = made if type(made) is tuple else (made,)
        small = all(isinstance(v, Tensor) and v.nbytes <= LARGEST_FOLDED for v in values)
        return (small or proto.op_type == "Constant") and self._define(proto, values)

    def _define(self, proto: NodeProto, values: Sequence[Any]) -> bool:
        for name, value in zip(proto.output, values, strict=False):
            if name:
                self.constant(name, value)
        return True

    def _is_static(self, proto: NodeProto, inputs: Sequence[int]) -> bool:
        """Tell whether the results follow from shapes of inputs alone."""
        if proto.op_type in ("Shape", "Size"):
            return inputs[0] in self.fixed
        return all(s == NOTHING or s in self.static or s in self.constants for s in inputs)

    def _is_fixed(self, operator: Operator, inputs: Sequence[int]) -> bool:
        """Tell whether the shapes of the results follow from shapes of inputs alone."""
        if operator.free:
            return False
        known = all(
            slot == NOTHING or slot in self.static or slot in self.constants
            for index, slot in enumerate(inputs)
            if index in operator.host
        )
        return known and all(slot == NOTHING or slot in self.fixed for slot in inputs)

    # ------------------------------------------------------------ the result

    def program(self) -> Program:
        """Return the program, with constants as the operators take them: numbers, or on device."""
        numbers: dict[int, int] = {}
        moved: dict[int, int] = {}
        steps = [
            step if step.static else self._ready(step, *use, numbers, moved)
            for step, use in zip(self.steps, self.uses, strict=True)
        ]
        outputs = [self._moved(slot, moved) for slot in self.results]
        constants = dict(self.constants)
        for slot, twin in numbers.items():
            if slot in constants:
                constants[twin] = tuple(constants[slot].reshape(-1).tolist())
        for slot, twin in moved.items():
            if slot in constants:
                constants[twin] = moved_to(self.device, constants[slot])
        inputs = [*self.arguments, *self.captured]
        return Program(self.size, steps, constants, inputs, outputs, numbers, moved, self.device)

    def _ready(
        self,
        step: Step,
        operator: Operator | None,
        own: tuple[int, ...],
        numbers: dict[int, int],
        moved: dict[int, int],
    ) -> Step:
        host = operator.host if operator is not None else frozenset()
        inputs = []
        for index, slot in enumerate(step.inputs):
            known = slot in self.constants or slot in self.static
            if known and index in host and index < len(own):
                numbers.setdefault(slot, self.size)
                self.size = max(self.size, numbers[slot] + 1)
                inputs.append(numbers[slot])
            else:
                inputs.append(self._moved(slot, moved))
        call = step.call
        if operator is not None and operator.on_cpu and self.device.type != "cpu":
            call = _moving(call, self.device)
        return Step(call, tuple(inputs), step.outputs, step.what)

    def _moved(self, slot: int, moved: dict[int, int]) -> int:
        """Return the slot that has a value on the device of the program."""
        known = slot in self.constants or slot in self.static
        if not known or self.device.type == "cpu":
            return slot
        moved.setdefault(slot, self.size)
        self.size = max(self.size, moved[slot] + 1)
        return moved[slot]


def _moving(call: Call, device: torch.device) -> Call:
    """Return a function whose results are on a device."""
    return lambda *values: moved_to(device, call(*values))


def compiled(
    graph: GraphProto,
    opset: int,
    device: torch.device,
    outer: Compilation | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Compilation:
    """Turn a graph into a program.

    Args:
        graph: The graph.
        opset: Version of its operator set.
        device: Where it will run.
        outer: The graph around it.
        parameters: Initializers by name that are given for every run instead.

    Raises:
        UnsupportedOperatorError: If an operator, or its form, is not known.
        InvalidGraphError: If names do not fit together.
    """
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise UnsupportedOperatorError(
            f"the model has operator set {opset}; known here are {OLDEST_OPSET} to {NEWEST_OPSET}: "
            "export it again, or convert it with onnx.version_converter"
        )
    made = Compilation(opset, device, outer)
    weights = parameters or {}
    stored = {tensor.name for tensor in graph.initializer}
    for argument in graph.input:
        if argument.name not in stored:
            made.arguments.append(made.given(argument.name))
    for tensor in graph.initializer:
        if tensor.name in weights:
            made.given(tensor.name)
        else:
            made.constant(tensor.name, stored_constant(tensor))
    if graph.sparse_initializer:
        raise UnsupportedOperatorError("the model has sparse tensors; export it with dense ones")
    for node in graph.node:
        made.add(node)
    for output in graph.output:
        slot = made.find(output.name)
        if slot is None:
            raise InvalidGraphError(f"nothing makes the output {output.name[:80]!r}")
        made.results.append(slot)
        made.declared.append(declared_form(output))
    return made
