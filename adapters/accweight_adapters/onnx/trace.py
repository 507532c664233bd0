"""Follow constants to the operators that use them, through operators that only pass them on.

Exporters put transposes, reshapes, casts, slices and dequantisation between a weight and its
operator. `uses_of` follows them forwards and records, for every axis at the operator, the stored
axes that it consists of; the other functions look backwards, from an operand to its producer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from accweight_adapters.onnx.graph import Constant, Operator, Value

LARGEST_CHAIN = 24
"""Most operators passed through; the longest chain seen in exported models is five."""

PASSING = frozenset(
    {"Identity", "Cast", "CastLike", "Dropout", "Transpose", "Reshape", "Squeeze", "Unsqueeze",
     "Flatten", "DequantizeLinear", "QuantizeLinear", "Contiguous"}
)  # fmt: skip
"""Operators whose first output has the values of their first input."""

CUTTING = frozenset({"Slice", "Split", "Concat", "Expand", "Pad"})
"""Operators that pass on a part, or concatenate several inputs; axes keep their meaning."""

REWORKING = frozenset(
    {"Mul", "Div", "Add", "Sub", "Pow", "Sqrt", "Neg", "Exp", "Reciprocal", "ReduceL2", "ReduceSum"}
)
"""Followed only if all operands are constants: weight scaling, weight normalisation."""

UNKNOWN_LENGTH = -1
Ints = Callable[[Value | None], list[int] | None]
"""Returns a small integer constant, such as the axes of a Squeeze; None if it is computed."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One axis at an operator: its length, and the stored axes that it consists of."""

    length: int
    axes: tuple[int, ...]


