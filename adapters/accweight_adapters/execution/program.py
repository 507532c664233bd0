"""A graph as a list of calls, and how it is run.

Values are in numbered slots. What follows from the shapes of inputs alone (most of what exporters
write before a Reshape) is computed once per shape, on the CPU, and kept: later runs with the same
shapes do only what depends on values. What is needed neither for an output nor for a value to keep
is not run, and values are released after their last use.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.limits import check_value
from accweight_adapters.execution.operators.table import LONGEST_NAME, Call
from accweight_adapters.execution.watching import current
from accweight_core.errors import AccweightError, MemoryLimitError, UnsupportedOperatorError
from accweight_core.io.memory import is_lack_of_memory

NOTHING = 0
"""The slot of an input that is omitted; it is always empty."""

MOST_PLANS = 32
"""Plans and shapes that are remembered."""

LARGEST_KEPT_BYTES = 1 << 26
"""Most bytes that are kept per shape of inputs."""

Values = list[Any]
"""Contents of slots: tensors, lists of tensors (sequences), tuples of numbers, None."""

Functions = Mapping[int, Callable[[Any], Any]]
"""What replaces values, by their slots."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of a program.

    Attributes:
        call: The function.
        inputs: Slots of its inputs.
        outputs: Slots of its outputs; `NOTHING` for those that nobody uses.
        what: Type and name, for messages.
        static: Whether its results follow from shapes alone.
    """

    call: Call
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    what: str
    static: bool = False


@dataclass(slots=True)
class Program:
    """A graph that can be run.

    Attributes:
        size: Number of slots.
        steps: Operators in order.
        constants: Contents of slots that never change.
        inputs: Slots that are given for every run.
        outputs: Slots of the results.
        numbers: For slots whose contents are needed as numbers, the slots of these.
        moved: For static slots needed on another device than the CPU, the slots there.
        device: That device.
    """

    size: int
    steps: list[Step]
    constants: dict[int, Any]
    inputs: list[int]
    outputs: list[int]
    numbers: dict[int, int]
    moved: dict[int, int]
    device: torch.device
    _plans: dict[tuple[int, ...], Plan] = field(default_factory=dict)

    def plan(self, wanted: Sequence[int]) -> Plan:
        """Return the plan that computes the wanted slots and nothing else."""
        key = tuple(wanted)
        if key not in self._plans:
            if len(self._plans) >= MOST_PLANS:
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = Plan(self, key)
        return self._plans[key]

    def needed(self, wanted: Iterable[int]) -> set[int]:
        """Return the slots that the wanted ones depend on, and these themselves."""
        known = {twin: slot for twins in (self.numbers, self.moved) for slot, twin in twins.items()}
        needed = {known.get(slot, slot) for slot in wanted}
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                needed.update(known.get(slot, slot) for slot in step.inputs)
        return needed - {NOTHING}

    def after(self, changed: Collection[int], wanted: Sequence[int]) -> tuple[Program, list[int]]:
        """Return the part of the program that depends on some slots.

        Args:
            changed: The slots.
            wanted: Slots to compute.

        Returns:
            A program for the same slots, and those that it needs the contents of beside weights
            and inputs: none of them depends on the changed ones.
        """
        needed = self.needed(wanted)
        depending, later = set(changed), []
        for step in self.steps:
            if not needed.intersection(step.outputs):
                continue
            if step.static or depending.intersection(step.inputs):
                depending.update(() if step.static else step.outputs)
                later.append(step)
        made = {slot for step in later for slot in step.outputs}
        earlier = {slot for step in self.steps for slot in step.outputs} - made - {NOTHING}
        used = {slot for step in later for slot in step.inputs} | set(wanted)
        start = sorted(used & earlier)
        rest = Program(
            self.size, later, self.constants, [*self.inputs, *start], list(wanted), self.numbers,
            self.moved, self.device,
        )  # fmt: skip
        return rest, start


class Plan:
    """The steps for some of the values of a program."""

    def __init__(self, program: Program, wanted: tuple[int, ...]) -> None:
        self._program = program
        self._wanted = wanted
        self.needed = program.needed(wanted)
        self._steps = [s for s in program.steps if self.needed.intersection(s.outputs)]
        self._inputs = [slot for slot in program.inputs if slot in self.needed]
        self._empty: Values = [None] * program.size
        for slot, value in program.constants.items():
            self._empty[slot] = value
        self._dynamic = _released([s for s in self._steps if not s.static], self._kept())
        self._kept_values: dict[tuple[Any, ...], Values] = {}

    def _kept(self) -> set[int]:
        """Return slots that are not released: wanted ones, and those not made by steps."""
        static = {slot for s in self._steps if s.static for slot in s.outputs}
        program = self._program
        twins = {t for group in (program.numbers, program.moved) for t in group.values()}
        return {*self._wanted, *program.constants, *static, *twins, NOTHING}

    def run(self, given: Mapping[int, Any], functions: Functions | None = None) -> list[Any]:
        """Return the wanted values.

        Args:
            given: Contents of the slots of inputs and weights.
            functions: Applied to values as soon as they are made.

        Raises:
            UnsupportedOperatorError: If an operator fails.
            MemoryLimitError: If a value would be too large.
        """
        if functions:
            return self._patched(given, functions)
        try:
            shapes = tuple(given[slot].shape for slot in self._inputs)
        except AttributeError:  # a sequence
            return self._first(given, None)
        start = self._kept_values.get(shapes)
        if start is None:
            return self._first(given, shapes)
        values = start.copy()
        for slot, value in given.items():
            values[slot] = value
        place = 0
        try:
            for place, (call, inputs, output, drops) in enumerate(self._dynamic):  # noqa: B007
                made = call(*[values[slot] for slot in inputs])
                if isinstance(output, int):
                    values[output] = made[0] if type(made) is tuple else made
                else:
                    for slot, value in zip(output, made, strict=False):
                        values[slot] = value
                for slot in drops:
                    values[slot] = None
        except Exception as error:  # whatever torch raises
            dynamic = [step for step in self._steps if not step.static]
            raise failure(dynamic[place].what, error) from None
        return [values[slot] for slot in self._wanted]

    def _first(self, given: Mapping[int, Any], shapes: tuple[Any, ...] | None) -> list[Any]:
        """Run all steps, check sizes, and keep what later runs with these shapes can reuse."""
        values = self._empty.copy()
        for slot, value in given.items():
            values[slot] = value
        kept = self._empty.copy()
        size_bytes, reusable = 0, shapes is not None
        for step in self._steps:
            for slot, value in _results(step, values):
                values[slot] = value
                if isinstance(value, Tensor):
                    check_value(step.what, value)
                if not step.static:
                    continue
                for twin, content in self._twins(slot, value):
                    values[twin] = kept[twin] = content
                kept[slot] = value
                tensor = isinstance(value, Tensor)
                reusable &= tensor and not torch._C._functorch.is_functorch_wrapped_tensor(value)
                size_bytes += value.numel() * value.element_size() if tensor else 0
        if reusable and shapes is not None and size_bytes <= LARGEST_KEPT_BYTES:
            if len(self._kept_values) >= MOST_PLANS:
                self._kept_values.pop(next(iter(self._kept_values)))
            self._kept_values[shapes] = kept
        return [values[slot] for slot in self._wanted]

    def _patched(self, given: Mapping[int, Any], functions: Functions) -> list[Any]:
        """Run all steps, and replace values; what follows from shapes is computed anew."""
        values = self._empty.copy()
        for slot, value in given.items():
            values[slot] = functions[slot](value) if slot in functions else value
        for step in self._steps:
            for slot, value in _results(step, values):
                values[slot] = functions[slot](value) if slot in functions else value
                if isinstance(value, Tensor):
                    check_value(step.what, value)
                if step.static:
                    for twin, content in self._twins(slot, value):
                        values[twin] = content
        return [values[slot] for slot in self._wanted]

    def _twins(self, slot: int, value: Any) -> list[tuple[int, Any]]:
        """Return the other forms of a static value, with their slots."""
        program, found = self._program, []
        if slot in program.numbers:
            found.append((program.numbers[slot], tuple(value.reshape(-1).tolist())))
        if slot in program.moved:
            found.append((program.moved[slot], moved_to(program.device, value)))
        return found


def moved_to(device: torch.device, value: Any) -> Any:
    """Return a value on a device: a tensor, a sequence of them, or nothing."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list):
        return [moved_to(device, item) for item in value]
    return value


