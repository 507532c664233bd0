"""Layout: the mapping from a parameter to a flat picture, by the meaning of its axes.

Convolutions are grids of kernels, output channels across and input channels down; matrices have
outputs down and inputs across. A picture that is four times longer than wide is wrapped until it
is nearly square. The mapping depends on the meaning of the axes and not on their order in memory,
so the same layer gives the same picture from any file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from accweight_core.pictures.gates import shown_sections
from accweight_core.pictures.large_layout import fold_length, large_layout
from accweight_core.pictures.parts import with_parts
from accweight_core.pictures.texel_map import Digit, Layout, Section
from accweight_core.schema import Axis, Parameter

FOLD_ASPECT = 4
"""Pictures of this aspect ratio and above are folded."""

LARGEST_WHOLE = 1 << 20
"""Elements up to which a parameter may be placed in one piece, if necessary. Larger parameters get
a layout that can be placed piece by piece: see `large_layout`."""


def layout_of(parameter: Parameter) -> Layout:
    """Return the layout of a parameter, given by its shape and the meaning of its axes."""
    layout = _layout(parameter.shape, parameter.axes, parameter.sections, LARGEST_WHOLE)
    return with_parts(layout, parameter.axes, parameter.split) if parameter.split else layout


@lru_cache(maxsize=1024)
def _layout(
    shape: tuple[int, ...], axes: tuple[Axis, ...], sections: tuple[str, ...], largest_whole: int
) -> Layout:
    """Return the layout for a shape and axes; cached, because layers of a model repeat."""
    if math.prod(shape) == 0:
        return Layout(shape, 0, 0, ())
    down, across, tall, wide = _grouped(shape, axes)
    grid = _Grid(shape, down, across, tall, wide)
    stacked = sections if _are_stacked(shape, axes, sections, down) else ()
    if math.prod(shape) > largest_whole:
        folds = grid.large_folds(len(stacked) or 1)
        return large_layout(shape, down, across, (tall, wide), grid.gap, folds, stacked)
    return grid.layout(grid.fold(len(stacked) or 1), stacked)


def _are_stacked(
    shape: tuple[int, ...], axes: tuple[Axis, ...], sections: tuple[str, ...], down: list[int]
) -> bool:
    """Tell whether the named parts are equal parts of the last axis down."""
    count = len(sections)
    return (
        count > 1
        and bool(down)
        and axes[down[-1]] is not Axis.DIRECTION
        and shape[down[-1]] % count == 0
    )


def _grouped(
    shape: tuple[int, ...], axes: tuple[Axis, ...]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return the axes down and across the grid, and down and across a cell."""
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
    """A wrap: a column becomes several side by side, or a row becomes several lines of `width`."""

    side_by_side: int = 1
    width: int = 0


