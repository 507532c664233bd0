"""Tiles: elements that are walked together, and the rectangles of the picture that they fill."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt

from accweight_core.pictures.texel_map import Digit, Layout

KERNEL_PITCH = 4
"""Texels from one kernel of 3 x 3 to the next."""

Indices = npt.NDArray[np.int64]
Sheet = npt.NDArray[np.float32]
Range = tuple[int, int]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """Elements that are walked together and own rectangles of the picture.

    Attributes:
        layout: Layout of the picture.
        ranges: (first, end) of the values of each digit of `in_order_of_storage`.
        rows: (first, end) of the rows of each rectangle at level 0, from top to bottom.
        cols: (first, end) of the columns of each rectangle, from left to right.
        stretches: (first, end) of the contiguous ranges of elements (C order); empty for a
            rectangle of padding.
    """

    layout: Layout
    ranges: tuple[Range, ...]
    rows: tuple[Range, ...]
    cols: tuple[Range, ...]
    stretches: tuple[Range, ...]

    @cached_property
    def elements(self) -> int:
        """Number of elements."""
        return sum(stop - start for start, stop in self.stretches)

    @cached_property
    def is_complete(self) -> bool:
        """Whether every combination of digits in its ranges is an element."""
        return math.prod(stop - start for start, stop in self.ranges) == self.elements

    @property
    def start(self) -> int:
        """First element."""
        return self.stretches[0][0]

    def windows(self, level: int) -> Iterator[tuple[Window, Window]]:
        """Yield the position of each rectangle in the picture, and on the sheet of the tile.

        On a sheet rectangles are equally spaced, even if the last one is shorter.
        """
        high, broad = (pitch >> level for pitch in self.pitches(level))
        for down, rows in enumerate(self.rows):
            for across, cols in enumerate(self.cols):
                there = _coarse(rows, level), _coarse(cols, level)
                here = (
                    slice(down * high, down * high + there[0].stop - there[0].start),
                    slice(across * broad, across * broad + there[1].stop - there[1].start),
                )
                yield there, here

    def pitches(self, level: int) -> tuple[int, int]:
        """Return the spacing of the rectangles on a sheet, in (rows, columns) at level 0."""
        if level not in self._pitches:
            high, broad = (
                max(-(-stop >> level) - (start >> level) for start, stop in intervals) << level
                for intervals in (self.rows, self.cols)
            )
            self._pitches[level] = high, broad
        return self._pitches[level]

    @cached_property
    def _pitches(self) -> dict[int, tuple[int, int]]:
        """The spacing at the levels asked for so far."""
        return {}

    def size(self, level: int) -> tuple[int, int]:
        """Return (rows, columns), at a level, of the sheet that holds all rectangles."""
        high, broad = self.pitches(level)
        return (high >> level) * len(self.rows), (broad >> level) * len(self.cols)

    def moves(self, level: int) -> list[tuple[int, int]]:
        """Return the stride of each digit on the sheet, in (rows, columns) at level 0."""
        digits = in_order_of_storage(self.layout)
        moves = [(d.row_step, d.col_step) for d in digits]
        for down, pitch in zip((True, False), self.pitches(level), strict=True):
            step = pitch
            for number in reversed(comb_of(digits, self.ranges, down=down)):
                moves[number] = (step, 0) if down else (0, step)
                step *= digits[number].base
        return moves

    def view(self, sheet: Sheet, level: int) -> Sheet | None:
        """Return a sheet with one axis per digit; None if a range is incomplete.

        Args:
            sheet: C order, at level 0; its size is `size(level)` in squares of that level.
            level: Level at which rectangles are whole squares.
        """
        counts = [stop - start for start, stop in self.ranges]
        if not self.is_complete:
            return None
        width = sheet.shape[1]
        strides = [(down * width + across) * sheet.itemsize for down, across in self.moves(level)]
        row, col = self._first_texel()
        first = sheet.reshape(-1)[row * width + col :]
        return np.lib.stride_tricks.as_strided(first, counts, strides)

    @cached_property
    def lines(self) -> tuple[int, int] | None:
        """(rows, columns) if the elements fill texels in row-major order from the first texel on.

        None otherwise.
        """
        if len(self.rows) * len(self.cols) > 1 or any(d.order for d in self.layout.digits):
            return None
        rows = cols = 1
        known = self._known
        for digit, (start, stop) in reversed(known):
            if stop - start > 1 and digit.col_step == cols and rows == 1:
                cols *= stop - start
            elif stop - start > 1 and digit.row_step == rows:
                rows *= stop - start
            elif stop - start > 1:
                return None
        if rows * cols > self.elements and len(self.stretches) == 1:  # the last rows are padding
            rows = self.elements // cols
        fills = rows * cols == self.elements and self._begins_at_origin
        return (rows, cols) if fills else None

    @cached_property
    def kernels(self) -> tuple[int, int] | None:
        """(outputs, inputs) if the elements are kernels of 3 x 3 with a gap of one texel.

        Outputs are across, inputs down, as in the picture; the inputs of an output follow each
        other in memory. None otherwise.
        """
        if len(self.rows) * len(self.cols) > 1 or any(d.order for d in self.layout.digits):
            return None
        moves = [(d.row_step, d.col_step, stop - start) for d, (start, stop) in self._known]
        if len(moves) != 4 or moves[2:] != [(1, 0, 3), (0, 1, 3)]:
            return None
        (*across, outputs), (*down, inputs) = moves[:2]
        is_grid = (across, down) == ([0, KERNEL_PITCH], [KERNEL_PITCH, 0])
        fills = outputs * inputs * 9 == self.elements and self._begins_at_origin
        return (outputs, inputs) if is_grid and fills else None

    @cached_property
    def _known(self) -> list[tuple[Digit, Range]]:
        """The digits in storage order, slowest first, with their ranges."""
        return list(zip(in_order_of_storage(self.layout), self.ranges, strict=True))

    @property
    def _begins_at_origin(self) -> bool:
        """Whether the first element is in the first texel of the first rectangle."""
        first = (
            sum(start * digit.row_step for digit, (start, _) in self._known),
            sum(start * digit.col_step for digit, (start, _) in self._known),
        )
        return first == (self.rows[0][0], self.cols[0][0])

    def order(self) -> tuple[slice | Indices, ...]:
        """Return the index that puts values into `view` at their display positions."""
        return tuple(
            np.array(d.order) if d.order and stop - start > 1 else slice(None)
            for d, (start, stop) in zip(in_order_of_storage(self.layout), self.ranges, strict=True)
        )

    def _first_texel(self) -> tuple[int, int]:
        """Return the texel of the sheet at the origin of `view`."""
        row, col = -self.rows[0][0], -self.cols[0][0]
        for digit, (start, stop) in zip(in_order_of_storage(self.layout), self.ranges, strict=True):
            value = start if digit.order and stop - start > 1 else digit.shown(start)
            row += value * digit.row_step
            col += value * digit.col_step
        return row, col

    def targets(self, level: int) -> tuple[npt.NDArray[np.int32], int] | None:
        """Return the texels of the elements at the first place of the slowest digit, and its step.

        None if a range is incomplete or not in its order.
        """
        if not self.is_complete or any(not isinstance(o, slice) for o in self.order()):
            return None
        width = self.size(level)[1] << level
        row, col = self._first_texel()
        counts = [stop - start for start, stop in self.ranges]
        places = np.array([row * width + col])
        steps = [down * width + across for down, across in self.moves(level)]
        for count, step in zip(counts[1:], steps[1:], strict=True):
            places = np.add.outer(places, np.arange(count) * step).reshape(-1)
        return places.astype(np.int32), steps[0] if steps else 0

    def filled(self, level: int) -> tuple[Indices, Indices]:
        """Return how many rows, and columns, with elements each square of the sheet has.

        Only of a complete tile: its elements fill all crossings of these rows and columns.
        """
        found, moves = [], self.moves(level)
        for at, (first, size) in enumerate(zip(self._first_texel(), self.size(level), strict=True)):
            lines = np.array([first])
            for (start, stop), move in zip(self.ranges, moves, strict=True):
                if move[at] and stop - start > 1:
                    lines = np.add.outer(lines, np.arange(stop - start) * move[at]).reshape(-1)
            found.append(np.bincount(lines >> level, minlength=size))
        return found[0], found[1]

    def places(self, level: int) -> Indices:
        """Return the texel of every element on a sheet, in row-major order."""
        width = self.size(level)[1] << level
        row, col = self._first_texel()
        offsets = np.array([row * width + col])
        digits = in_order_of_storage(self.layout)
        known = list(zip(digits, self.ranges, self.moves(level), strict=True))
        for axis, runs in enumerate(runs_of(self.layout, self.ranges)):
            index = np.concatenate([np.arange(*run, dtype=np.int64) for run in runs])
            table = np.zeros_like(index)
            for digit, (start, stop), (down, across) in (k for k in known if k[0].axis == axis):
                value = index // digit.divisor % digit.base
                moved = digit.order and stop - start > 1
                value = np.array(digit.order)[value] if moved else value - start
                table += value * (down * width + across)
            offsets = (offsets[:, None] + table).reshape(-1)
        return offsets


def in_order_of_storage(layout: Layout) -> tuple[Digit, ...]:
    """Return the digits in storage order, slowest first."""
    return tuple(sorted(layout.digits, key=lambda d: (d.axis, -d.divisor)))


def _coarse(interval: Range, level: int) -> slice:
    start, stop = interval
    return slice(start >> level, -(-stop >> level))


def comb_of(digits: Sequence[Digit], ranges: Sequence[Range], *, down: bool) -> list[int]:
    """Return the digits that are taken whole above one that is cut, slowest first."""
    numbers = falling(digits, down=down)
    is_whole = [ranges[n] == (0, digits[n].base) for n in numbers]
    lowest = max((i for i, whole_ in enumerate(is_whole) if not whole_), default=0)
    return [n for n, whole_ in zip(numbers[:lowest], is_whole[:lowest], strict=True) if whole_]


def falling(digits: Sequence[Digit], *, down: bool) -> list[int]:
    """Return the positions of the digits along rows, or columns, by descending stride."""
    numbers = [n for n, digit in enumerate(digits) if bool(digit.row_step) == down]
    return sorted(numbers, key=lambda n: -(digits[n].row_step + digits[n].col_step))


def runs_of(layout: Layout, ranges: Sequence[Range]) -> list[list[Range]]:
    """Return, per axis, the ranges of indices that the ranges of its digits make up."""
    runs: list[list[Range]] = [[(0, length)] for length in layout.shape]
    digits = in_order_of_storage(layout)
    for axis, length in enumerate(layout.shape):
        own = [(d, r) for d, r in zip(digits, ranges, strict=True) if d.axis == axis]
        while own and own[-1][1] == (0, own[-1][0].base):
            own.pop()
        if not own:
            continue
        starts, end = [0], length
        for digit, (low, high) in own[:-1]:
            starts = [s + value * digit.divisor for s in starts for value in range(low, high)]
            end = digit.divisor
        digit, (low, high) = own[-1]
        found = [
            (s + low * digit.divisor, min(s + high * digit.divisor, s + end, length))
            for s in starts
        ]
        runs[axis] = [(first, last) for first, last in found if first < last]
    return runs


def stretches_of(layout: Layout, ranges: Sequence[Range]) -> tuple[Range, ...]:
    """Return the contiguous ranges of elements, in order."""
    runs = runs_of(layout, ranges)
    if not all(runs):
        return ()
    shape = layout.shape
    cut = [axis for axis, length in enumerate(shape) if runs[axis] != [(0, length)]]
    if not cut:
        return ((0, layout.elements),)
    last = cut[-1]
    before = [[i for run in runs[axis] for i in range(*run)] for axis in range(last)]
    strides = [math.prod(shape[axis + 1 :]) for axis in range(last + 1)]
    found: list[Range] = []
    for index in product(*before):
        offset = sum(i * stride for i, stride in zip(index, strides[:-1], strict=True))
        for first, end in runs[last]:
            begin, stop = offset + first * strides[last], offset + end * strides[last]
            if found and found[-1][1] == begin:
                found[-1] = found[-1][0], stop
            else:
                found.append((begin, stop))
    return tuple(found)