View = tuple[Dimension, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a constant.

    Attributes:
        operator: The operator that uses it.
        index: Index of the input.
        view: The axes at the operator; None if they are unknown.
        alias: Name closest to the operator that may be meaningful.
        dequantiser: The DequantizeLinear between them, if any.
    """

    operator: Operator
    index: int
    view: View | None
    alias: str
    dequantiser: Operator | None = None


def uses_of(constant: Constant, ints: Ints) -> list[Use]:
    """Return the uses of a constant in network order."""
    view = tuple(Dimension(length, (axis,)) for axis, length in enumerate(constant.shape))
    found: list[Use] = []
    for value in constant.values:
        found += _follow(value, view, constant.name, ints)
    return sorted(found, key=lambda use: (use.operator.index, use.index))


def _follow(value: Value, view: View, alias: str, ints: Ints) -> Iterator[Use]:
    """Yield the uses of a value, following operators that pass it on."""
    waiting = [(value, Use(Operator("", "", 0, [], [], {}), 0, view, alias))]
    seen = {id(value)}
    while waiting:
        current, way = waiting.pop()
        for operator, index in current.users:
            use = replace(way, operator=operator, index=index)
            if not passes(operator, index):
                yield use
                continue
            onward = _passed(use, ints)
            for output in operator.outputs:
                if id(output) not in seen:
                    seen.add(id(output))
                    named = operator.type == "Identity" and "." in output.name
                    waiting.append(
                        (output, replace(onward, alias=output.name) if named else onward)
                    )


def passes(operator: Operator, index: int) -> bool:
    """Tell whether an operator only passes on its input at that index."""
    if operator.type in PASSING:
        return index == 0
    if operator.type == "Concat" or operator.type in REWORKING:
        return all(is_constant(value) for value in operator.inputs)
    return operator.type in CUTTING and index == 0


def is_constant(value: Value | None, depth: int = LARGEST_CHAIN) -> bool:
    """Tell whether a value depends on constants only, through operators that pass them on."""
    if value is None or depth == 0:
        return False
    if value.fixed is None:
        value.fixed = False  # preset, because damaged graphs may be cyclic
        value.fixed = _derives(value, depth - 1)
    return value.fixed


def _derives(value: Value, depth: int) -> bool:
    producer = value.producer
    if producer is None:
        return value.constant is not None
    if producer.type == "Concat" or producer.type in REWORKING:
        return all(is_constant(operand, depth) for operand in producer.inputs)
    passing = producer.type in PASSING or producer.type in CUTTING
    return passing and is_constant(producer.input(0), depth)


def constant_behind(value: Value | None) -> Constant | None:
    """Return the constant that a value is, looking through Identity and Cast."""
    for _ in range(LARGEST_CHAIN):
        if value is None or value.producer is None:
            return value.constant if value is not None else None
        if value.producer.type not in ("Identity", "Cast", "CastLike"):
            return None
        value = value.producer.input(0)
    return None


def maker(value: Value | None, through: frozenset[str] = PASSING) -> Operator | None:
    """Return the producer of a value, looking through operators that pass it on."""
    for _ in range(LARGEST_CHAIN):
        if value is None or value.producer is None:
            return None
        if value.producer.type not in through:
            return value.producer
        value = value.producer.input(0)
    return None


def _passed(use: Use, ints: Ints) -> Use:
    """Return the use after the operator that passes it on."""
    operator = use.operator
    dequantiser = operator if operator.type == "DequantizeLinear" else use.dequantiser
    view = None if use.view is None else _changed(operator, use.view, ints)
    return replace(use, view=view, dequantiser=dequantiser)


def _changed(operator: Operator, view: View, ints: Ints) -> View | None:
    """Return the axes after an operator, or None if they are unknown."""
    if operator.type == "Transpose":
        order = operator.integers("perm") or list(range(len(view)))[::-1]
        return tuple(view[a] for a in order) if sorted(order) == list(range(len(view))) else None
    if operator.type in ("Squeeze", "Unsqueeze"):
        axes = operator.integers("axes") or ints(operator.input(1))
        squeezed = operator.type == "Squeeze"
        return _squeezed(view, axes) if squeezed else _unsqueezed(view, axes)
    if operator.type == "Reshape":
        return _reshaped(view, ints(operator.input(1)))
    if operator.type == "Flatten":
        axis = operator.integer("axis", 1)
        whole = range(len(view))
        return _joined(view, [whole[:axis], whole[axis:]])
    if operator.type.startswith("Reduce"):
        return None
    if operator.type in CUTTING:
        return tuple(Dimension(UNKNOWN_LENGTH, dimension.axes) for dimension in view)
    return view


def _squeezed(view: View, axes: Sequence[int] | None) -> View:
    if axes is None:
        return tuple(d for d in view if d.length != 1)
    dropped = {axis % max(len(view), 1) for axis in axes}
    return tuple(d for axis, d in enumerate(view) if axis not in dropped)


def _unsqueezed(view: View, axes: Sequence[int] | None) -> View | None:
    if axes is None:
        return None
    rank = len(view) + len(axes)
    added = {axis % rank for axis in axes}
    rest = iter(view)
    kept = [Dimension(1, ()) if axis in added else next(rest, None) for axis in range(rank)]
    return None if None in kept else tuple(d for d in kept if d is not None)


def _joined(view: View, groups: Sequence[range]) -> View:
    """Return the view with neighbouring axes joined."""
    return tuple(
        Dimension(
            math.prod(view[a].length for a in group),
            tuple(axis for a in group for axis in view[a].axes),
        )
        for group in groups
    )


def _reshaped(view: View, shape: Sequence[int] | None) -> View | None:
    """Return the view after a reshape that only joins neighbouring axes; None if it splits one."""
    if shape is None or any(d.length == UNKNOWN_LENGTH for d in view):
        return None
    lengths = [view[i].length if n == 0 and i < len(view) else n for i, n in enumerate(shape)]
    known = math.prod(n for n in lengths if n != -1)
    total = math.prod(d.length for d in view)
    lengths = [total // max(known, 1) if n == -1 else n for n in lengths]
    groups, start = [], 0
    for length in lengths:
        stop, joined = start, 1
        while stop < len(view) and joined * view[stop].length <= length:
            joined *= view[stop].length
            stop += 1
            if joined == length and not (stop < len(view) and view[stop].length == 1):
                break
        if joined != length:
            return None
        groups.append(range(start, stop))
        start = stop
    return _joined(view, groups) if start == len(view) else None