@dataclass(frozen=True)
class _Grid:
    """The cells of a parameter before wrapping."""

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

        Gaps around single weights would be three quarters of a pointwise convolution's picture.
        """
        return int(self.cell != (1, 1))

    def fold(self, sections: int) -> _Fold:
        """Return the wrap that makes the grid nearly square."""
        rows, cols = self._length(self.down), self._length(self.across)
        high, broad = rows * (self.cell[0] + self.gap), cols * (self.cell[1] + self.gap)
        tiles = self.cell != (1, 1)
        if tiles and min(rows, cols) > 1:  # kernels keep their channels in line
            return _Fold()
        if high >= FOLD_ASPECT * broad and self.down:
            length = self.shape[self.down[-1]] // sections
            limit = length if len(self.down) == 1 and sections == 1 else length & -length
            return _Fold(side_by_side=max(1, min(_power_of_two(math.sqrt(high / broad)), limit)))
        if broad >= FOLD_ASPECT * high and self.across:
            return _Fold(width=self._line_width(cols, high / broad))
        return _Fold()

    def large_folds(self, sections: int) -> tuple[int, int]:
        """Return after how many rows, and after how many columns, a large grid is folded.

        Depends on the meaning of the axes, not on their order in memory.
        """
        rows, cols = self._length(self.down), self._length(self.across)
        high, broad = rows * (self.cell[0] + self.gap), cols * (self.cell[1] + self.gap)
        if self.cell != (1, 1) and min(rows, cols) > 1:
            return 0, 0
        if high >= FOLD_ASPECT * broad and self.down:
            columns, length = _power_of_two(math.sqrt(high / broad)), self.shape[self.down[-1]]
            if sections == 1:
                return fold_length(-(-length // columns)), 0
            part = length // sections
            return part // min(columns, part & -part), 0
        if broad >= FOLD_ASPECT * high and self.across:
            length = self.shape[self.across[-1]]
            if rows == 1:
                return 0, min(self._line_width(cols, high / broad), length)
            return 0, fold_length(math.ceil(length * math.sqrt(high / broad)))
        return 0, 0

    def _line_width(self, cols: int, aspect: float) -> int:
        """Return the cells per line for a grid `aspect` times as high as wide.

        A single row of weights becomes a strip and one of kernels a square, with a power of two per
        line; rows of a matrix are cut at a divisor, if one is near the ideal length.
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
        """Return the layout with that wrap."""
        high, broad = self.cell[0] + self.gap, self.cell[1] + self.gap
        rows, cols = self._length(self.down), self._length(self.across)
        lines = -(-cols // fold.width) if fold.width else 1
        width = fold.width or cols
        digits: list[Digit] = []
        row_step, col_step = high * lines, broad * width
        for axis in reversed(self.down):
            length = self.shape[axis]
            beside = fold.side_by_side if axis == self.down[-1] else 1
            split = _split(axis, length, beside, row_step, 0, 0, col_step)
            digits += _stacked(split, names) if axis == self.down[-1] else split
            row_step *= length // beside
        digits += self._across_digits(fold, high, broad)
        digits += self._cell_digits()
        total_rows = -(-rows // fold.side_by_side) * lines * high - self.gap
        total_cols = fold.side_by_side * width * broad - self.gap
        kept = tuple(d for d in digits if d.base > 1)
        plain = Layout(self.shape, total_rows, total_cols, kept, self.cell, self.gap)
        return replace(plain, sections=_sections(plain, names, self._length(self.down[:-1])))

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
    """Return the two digits of an axis that is folded after every `inner` indices."""
    outer = -(-length // inner)
    return [
        Digit(axis, inner, outer, row_outer, col_outer),
        Digit(axis, 1, inner, row_inner, col_inner),
    ]


def _power_of_two(value: float) -> int:
    """Return the nearest power of two on a logarithmic scale."""
    return 1 << max(0, round(math.log2(value)))


def _stacked(digits: list[Digit], names: tuple[str, ...]) -> list[Digit]:
    """Return the digits of an axis of stacked parts, with one more digit if they are reordered."""
    _, order = shown_sections(names)
    if list(order) == sorted(order):
        return digits
    outer, inner = digits
    base = outer.base // len(names)
    part = Digit(outer.axis, outer.divisor * base, len(names), outer.row_step * base, 0, order)
    return [part, replace(outer, base=base), inner]


def _sections(layout: Layout, names: tuple[str, ...], stacks: int) -> tuple[Section, ...]:
    """Return the named parts along the rows, if they fill whole rows.

    Args:
        layout: The layout to divide.
        names: Parts of one stack, in storage order.
        stacks: Number of stacks, one below the other: directions of a recurrent layer.
    """
    if not names or layout.rows % (stacks * len(names)):
        return ()
    shown, _ = shown_sections(names)
    if stacks > 1:
        shown = tuple(f"{name} {stack + 1}" for stack in range(stacks) for name in shown)
    height = layout.rows // len(shown)
    return tuple(Section(name, i * height, 0, height, layout.cols) for i, name in enumerate(shown))
