"""The map of a picture: which texel shows which element of a parameter, both ways.

Every map is a sum of digits. An axis of the parameter is one digit, or two where it is
folded, and each digit moves the texel by a fixed step along rows or along columns. So the map
is exact both ways, whole bands are placed by adding one table per axis, and a gap or a
padded corner is simply a texel that no element claims. Where parts are stacked (gates), their
digit is looked up in an order, so that they are shown alike however a framework stacks them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.partition import leading_free

Indices = npt.NDArray[np.int64]


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
        value = index // self.divisor % self.base
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

    @cached_property
    def leading_axis(self) -> int:
        """First axis longer than 1: parameters are cut and placed along it."""
        return min(len(self.shape) - len(leading_free(self.shape)), max(len(self.shape) - 1, 0))

    @cached_property
    def in_order(self) -> bool:
        """Whether the texels, row by row, are the elements in their order, without gaps."""
        if self.rows * self.cols != self.elements or any(d.order for d in self.digits):
            return False
        strides = [math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        return all(
            d.row_step * self.cols + d.col_step == d.divisor * strides[d.axis]
            for d in self.digits
            if d.base > 1
        )

    def band_alignment(self, level: int) -> int | None:
        """Return the leading indices a band must be a multiple of, None if it cannot be cut.

        A band is a range of leading indices that covers a slab of the picture of its own,
        in which no square of ``2**level`` texels reaches into the next slab.
        """
        leading = [d for d in self.digits if d.axis == self.leading_axis and d.base > 1]
        if not leading:
            return 1
        major = max(leading, key=lambda d: d.divisor)
        if any(d.order for d in leading):
            return None
        step = major.row_step + major.col_step
        beside = (
            d.row_step + d.col_step
            for d in self.digits
            if d.base > 1 and bool(d.row_step) == bool(major.row_step)
        )
        if step < max(beside):
            return None
        square = 1 << level
        return major.divisor * (square // math.gcd(step, square))

    def tables(self, start: int, stop: int) -> list[tuple[Indices, Indices]]:
        """Return, per axis, the row and column offset of its indices: start..stop if leading."""
        offsets = []
        for axis, length in enumerate(self.shape):
            first, last = (start, stop) if axis == self.leading_axis else (0, length)
            index = np.arange(first, last, dtype=np.int64)
            row, col = np.zeros_like(index), np.zeros_like(index)
            for digit in self.digits:
                if digit.axis == axis:
                    value = index // digit.divisor % digit.base
                    if digit.order:
                        value = np.array(digit.order)[value]
                    row += value * digit.row_step
                    col += value * digit.col_step
            offsets.append((row, col))
        return offsets

    def slab(self, start: int, stop: int) -> tuple[int, int, int, int]:
        """Return (row, row end, column, column end) covered by leading indices start..stop."""
        leading = [d for d in self.digits if d.axis == self.leading_axis and d.base > 1]
        if not leading or stop - start >= self.shape[self.leading_axis]:
            return 0, self.rows, 0, self.cols
        major = max(leading, key=lambda d: d.divisor)
        step = major.row_step + major.col_step
        first = start // major.divisor * step
        last = -(-stop // major.divisor) * step
        if major.row_step:
            return first, min(last, self.rows), 0, self.cols
        return 0, self.rows, first, min(last, self.cols)

    def positions(self, start: int, stop: int) -> Indices:
        """Return, for elements of leading indices start..stop in order, their place in the slab.

        Places count texels of the slab row by row.
        """
        row, _, col, col_end = self.slab(start, stop)
        width = col_end - col
        place = np.full((1,) * max(len(self.shape), 1), -(row * width + col), dtype=np.int64)
        for axis, (rows, cols) in enumerate(self.tables(start, stop)):
            table = rows * width + cols
            place = place + table.reshape([-1 if a == axis else 1 for a in range(len(self.shape))])
        return place.reshape(-1)
