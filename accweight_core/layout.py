"""Layout: how a parameter becomes a flat picture, and the way back from texel to element.

Every layout is a sum of digits. An axis of the parameter is one digit, or two where it is
folded, and each digit moves the texel by a fixed step along rows or along columns. So the map
is exact both ways, whole bands are placed by adding one table per axis, and a gap or a
padded corner is simply a texel that no element claims.

Convolutions lie as tiles of kernels, output channels across and input channels down; matrices
as they are, outputs down and inputs across; whatever is four times longer than wide is
wrapped like text until it is nearly square.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.partition import leading_free
from accweight_core.schema import Axis, Parameter

Indices = npt.NDArray[np.int64]

FOLD_ASPECT = 4
"""Pictures of this aspect ratio and above are folded."""

LARGEST_WHOLE = 1 << 22
"""Elements up to which a parameter may be placed all at once. Larger ones are only folded
in ways that let them be placed band by band, so that memory does not grow with them."""


@dataclass(frozen=True, slots=True)
class Digit:
    """A part of one axis index, and how far it moves the texel.

    Attributes:
        axis: The axis it belongs to.
        divisor: ``digit = index // divisor % base``.
        base: Number of values.
        row_step: Rows per unit.
        col_step: Columns per unit; exactly one of the two steps is not 0.
    """

    axis: int
    divisor: int
    base: int
    row_step: int
    col_step: int


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
        digits = [(index[d.axis] // d.divisor % d.base, d) for d in self.digits]
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
            index[digit.axis] += value * digit.divisor
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
        if self.rows * self.cols != self.elements:
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


def layout_of(parameter: Parameter) -> Layout:
    """Return the layout of a parameter, from its shape and the meaning of its axes."""
    shape = parameter.shape
    if math.prod(shape) == 0:
        return Layout(shape, 0, 0, ())
    down, across, tall, wide = _grouped(shape, parameter.axes)
    grid = _Grid(shape, down, across, tall, wide)
    fold = grid.fold(len(parameter.sections) or 1)
    return grid.layout(fold, parameter.sections)


def _grouped(
    shape: tuple[int, ...], axes: tuple[Axis, ...]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return the axes that run down and across the grid, and down and across a cell."""
    every = list(range(len(shape)))
    kernel = [a for a in every if axes[a] is Axis.KERNEL]
    inputs = [a for a in every if axes[a] is Axis.INPUT]
    outputs = [a for a in every if a not in kernel and a not in inputs]
    if kernel:
        tall = kernel[-2:-1]
        wide = [a for a in kernel if a not in tall]
        return inputs, outputs, tall, wide
    if not inputs and outputs:
        inputs = [outputs.pop()]
    return outputs, inputs, [], []


@dataclass(frozen=True)
class _Fold:
    """Wrap: `across` cells of a column side by side, or each row on several lines of `width`."""

    side_by_side: int = 1
    width: int = 0


