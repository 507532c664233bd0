"""Move the values of one tensor into another that stores its axes in another order.

Both sides are brought into one form: outputs, inputs, kernel, as the meaning of their axes says.
That is what the files tell. Where the values of both sides are known, other moves are tried as
well: an axis may have been guessed wrongly, a square matrix tells nothing by its shape, and the
columns of the first matrix after a Flatten come in another order where channels are last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.probes.binding.arrays import Array
from accweight_core.schema import Axis, Kind, Parameter, Role

ORDER = (Axis.DIRECTION, Axis.OUTPUT, Axis.INPUT, Axis.OTHER, Axis.KERNEL)
VECTORS = (Role.BIAS, Role.NORM, Role.BUFFER)
MOST_CHANNELS = 64
"""Most numbers of channels that are tried for the order of columns after a Flatten."""


@dataclass(frozen=True)
class Form:
    """How a tensor is brought into the common order of axes, and back.

    Attributes:
        shape: Its shape as stored.
        order: Its axes in the common order.
        sizes: The common shape: outputs, inputs, then what is left; one number for vectors.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, parameter: Parameter) -> Form:
        """Return the form of a parameter."""
        shape, axes = parameter.shape, parameter.axes
        known = {Axis.OUTPUT, Axis.INPUT} & set(axes)
        if len(shape) < 2 or not known or parameter.role in VECTORS:
            is_vector = len(shape) < 2 or parameter.role in VECTORS
            return cls(shape, tuple(range(len(shape))), (math.prod(shape),) if is_vector else shape)
        order = tuple(sorted(range(len(shape)), key=lambda axis: ORDER.index(axes[axis])))
        lengths = {
            meaning: [n for n, axis in zip(shape, axes, strict=True) if axis is meaning]
            for meaning in ORDER
        }
        outputs = math.prod(lengths[Axis.DIRECTION] + lengths[Axis.OUTPUT])
        rest = (*lengths[Axis.OTHER], *lengths[Axis.KERNEL])
        return cls(shape, order, (outputs, math.prod(lengths[Axis.INPUT]), *rest))

    def taken(self, values: Array) -> Array:
        """Return stored values in the common form."""
        return values.reshape(self.shape).transpose(self.order).reshape(self.sizes)

    def put(self, values: Array) -> Array:
        """Return values in the common form as they are stored."""
        ordered = values.reshape([self.shape[axis] for axis in self.order])
        return np.ascontiguousarray(ordered.transpose(np.argsort(self.order, kind="stable")))


@dataclass(frozen=True)
class Move:
    """A way to move values from one tensor into another.

    Attributes:
        make: Takes the stored values, returns them in the shape of the other.
        words: What it does.
        told: Whether the files tell it; otherwise only equal values can.
    """

    make: Callable[[Array], Array]
    words: str
    told: bool = True


def moves(source: Parameter, target: Parameter, channels: Sequence[int] = ()) -> Iterator[Move]:
    """Yield the ways from one tensor into another, what the files tell first.

    Args:
        source: A tensor of the checkpoint.
        target: A tensor of the network.
        channels: Numbers of channels that may come before a Flatten, if those of the checkpoint
            are last.
    """
    here, there = Form.of(source), Form.of(target)
    if source.elements != target.elements:
        return
    if here.sizes == there.sizes or len(there.sizes) == 1 == len(here.sizes):
        yield Move(lambda v: there.put(here.taken(v)), _words(here, there))
    elif _without_ones(source) == _without_ones(target) and len(_without_ones(target)) < 2:
        yield Move(lambda v: v.reshape(target.shape), f"reshaped to {_shape(target.shape)}")
    elif _is_multiplied(here, there):
        yield Move(lambda v: there.put(here.taken(v)), "channels and multiplier joined")
    elif len(here.shape) == len(there.shape) and source.shape == target.shape:
        yield Move(lambda v: v.reshape(target.shape), "as it is", told=_is_plain(source, target))
    if min(len(here.sizes), len(there.sizes)) < 2:
        return
    outputs, inputs, *rest = here.sizes
    if (inputs, outputs, *rest) == there.sizes:
        told = outputs != inputs
        yield Move(
            lambda v: there.put(here.taken(v).swapaxes(0, 1)),
            "transposed, against what the names of its axes say",
            told=told,
        )
    if here.sizes != there.sizes:
        return
    for count in list(channels)[:MOST_CHANNELS] if len(here.sizes) == 2 else ():
        if 1 < count < inputs and inputs % count == 0:
            yield from _reordered(here, there, count)
    if target.kind is Kind.CONV_TRANSPOSE and len(here.sizes) > 2 and max(here.sizes[2:]) > 1:
        flipped = tuple(range(2, len(here.sizes)))
        yield Move(
            lambda v: there.put(np.flip(here.taken(v), flipped)), "kernel flipped", told=False
        )


def _reordered(here: Form, there: Form, count: int) -> Iterator[Move]:
    """Yield the moves between columns in the order (place, channel) and (channel, place)."""
    for split in ((-1, count), (count, -1)):

        def make(values: Array, split: tuple[int, int] = split) -> Array:
            taken = here.taken(values)
            cut = taken.reshape(len(taken), *split)
            return there.put(cut.swapaxes(1, 2))

        side = "last to first" if split[0] == -1 else "first to last"
        yield Move(make, f"columns after Flatten from channels {side} ({count} channels)", False)


def _is_multiplied(here: Form, there: Form) -> bool:
    """Tell whether outputs and inputs are those of a depthwise kernel and its multiplier."""
    if len(here.sizes) < 3 or len(here.sizes) != len(there.sizes):
        return False
    same = here.sizes[0] * here.sizes[1] == there.sizes[0] * there.sizes[1]
    return same and here.sizes[2:] == there.sizes[2:] and 1 in (here.sizes[1], there.sizes[1])


def _without_ones(parameter: Parameter) -> tuple[int, ...]:
    return tuple(n for n in parameter.shape if n != 1)


def _is_plain(source: Parameter, target: Parameter) -> bool:
    return source.axes == target.axes


def _words(here: Form, there: Form) -> str:
    """Return what happens to the axes, in words."""
    back = np.argsort(there.order, kind="stable")
    if len(here.order) == len(there.order):
        order = tuple(here.order[axis] for axis in back)
        if tuple(here.shape[axis] for axis in order) == there.shape:
            if order == tuple(range(len(order))):
                return "as it is"
            return "transposed" if len(order) == 2 else f"axes {_listed(order)}"
    words = f"reshaped to {_shape(there.shape)}"
    moved = here.order != tuple(range(len(here.order))) or list(back) != list(range(len(back)))
    return f"axes reordered, {words}" if moved else words


def _listed(axes: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, axes)) + ")"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