def _results(step: Step, values: Values) -> list[tuple[int, Any]]:
    """Run one step; return the values of the slots of its outputs."""
    try:
        made = step.call(*[values[slot] for slot in step.inputs])
    except Exception as error:  # whatever torch raises
        raise failure(step.what, error) from None
    several = made if type(made) is tuple else (made,)
    pairs = zip(step.outputs, several, strict=False)
    return [(slot, value) for slot, value in pairs if slot != NOTHING]


Compact = tuple[Call, tuple[int, ...], int | tuple[int, ...], tuple[int, ...]]
"""A step for the inner loop: call, inputs, output or outputs, slots to release."""


def _released(steps: Sequence[Step], kept: set[int]) -> list[Compact]:
    """Return steps that release what no later step uses."""
    used: set[int] = set(kept)
    compact: list[Compact] = []
    for step in reversed(steps):
        made = tuple(slot for slot in step.outputs if slot != NOTHING)
        last = {slot for slot in (*step.inputs, *made) if slot not in used}
        used |= last
        output = made[0] if made == step.outputs[:1] else step.outputs
        compact.append((step.call, step.inputs, output, tuple(last)))
    return compact[::-1]


def failure(what: str, error: Exception) -> AccweightError:
    """Return the error for an operator that cannot be computed; it names the operator."""
    operator = what.partition(" ")[0]
    lines = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, AccweightError):
        named = not isinstance(error, UnsupportedOperatorError) or bool(error.operator)
        return error if named else UnsupportedOperatorError(f"operator {what}: {lines}", operator)
    if is_lack_of_memory(error):
        reason = f"memory ran out ({lines[:120]}); run fewer samples at once"
        return MemoryLimitError(f"operator {what}: {reason}")
    return UnsupportedOperatorError(f"operator {what} cannot be computed: {lines[:200]}", operator)