@dataclass(frozen=True)
class _Grid:
    """The cells of a parameter before folding."""

    shape: tuple[int, ...]
    down: list[int]
    across: list[int]
    tall: list[int]
    wide: list[int]

    def _length(self, axes: list[int]) -> int:
        return math.prod(self.shape[a] for a in axes)

    @property
    def cell(self) -> tuple[int, int]:
        return self._length(self.tall), self._length(self.wide)

    @property
    def gap(self) -> int:
        """One texel between kernels, none between single weights.

        Lines around single weights would be three quarters of a pointwise convolution.
        """
        return int(self.cell != (1, 1))

    def fold(self, sections: int) -> _Fold:
        """Return how the grid is folded to be nearly square."""
        rows, cols = self._length(self.down), self._length(self.across)
        high, broad = rows * (self.cell[0] + self.gap), cols * (self.cell[1] + self.gap)
        tiles = self.cell != (1, 1)
        if tiles and min(rows, cols) > 1:  # tiles keep their channels in line
            return _Fold()
        if high >= FOLD_ASPECT * broad and self.down and self._foldable(self.down):
            length = self.shape[self.down[-1]] // sections
            limit = length if len(self.down) == 1 and sections == 1 else length & -length
            return _Fold(side_by_side=max(1, min(_power_of_two(math.sqrt(high / broad)), limit)))
        if broad >= FOLD_ASPECT * high and self.across and self._foldable(self.across):
            return _Fold(width=self._line_width(cols, high / broad))
        return _Fold()

    def _foldable(self, axes: list[int]) -> bool:
        """Tell whether folding `axes` leaves bands to cut; small parameters need none."""
        if math.prod(self.shape) <= LARGEST_WHOLE:
            return True
        leading = next(a for a, length in enumerate(self.shape) if length > 1)
        return leading in self.down or (axes == self.across and self._length(self.down) == 1)

    def _line_width(self, cols: int, aspect: float) -> int:
        """Return the cells per line for a grid `aspect` times as high as wide.

        A single row of weights becomes a strip, of kernels a square, on lines of a power
        of two; rows of a matrix are cut at a divisor, if there is one near the ideal.
        """
        if self._length(self.down) == 1:
            wanted = FOLD_ASPECT if self.cell == (1, 1) else 1
            return min(
                cols, max(16 if wanted > 1 else 1, _power_of_two(cols * math.sqrt(wanted * aspect)))
            )
        lines = math.sqrt(1 / aspect)
        near = [n for n in range(math.ceil(lines / 1.5), int(lines * 1.5) + 1) if cols % n == 0]
        best = min(near, key=lambda n: abs(n - lines), default=round(lines))
        return -(-cols // best)

    def layout(self, fold: _Fold, names: tuple[str, ...]) -> Layout:
        """Return the layout with that fold."""
        high, broad = self.cell[0] + self.gap, self.cell[1] + self.gap
        rows, cols = self._length(self.down), self._length(self.across)
        lines = -(-cols // fold.width) if fold.width else 1
        width = fold.width or cols
        digits: list[Digit] = []
        row_step, col_step = high * lines, broad * width
        inner = True
        for axis in reversed(self.down):
            if inner and fold.side_by_side > 1:
                beside = fold.side_by_side
                digits += _split(axis, self.shape[axis], beside, row_step, 0, 0, col_step)
                row_step *= self.shape[axis] // beside if len(self.down) > 1 else 1
            else:
                digits.append(Digit(axis, 1, self.shape[axis], row_step, 0))
                row_step *= self.shape[axis]
            inner = False
        digits += self._across_digits(fold, high, broad)
        digits += self._cell_digits()
        total_rows = -(-rows // fold.side_by_side) * lines * high - self.gap
        total_cols = fold.side_by_side * width * broad - self.gap
        kept = tuple(d for d in digits if d.base > 1)
        plain = Layout(self.shape, total_rows, total_cols, kept, self.cell, self.gap)
        return Layout(**{**plain.__dict__, "sections": _sections(plain, self.down, names)})

    def _across_digits(self, fold: _Fold, high: int, broad: int) -> list[Digit]:
        digits: list[Digit] = []
        col_step = broad
        for axis in reversed(self.across):
            if fold.width and axis == self.across[-1]:
                digits += _split(axis, self.shape[axis], fold.width, high, 0, 0, broad)
            else:
                digits.append(Digit(axis, 1, self.shape[axis], 0, col_step))
            col_step *= self.shape[axis]
        return digits

    def _cell_digits(self) -> list[Digit]:
        digits: list[Digit] = []
        for axes, down in ((self.tall, True), (self.wide, False)):
            step = 1
            for axis in reversed(axes):
                digits.append(Digit(axis, 1, self.shape[axis], *((step, 0) if down else (0, step))))
                step *= self.shape[axis]
        return digits


def _split(
    axis: int,
    length: int,
    inner: int,
    row_outer: int,
    col_outer: int,
    row_inner: int,
    col_inner: int,
) -> list[Digit]:
    """Return the two digits of an axis folded after every `inner` indices."""
    outer = -(-length // inner)
    return [
        Digit(axis, inner, outer, row_outer, col_outer),
        Digit(axis, 1, inner, row_inner, col_inner),
    ]


def _power_of_two(value: float) -> int:
    """Return the power of two nearest to `value` on a logarithmic scale."""
    return 1 << max(0, round(math.log2(value)))


def _sections(layout: Layout, down: list[int], names: tuple[str, ...]) -> tuple[Section, ...]:
    """Return the named parts stacked along the rows, where they fill whole rows."""
    if len(names) < 2 or layout.rows % len(names):
        return ()
    height = layout.rows // len(names)
    return tuple(Section(name, i * height, 0, height, layout.cols) for i, name in enumerate(names))
