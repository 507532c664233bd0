"""The map of a picture: which texel shows which element of a parameter, both ways.

Every map is a sum of digits. An axis of the parameter is one digit, or two where it is
folded, and each digit moves the texel by a fixed step along rows or along columns. So the map
is exact both ways, rectangles of it are strided views of a parameter, and a gap or a padded
corner is simply a texel that no element claims. Where parts are stacked (gates), their
digit is looked up in an order, so that they are shown alike however a framework stacks them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Digit:
    """A part of one axis index, and how far it moves the texel.

    Attributes:
        axis: The axis it belongs to.
        divisor: ``digit = index // divisor % base``.
        base: Number of values.
        row_step: Rows per unit.
        col_step: Columns per unit; exactly one of the two steps is not 0.
        order: Where each value is shown; empty where they are shown in their order.
    """

    axis: int
    divisor: int
    base: int
    row_step: int
    col_step: int
    order: tuple[int, ...] = ()

    def place(self, index: int) -> int:
        """Return where the value that this digit has in an index is shown."""
        return self.shown(index // self.divisor % self.base)

    def shown(self, value: int) -> int:
        """Return where a value is shown."""
        return self.order[value] if self.order else value

    def value(self, place: int) -> int:
        """Return the value that is shown at `place`."""
        return self.order.index(place) if self.order else place


@dataclass(frozen=True, slots=True)
class Section:
    """A named part of a picture: a gate, a direction, one of q, k and v."""

    name: str
    row: int
    col: int
    rows: int
    cols: int


@dataclass(frozen=True)
class Layout:
    """The picture of one parameter: its size, and the map between texels and elements.

    Attributes:
        shape: Shape of the parameter.
        rows: Height in texels.
        cols: Width in texels.
        digits: The map, see the module.
        cell: Height and width of one tile without its gap; (1, 1) for matrices.
        gap: Texels between tiles.
        sections: Named parts, if any.
    """

    shape: tuple[int, ...]
    rows: int
    cols: int
    digits: tuple[Digit, ...]
    cell: tuple[int, int] = (1, 1)
    gap: int = 0
    sections: tuple[Section, ...] = ()

    @property
    def elements(self) -> int:
        """Number of elements of the parameter."""
        return math.prod(self.shape)

    def texel(self, index: Sequence[int]) -> tuple[int, int]:
        """Return (row, column) of the element at `index`.

        Raises:
            IndexError: If there is no such element.
        """
        if len(index) != len(self.shape) or not all(
            0 <= i < length for i, length in zip(index, self.shape, strict=True)
        ):
            raise IndexError(f"no element {tuple(index)} in shape {self.shape}")
        digits = [(d.place(index[d.axis]), d) for d in self.digits]
        return sum(v * d.row_step for v, d in digits), sum(v * d.col_step for v, d in digits)

    def element(self, row: int, col: int) -> tuple[int, ...] | None:
        """Return the index of the element at (row, column), None for a gap or outside."""
        if not (0 <= row < self.rows and 0 <= col < self.cols):
            return None
        index = [0] * len(self.shape)
        for digit in sorted(self.digits, key=lambda d: -(d.row_step + d.col_step)):
            if digit.row_step:
                value, row = divmod(row, digit.row_step)
            else:
                value, col = divmod(col, digit.col_step)
            if value >= digit.base:
                return None
            index[digit.axis] += digit.value(value) * digit.divisor
        if row or col or any(i >= n for i, n in zip(index, self.shape, strict=True)):
            return None
        return tuple(index)
