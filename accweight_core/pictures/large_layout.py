"""Layout of large parameters: pictures that can be drawn tile by tile in any storage order.

A picture that would be more than four times longer than wide is folded into columns, as in a
newspaper (or into bands, if it is broad), so that a rectangle of the picture is a rectangle of the
matrix, whether rows are outputs or inputs. Columns, stacks and gates start at multiples of a power
of two, with padding where necessary, so that no square of a coarse level covers parts of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from accweight_core.pictures.gates import shown_sections
from accweight_core.pictures.texel_map import Digit, Layout, Section

SPACED = 256
"""Columns, stacks and gates start at multiples of this where that needs little padding."""


@dataclass(frozen=True)
class Place:
    """A part of an axis that runs along rows or columns; see `Digit`."""

    axis: int
    divisor: int
    base: int
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class Line:
    """Digits along one direction.

    Attributes:
        digits: Those with a length other than 1, fastest first.
        steps: Stride of each place in texels.
        extent: Total length in texels.
    """

    digits: tuple[Digit, ...]
    steps: tuple[int, ...]
    extent: int


def line_of(cell: Sequence[Place], gap: int, grid: Sequence[Place], *, down: bool) -> Line:
    """Lay places along rows or columns, fastest first.

    Args:
        cell: Places within one cell.
        gap: Texels between cells.
        grid: Places of the cells.
        down: Whether they run along rows.
    """
    extent, digits, steps = 1, [], []
    for number, place in enumerate((*cell, *grid)):
        extent += gap if number == len(cell) else 0
        step = spaced(extent)
        steps.append(step)
        extent += step * (place.base - 1)
        if place.base > 1:
            moves = (step, 0) if down else (0, step)
            digits.append(Digit(place.axis, place.divisor, place.base, *moves, place.order))
    return Line(tuple(digits), tuple(steps), extent - (gap if grid else 0))


def spaced(extent: int) -> int:
    """Return the spacing for things of that length in texels; at most an eighth is padding.

    >>> spaced(14336), spaced(3000), spaced(6), spaced(1)
    (14336, 3072, 6, 1)
    """
    unit = min(SPACED, 1 << max(extent // 8, 1).bit_length() - 1)
    return -(-extent // unit) * unit


def fold_length(length: int) -> int:
    """Return a fold length near the given one: a multiple of a large power of two."""
    unit = 1 << max(length // 4, 1).bit_length() - 1
    return -(-length // unit) * unit


def folded(axis: int, length: int, fold: int) -> tuple[Place, list[Place]]:
    """Return the place of an axis within a fold, and the places of the folds."""
    if not 0 < fold < length:
        return Place(axis, 1, length), []
    return Place(axis, 1, fold), [Place(axis, fold, -(-length // fold))]


def gates_of(axis: int, length: int, names: tuple[str, ...]) -> list[Place]:
    """Return the place of the parts that are stacked along an axis."""
    if not names:
        return []
    _, order = shown_sections(names)
    moved = order if list(order) != sorted(order) else ()
    return [Place(axis, length // len(names), len(names), moved)]


def sections_of(
    names: tuple[str, ...], step: int, height: int, stacks: int, stack: int, cols: int
) -> tuple[Section, ...]:
    """Return the named parts along the rows.

    Args:
        names: Names in storage order.
        step: Rows from part to part.
        height: Rows per part.
        stacks: Number of stacks of parts, one below the other.
        stack: Rows from stack to stack.
        cols: Columns of the picture.
    """
    shown, _ = shown_sections(names) if names else ((), ())
    return tuple(
        Section(
            f"{name} {number + 1}" if stacks > 1 else name,
            number * stack + place * step,
            0,
            height,
            cols,
        )
        for number in range(stacks)
        for place, name in enumerate(shown)
    )


def large_layout(
    shape: tuple[int, ...],
    down: Sequence[int],
    across: Sequence[int],
    cell: tuple[Sequence[int], Sequence[int]],
    gap: int,
    folds: tuple[int, int],
    names: tuple[str, ...],
) -> Layout:
    """Return the layout of a large parameter.

    Args:
        shape: Its shape.
        down: Axes along the rows of the grid, slowest first.
        across: Axes along the columns of the grid.
        cell: Axes along the rows and columns of a cell.
        gap: Texels between cells.
        folds: Number of indices of the last axis down per column, and of the last axis across per
            band; 0 for no fold.
        names: Names of equal parts of the last axis down.
    """
    tall, wide = ([Place(a, 1, shape[a]) for a in reversed(axes)] for axes in cell)
    rows = [Place(a, 1, shape[a]) for a in reversed(down)]
    cols = [Place(a, 1, shape[a]) for a in reversed(across)]
    below: list[Place] = []
    beside: list[Place] = []
    if rows:
        rows[0], beside = folded(down[-1], shape[down[-1]] // max(len(names), 1), folds[0])
        rows[1:1] = gates_of(down[-1], shape[down[-1]], names)
    if cols:
        cols[0], below = folded(across[-1], shape[across[-1]], folds[1])
    vertical = line_of(tall, gap, [*rows, *below], down=True)
    horizontal = line_of(wide, gap, [*cols, *beside], down=False)
    layout = Layout(
        shape,
        vertical.extent,
        horizontal.extent,
        (*vertical.digits, *horizontal.digits),
        (math.prod(shape[a] for a in cell[0]), math.prod(shape[a] for a in cell[1])),
        gap,
    )
    if not names:
        return layout
    first = len(tall)
    steps = vertical.steps[first:]
    height = steps[0] * rows[0].base
    stacks = math.prod(shape[a] for a in down[:-1])
    stack = steps[2] if len(down) > 1 else 0
    sections = sections_of(names, steps[1], height, stacks, stack, layout.cols)
    return replace(layout, sections=sections)
