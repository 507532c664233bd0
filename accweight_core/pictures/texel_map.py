"""The mapping between the texels of a picture and the elements of a parameter.

Every mapping is a sum of digits. An axis of the parameter is one digit, or two if it is folded, and
each digit moves the texel by a fixed stride along rows or columns. So the mapping is invertible,
rectangles of the picture are strided views of the parameter, and gaps and padding are texels
without an element. The digit of stacked parts (gates) goes through a permutation, so that all
frameworks' parts appear in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Digit:
    """One part of an axis index, and its strides in the picture.

    Attributes:
        axis: The axis it belongs to.
        divisor: ``digit = index // divisor % base``.
        base: Number of values.
        row_step: Stride in rows.
        col_step: Stride in columns; exactly one of the two is not 0.
        order: Display position of each value; empty for the identity.
    """

    axis: int
    divisor: int
    base: int
    row_step: int
    col_step: int
    order: tuple[int, ...] = ()

    def place(self, index: int) -> int:
        """Return the display position of this digit of an index."""
        return self.shown(index // self.divisor % self.base)

    def shown(self, value: int) -> int:
        """Return the display position of a value."""
        return self.order[value] if self.order else value

    def value(self, place: int) -> int:
        """Return the value at a display position."""
        return self.order.index(place) if self.order else place


@dataclass(frozen=True, slots=True)
class Section:
    """A named part of a picture: a gate, a direction, one of q, k and v."""

    name: str
    row: int
    col: int
    rows: int
    cols: int

    def contains(self, row: int, col: int) -> bool:
        """Tell whether a texel lies in it."""
        return 0 <= row - self.row < self.rows and 0 <= col - self.col < self.cols


@dataclass(frozen=True)
class Layout:
    """The picture of one parameter: its size, and the mapping between texels and elements.

    Attributes:
        shape: Shape of the parameter.
        rows: Height in texels.
        cols: Width in texels.
        digits: The mapping; see the module docstring.
        cell: Height and width of one cell without its gap; (1, 1) for matrices.
        gap: Texels between cells.
        sections: Named parts, if any, that fill whole rows.
        marks: Attention heads, if they are known, and parts that fill no rows. Neither sections
            nor marks are part of the mapping: layouts that differ in these alone are equal.
    """

    shape: tuple[int, ...]
    rows: int
    cols: int
    digits: tuple[Digit, ...]
    cell: tuple[int, int] = (1, 1)
    gap: int = 0
    sections: tuple[Section, ...] = field(default=(), compare=False)
    marks: tuple[Section, ...] = field(default=(), compare=False)

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
        """Return the index of the element at (row, column); None in a gap or outside."""
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
