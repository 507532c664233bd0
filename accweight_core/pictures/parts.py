"""Where projections and attention heads lie in a picture.

They change nothing of the mapping between texels and weights: two runs have the same picture
whether or not the heads of one are known. A part is a range of one axis, which is a rectangle of
the picture, or several where the picture is folded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product

from accweight_core.pictures.texel_map import Digit, Layout, Section
from accweight_core.schema import Axis, Span, Split

MOST_MARKS = 4096
"""Limit of the rectangles of a picture; models have up to a few hundred heads."""

Limits = dict[Digit, tuple[int, int]]
"""First value of a digit, and the value after the last one."""


def with_parts(layout: Layout, axes: tuple[Axis, ...], split: Split) -> Layout:
    """Return a layout with the rectangles of parts and heads; unchanged if they are too many."""
    return _with_parts(layout, layout.sections, axes, split)


@lru_cache(maxsize=1024)
def _with_parts(
    layout: Layout, sections: tuple[Section, ...], axes: tuple[Axis, ...], split: Split
) -> Layout:
    """Return the layout; layouts with other sections are equal, so these are arguments as well."""
    along = [a for a, axis in enumerate(axes) if axis is split.along] if len(axes) > 1 else []
    if not along or layout.cell != (1, 1) or split.groups * len(split.parts) > MOST_MARKS:
        return layout
    inner = math.prod(layout.shape[axis] for axis in along[1:])
    if not sections and (len(split.parts) > 1 or split.groups > 1):
        sections = _sections(layout, along[0], inner, split)
    number = sum(split.heads_of(name) for name in {part.name for part in split.parts})
    marks: list[Section] = []
    named: list[tuple[str, Span]] = []
    if 0 < number <= MOST_MARKS:
        named = [(f"{head.part}{head.number}", head) for head in split.heads()]
    elif not number and not sections:
        named = [(part.part, part) for part in split.spans()]
    for name, span in named:
        for box in boxes_of(layout, along[0], span.first // inner, span.end // inner):
            marks.append(Section(name, *box))
    return replace(layout, sections=sections, marks=tuple(marks[:MOST_MARKS]))


def _sections(layout: Layout, axis: int, inner: int, split: Split) -> tuple[Section, ...]:
    """Return the parts, if each fills whole rows of the picture."""
    found = []
    for part in split.spans():
        boxes = boxes_of(layout, axis, part.first // inner, part.end // inner)
        if len(boxes) != 1 or boxes[0][3] != layout.cols:
            return ()
        name = part.part if split.groups == 1 else f"{part.part}{part.number}"
        found.append(Section(name, *boxes[0]))
    return tuple(found)


def boxes_of(layout: Layout, axis: int, first: int, end: int) -> list[tuple[int, int, int, int]]:
    """Return the rectangles of the picture that show a range of an axis.

    Returns:
        (row, column, rows, columns) of each; none if the parts of the axis are reordered.
    """
    digits = [digit for digit in layout.digits if digit.axis == axis]
    if len(digits) > 2 or any(digit.order for digit in digits):
        return []
    boxes = []
    for limits in _limits(sorted(digits, key=lambda d: d.divisor), first, end):
        down = _intervals([d for d in layout.digits if d.row_step], limits, layout.rows)
        across = _intervals([d for d in layout.digits if d.col_step], limits, layout.cols)
        boxes += [(row, col, rows, cols) for (row, rows), (col, cols) in product(down, across)]
    return boxes


def _limits(digits: Sequence[Digit], first: int, end: int) -> Iterator[Limits]:
    """Yield the ranges of the digits of an axis that make up a range of its indices."""
    if not digits:
        yield {}
    elif len(digits) == 1:
        divisor = digits[0].divisor
        yield {digits[0]: (first // divisor, -(-end // divisor))}
    elif first % digits[1].divisor == 0 and end % digits[1].divisor == 0:
        yield {digits[1]: (first // digits[1].divisor, end // digits[1].divisor)}
    else:
        fold = digits[1].divisor
        for place in range(first // fold, -(-end // fold)):
            start, stop = max(first - place * fold, 0), min(end - place * fold, fold)
            yield {digits[1]: (place, place + 1), digits[0]: (start, stop)}


def _intervals(digits: Sequence[Digit], limits: Limits, extent: int) -> list[tuple[int, int]]:
    """Return (first, length) of the texels in one direction that limited digits allow."""
    found = [(0, extent)]
    waiting = sum(digit in limits for digit in digits)
    for digit in sorted(digits, key=lambda d: -(d.row_step + d.col_step)):
        if not waiting:
            break
        step = digit.row_step + digit.col_step
        low, high = limits.get(digit, (0, digit.base))
        waiting -= digit in limits
        if waiting or digit not in limits:
            found = [(at + v * step, step) for at, _ in found for v in range(low, high)]
        else:
            found = [(at + low * step, (high - low) * step) for at, _ in found]
    return [(at, min(length, extent - at)) for at, length in found if at < extent]
