"""Compare the shapes of layers, independent of the axis order of a framework.

The form of a parameter is its shape with the axes sorted by meaning: outputs, inputs, kernel. A
Keras Dense (inputs, outputs) and a PyTorch Linear (outputs, inputs) have the same form, as have
HWIO and OIHW; a direction axis counts as several parameters. The stack of a layer is the sum of
outputs for equal inputs: it is the same for separate and merged q, k and v.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.schema import Axis, Kind, Layer, Parameter, Role

Form = tuple[int, ...]
"""Outputs, inputs, then the kernel; a single number for vectors."""

MATRICES = (Role.WEIGHT, Role.EMBEDDING)


def form_of(parameter: Parameter) -> tuple[Form, int]:
    """Return the form of a parameter without its direction axis, and the length of that axis."""
    sizes: dict[Axis, list[int]] = {axis: [] for axis in Axis}
    for length, axis in zip(parameter.shape, parameter.axes, strict=True):
        sizes[axis].append(length)
    times = math.prod(sizes[Axis.DIRECTION])
    if len(parameter.shape) < 2 or parameter.role in (Role.BIAS, Role.NORM):
        return (math.prod(parameter.shape) // max(times, 1),), times
    if not (sizes[Axis.OUTPUT] or sizes[Axis.INPUT]):
        return tuple(sizes[Axis.OTHER]), times
    kernel = (*sizes[Axis.OTHER], *sizes[Axis.KERNEL])
    return (math.prod(sizes[Axis.OUTPUT]), math.prod(sizes[Axis.INPUT]), *kernel), times


def parameter_form(parameter: Parameter) -> Form:
    """Return the form of a parameter, with a direction axis longer than 1 in front."""
    form, times = form_of(parameter)
    return (times, *form) if times > 1 else form


@dataclass(frozen=True)
class Profile:
    """The shapes of one layer, for alignment.

    Attributes:
        layer: The layer.
        forms: Sorted forms of its matrices, or of its vectors if it has no matrices.
        stack: Sorted pairs of inputs and kernel, with the sum of outputs.
    """

    layer: Layer
    forms: tuple[Form, ...]
    stack: tuple[tuple[Form, int], ...]

    @classmethod
    def of(cls, layer: Layer) -> Profile:
        """Return the profile of a layer; buffers count only if it has nothing else."""
        matrices = [p for p in layer.parameters if p.role in MATRICES and len(p.shape) > 1]
        moved = [p for p in layer.parameters if p.role is not Role.BUFFER]
        forms: list[Form] = []
        stack: Counter[Form] = Counter()
        for parameter in matrices or moved or layer.parameters:
            form, times = form_of(parameter)
            forms += [form] * max(times, 1)
            stack[form[1:]] += form[0] * max(times, 1) if form else 1
        return cls(layer, tuple(sorted(forms)), tuple(sorted(stack.items())))

    @cached_property
    def elements(self) -> int:
        """Number of elements of all forms."""
        return sum(math.prod(form) for form in self.forms)

    @cached_property
    def turned(self) -> tuple[Form, ...]:
        """The forms with outputs and inputs swapped, as the axes may be guessed wrongly."""
        return tuple(sorted((*form[1::-1], *form[2:]) for form in self.forms))


_FAMILIES = (
    {Kind.LINEAR, Kind.ATTENTION},
    {Kind.LINEAR, Kind.EMBEDDING},
    {Kind.CONV, Kind.CONV_TRANSPOSE},
    {Kind.RNN, Kind.LSTM, Kind.GRU},
)


def kinds_agree(left: Kind, right: Kind) -> float:
    """Return how well two kinds match: 1 for equal kinds, 0 for incompatible ones."""
    if left is right:
        return 1.0
    if Kind.OTHER in (left, right):
        return 0.5
    return 0.7 if any({left, right} <= family for family in _FAMILIES) else 0.0


TURNED, SAME_ELEMENTS, OTHER_WIDTH, OTHER_RANK = 0.9, 0.8, 0.7, 0.3
"""Scores of different shapes: outputs and inputs swapped, or the same stack; equal number of
elements; another width (the maximum); another number of axes or matrices."""

Grid = npt.NDArray[np.float64]


def kind_grid(left: Sequence[Profile], right: Sequence[Profile]) -> Grid:
    """Return how well the kinds of all pairs match, (left, right)."""
    order = {kind: i for i, kind in enumerate(Kind)}
    table = np.array([[kinds_agree(a, b) for b in Kind] for a in Kind], np.float64)
    rows, columns = ([order[p.layer.kind] for p in side] for side in (left, right))
    return table[np.ix_(rows, columns)]


def form_grid(left: Sequence[Profile], right: Sequence[Profile]) -> Grid:
    """Return how well the shapes of all pairs match, (left, right); 1 for equal forms."""

    def equal(a: Sequence[Hashable], b: Sequence[Hashable]) -> npt.NDArray[np.bool_]:
        numbers: dict[Hashable, int] = {}
        here, there = ([numbers.setdefault(x, len(numbers)) for x in side] for side in (a, b))
        return np.equal.outer(here, there)

    grid = _widths(left, right)
    grid[equal([p.elements for p in left], [p.elements for p in right])] = SAME_ELEMENTS
    grid[equal([p.stack for p in left], [p.stack for p in right])] = TURNED
    grid[equal([p.turned for p in left], [p.forms for p in right])] = TURNED
    for side, none in ((left, np.s_[:, None]), (right, np.s_[None, :])):
        grid *= np.array([p.elements > 0 for p in side], np.float64)[none]
    grid[equal([p.forms for p in left], [p.forms for p in right])] = 1
    return grid


def _widths(left: Sequence[Profile], right: Sequence[Profile]) -> Grid:
    """Return how similar the lengths of axes are, for pairs with equal numbers of axes."""
    grid = np.full((len(left), len(right)), OTHER_RANK, np.float64)
    groups: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
    for number, side in enumerate((left, right)):
        for place, profile in enumerate(side):
            groups.setdefault(tuple(map(len, profile.forms)), ([], []))[number].append(place)
    for ranks, (rows, columns) in groups.items():
        lengths = [
            np.log2([[max(n, 1) for form in side[i].forms for n in form] for i in places])
            for side, places in ((left, rows), (right, columns))
            if places and sum(ranks)
        ]
        if len(lengths) == 2:
            gaps = np.zeros((len(rows), len(columns)), np.float64)
            for here, there in zip(lengths[0].T, lengths[1].T, strict=True):
                gaps += np.abs(np.subtract.outer(here, there))
            grid[np.ix_(rows, columns)] = OTHER_WIDTH / (1 + gaps / sum(ranks) / 2)
    return grid
