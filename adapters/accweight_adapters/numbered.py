"""What arrays that have numbers instead of names are: ``model.get_weights()``, a list per layer.

Such lists have the weights of one layer after those of another, the bias behind its matrix. So a
vector as long as the outputs of the array before it is its bias, and belongs to its layer; and an
array of four axes is a convolution, whose kernel is first (Keras) or last (PyTorch).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from accweight_core.schema import Axis, Hints, Kind, Role, StoredTensor

Shape = tuple[int, ...]

NUMBERED = re.compile(r"(?P<around>(.*\.)?)(arr_)?(?P<number>[0-9]{1,9})")
"""Names of arrays in a list, and those that `numpy.savez` gives to arrays without one."""

KERNEL_LAST: Final = (Axis.OUTPUT, Axis.INPUT)
KERNEL_FIRST: Final = (Axis.INPUT, Axis.OUTPUT)
CONV: Final = range(3, 6)
"""Axes of the kernels of convolutions."""


class _Place(NamedTuple):
    """The list that an array is in, and its index."""

    around: str
    number: int


def with_numbered_hints(tensors: Iterable[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Return tensors with hints for those that have numbers for names; others as they are."""
    given = list(tensors)
    found: list[StoredTensor] = []
    matrix: tuple[_Place, StoredTensor, Hints] | None = None
    for tensor, after in zip(given, [*given[1:], None], strict=False):  # there may be none
        place = _place(tensor.name)
        if place is None or tensor.hints != Hints():
            found.append(tensor)
            matrix = None
        elif len(tensor.shape) > 1:
            bias = _bias_behind(place, tensor.shape, after)
            hints = _hints(tensor, place, bias)
            found.append(replace(tensor, hints=hints))
            matrix = (place, tensor, hints) if bias else None
        elif matrix and _is_bias(matrix[0], matrix[1].shape, place, tensor.shape):
            hints = Hints(layer=matrix[2].layer, kind=matrix[2].kind, role=Role.BIAS)
            found.append(replace(tensor, hints=hints))
            matrix = None
        else:
            found.append(tensor)
            matrix = None
    return tuple(found)


def _place(name: str) -> _Place | None:
    match = NUMBERED.fullmatch(name)
    return _Place(match["around"], int(match["number"])) if match else None


def _is_bias(at: _Place, shape: Shape, place: _Place, vector: Shape) -> bool:
    """Tell whether a vector is the bias of the array at another place of its list."""
    is_next = place.around == at.around and place.number == at.number + 1
    return is_next and len(vector) == 1 and vector[0] in (shape[0], shape[-1])


def _bias_behind(place: _Place, shape: Shape, after: StoredTensor | None) -> Shape:
    """Return the shape of the next tensor if it is the bias of an array; else that of a scalar."""
    behind = _place(after.name) if after else None
    is_bias = after and behind and _is_bias(place, shape, behind, after.shape)
    return after.shape if after and is_bias else ()


def _hints(tensor: StoredTensor, place: _Place, bias: Shape) -> Hints:
    """Return what is known of an array of two axes or more; no hints without evidence."""
    shape = tensor.shape
    if len(shape) in CONV and (bias or not place.around):
        axes = _axes_of_conv(shape, bias)
        return Hints(tensor.name, Kind.CONV, Role.WEIGHT, axes, axes_from="bias" if bias else "")
    if not bias:
        return Hints()
    if len(shape) == 2 and shape[0] != shape[1]:
        axes = KERNEL_LAST if bias[0] == shape[0] else KERNEL_FIRST
        return Hints(tensor.name, Kind.LINEAR, Role.WEIGHT, axes, axes_from="bias")
    return Hints(tensor.name)


def _axes_of_conv(shape: Shape, bias: Shape) -> tuple[Axis, ...]:
    """Return the axes of a convolution.

    The kernel is first (Keras) if the last axis is as long as the bias and the first is not, if
    only the first axes are equal, or if they are shorter than the last.
    """
    kernel = (Axis.KERNEL,) * (len(shape) - 2)
    is_output = [bool(bias) and bias[0] == shape[end] for end in (0, -1)]
    is_square = [len(set(axes)) == 1 for axes in (shape[2:], shape[:-2])]
    is_first = sum(shape[:-2]) < sum(shape[2:])
    for last, first in (is_square, is_output):
        is_first = is_first if last == first else first
    return (*kernel, *KERNEL_FIRST) if is_first else (*KERNEL_LAST, *kernel)