class BodyProgram:
    """The body of a loop or branch, as operators of control flow call it.

    Its program is made when it is first run: only then is it known on which device that is.

    Attributes:
        steps: Operators in it.
        arguments: Number of its own inputs.
        captured: Positions of what it takes from around.
        declared: Types and shapes of its outputs as the graph says; None where it does not.
        own: Slots of the values that it computes, by name.
        inner: For values in bodies within it, the slots that lead to these being run.
    """

    def __init__(
        self,
        make: Callable[[], Program],
        arguments: int,
        captured: tuple[int, ...],
        steps: int,
        declared: tuple[tuple[torch.dtype, tuple[int | None, ...]] | None, ...],
        own: Mapping[str, int],
        inner: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._make = make
        self.steps = steps
        self.arguments = arguments
        self.captured = captured
        self.declared = declared
        self.own = own
        self.inner = inner

    @cached_property
    def _program(self) -> Program:
        return self._make()

    @cached_property
    def _plan(self) -> Plan:
        return self._program.plan(self._program.outputs)

    @property
    def device(self) -> torch.device:
        """Where it is run."""
        return self._program.device

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """Return the outputs for its own inputs, followed by what it takes from around."""
        program = self._program
        given = dict(zip(program.inputs, values, strict=True))
        watched = current()
        if watched is None:
            return tuple(self._plan.run(given))
        kept = [name for name in watched.names if name in self.own]
        leading = [slot for name in watched.names for slot in self.inner.get(name, ())]
        functions = {self.own[n]: f for n, f in watched.functions.items() if n in self.own}
        outputs = program.outputs
        plan = program.plan([*outputs, *(self.own[name] for name in kept), *leading])
        made = plan.run(given, functions)
        for name, value in zip(kept, made[len(outputs) :], strict=False):
            watched.record(name, value)
        return tuple(made[: len(outputs)])


def described(kind: str, name: str) -> str:
    """Return type and name of a node for messages."""
    return f"{kind} ({name[:LONGEST_NAME]!r})" if name else kind
