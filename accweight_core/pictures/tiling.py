"""Tiling: cut a parameter such that each piece is a rectangle of its picture.

A tile takes a range of every digit of a layout: one value of each high digit of its rows (and of
its columns), several of one digit, all of the lower ones. So its texels form a rectangle. Ranges
are multiples of whatever keeps squares of 2**level texels and sub-blocks whole, so every texel and
every sub-block belongs to exactly one tile, and tiles may be processed in any order. In memory a
tile is contiguous if possible, else it consists of ranges of at least a sub-block: a matrix
stored inputs first is cut both ways. If a sub-block is longer than a column of a folded picture,
a high digit is taken whole, and the tile is a comb: equal rectangles, one per value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

from accweight_core.metrics.sub_blocks import evened, largest_divisor, partition
from accweight_core.pictures.texel_map import Digit, Layout
from accweight_core.pictures.tile import (
    Range,
    Tile,
    comb_of,
    falling,
    in_order_of_storage,
    stretches_of,
)

BLOCK_ELEMENTS = 1 << 18
"""Default number of elements that are walked together: 1 MiB of float32 per read."""


LONG_STRETCH = 1 << 14
"""Elements from which longer contiguous reads are hardly faster."""

MOST_RECTANGLES = 64
"""Rectangles per tile up to which drawing takes about as long as for one."""


@dataclass(frozen=True)
class Tiling:
    """How a parameter is cut into tiles.

    Attributes:
        layout: Layout of its picture.
        level: Level at which every square lies within one tile.
        spans: Number of values per tile, for each digit of `in_order_of_storage`.
    """

    layout: Layout
    level: int
    spans: tuple[int, ...]

    @cached_property
    def digits(self) -> tuple[Digit, ...]:
        """The digits in storage order, slowest first."""
        return in_order_of_storage(self.layout)

    def all(self) -> Iterator[Tile]:
        """Yield every tile in the order of first elements, including rectangles of padding."""
        if self.layout.elements == 0:
            return
        if self.spans == tuple(d.base for d in self.digits):
            yield self.first
            return
        firsts = [range(0, d.base, span) for d, span in zip(self.digits, self.spans, strict=True)]
        for first in product(*firsts):
            ranges = tuple(
                (start, min(start + span, digit.base))
                for start, span, digit in zip(first, self.spans, self.digits, strict=True)
            )
            yield self.tile(ranges)

    def tile(self, ranges: tuple[Range, ...]) -> Tile:
        """Return the tile of those ranges of the digits."""
        rows, cols = (self._intervals(ranges, down=down) for down in (True, False))
        return Tile(self.layout, ranges, rows, cols, stretches_of(self.layout, ranges))

    def tiles(self) -> Iterator[Tile]:
        """Yield every tile that has elements."""
        return (tile for tile in self.all() if tile.stretches)

    def empty(self) -> Iterator[Tile]:
        """Yield the rectangles of padding."""
        if any(
            math.prod(d.base for d in self.digits if d.axis == axis) != length
            for axis, length in enumerate(self.layout.shape)
        ):
            yield from (tile for tile in self.all() if not tile.stretches)

    @cached_property
    def first(self) -> Tile:
        """The first tile; no other has more elements, though the last may own more padding."""
        return self.tile(tuple((0, span) for span in self.spans))

    @property
    def directions(self) -> tuple[bool, bool]:
        """Whether rows (True) or columns come first when tiles are gathered into chunks."""
        cut = [d for d, span in zip(self.digits, self.spans, strict=True) if span < d.base]
        down = not cut or bool(cut[-1].row_step)
        return down, not down

    def strides(self, *, down: bool) -> list[int]:
        """Return the strides of the digits above the size of a tile, in texels of the level."""
        above = self._cut(down=down)[:-1]
        found = (self.digits[n].row_step + self.digits[n].col_step for n in above)
        return sorted(step >> self.level for step in found)

    def others_meanwhile(self, *, down: bool) -> int:
        """Return how many tiles are walked between a tile and its neighbour along a direction."""
        cut = self._cut(down=down)
        after = self.spans[cut[-1] + 1 :] if cut else ()
        bases = [d.base for d in self.digits[len(self.digits) - len(after) :]]
        return math.prod(-(-base // span) for base, span in zip(bases, after, strict=True))

    def _cut(self, *, down: bool) -> list[int]:
        """Return the digits of a direction down to the fastest one that is cut."""
        numbers = falling(self.digits, down=down)
        cut = [i for i, n in enumerate(numbers) if self.spans[n] < self.digits[n].base]
        return numbers[: cut[-1] + 1] if cut else []

    def _intervals(self, ranges: Sequence[Range], *, down: bool) -> tuple[Range, ...]:
        """Return the rows, or columns, of each rectangle of a tile."""
        comb = comb_of(self.digits, ranges, down=down)
        found = []
        for places in product(*(range(self.digits[n].base) for n in comb)):
            single = list(ranges)
            for number, place in zip(comb, places, strict=True):
                value = self.digits[number].value(place)
                single[number] = value, value + 1
            found.append(self._interval(single, down=down))
        return tuple(found)

    def _interval(self, ranges: Sequence[Range], *, down: bool) -> Range:
        """Return the rows, or columns, up to the start of the next tile."""
        start, end = 0, self.layout.rows if down else self.layout.cols
        for number in falling(self.digits, down=down):
            digit, (low, high) = self.digits[number], ranges[number]
            if high - low == digit.base:
                break
            step = digit.row_step + digit.col_step
            place = digit.shown(low) if high - low == 1 else low
            last = place + high - low == digit.base
            start, end = start + place * step, end if last else start + (place + high - low) * step
            if high - low > 1:
                break
        return start, end


@lru_cache(maxsize=256)
def tiling_of(layout: Layout, level: int, block_elements: int) -> Tiling:
    """Return a tiling with tiles of about so many elements, or the smallest possible ones.

    Among the cuts that allow the size, the one with the longest contiguous ranges is taken; if none
    does, the one with the smallest tiles.
    """
    digits = in_order_of_storage(layout)
    ways = [list(_cuts_along(layout, digits, level, down=down)) for down in (True, False)]
    found: list[tuple[tuple[int, ...], list[int]]] = []
    for down, across in product(*ways):
        spans = [d.base for d in digits]
        for number, span in {**down, **across}.items():
            spans[number] = span
        teeth = _teeth(digits, spans)
        if math.prod(spans) > block_elements:
            found.append(((-1, -math.prod(spans), -teeth), spans))
            continue
        spans = _grown(digits, spans, down, across, block_elements)
        together = _stretch(digits, spans)
        fast = min(together, LONG_STRETCH).bit_length() if teeth <= MOST_RECTANGLES else 0
        found.append(((fast, -teeth, together, math.prod(spans)), spans))
    _, spans = max(found, key=lambda rated: rated[0])
    return Tiling(layout, level, tuple(spans))


def _teeth(digits: Sequence[Digit], spans: Sequence[int]) -> int:
    """Return the number of rectangles per tile."""
    first = [(0, span) for span in spans]
    combs = comb_of(digits, first, down=True) + comb_of(digits, first, down=False)
    return math.prod(digits[n].base for n in combs)


@lru_cache(maxsize=256)
def whole(layout: Layout, level: int) -> Tiling:
    """Return the tiling that consists of one tile."""
    return Tiling(layout, level, tuple(d.base for d in in_order_of_storage(layout)))


def _cuts_along(
    layout: Layout, digits: Sequence[Digit], level: int, *, down: bool
) -> Iterator[dict[int, int]]:
    """Yield the ways to cut along rows, or columns: the smallest span of each digit that is cut.

    The last digit listed is the fastest one that is cut.
    """
    yield {}
    ways: list[dict[int, int]] = [{}]
    for number in falling(digits, down=down):
        digit = digits[number]
        drawn = _drawn_whole(digit, level)
        span = min(math.lcm(drawn, _summed_whole(layout, digits, number)), digit.base)
        if span < digit.base and not (digit.order and span > 1):
            yield from ({**way, number: span} for way in ways)
        if drawn > 1:
            return
        ways += [{**way, number: 1} for way in ways] if span == 1 else []


def _drawn_whole(digit: Digit, level: int) -> int:
    """Return the multiple of values of a digit that keeps squares whole."""
    return (1 << level) // math.gcd(digit.row_step + digit.col_step, 1 << level)


def _summed_whole(layout: Layout, digits: Sequence[Digit], number: int) -> int:
    """Return the multiple of values of a digit that keeps sub-blocks whole."""
    cut, digit = partition(layout.shape), digits[number]
    above = [d for d in digits[:number] if d.axis == digit.axis == cut.axis]
    if digit.axis > cut.axis or any(d.divisor % cut.indices for d in above):
        return digit.base
    return cut.indices // math.gcd(digit.divisor, cut.indices) if digit.axis == cut.axis else 1


def _grown(
    digits: Sequence[Digit],
    spans: Sequence[int],
    down: dict[int, int],
    across: dict[int, int],
    block_elements: int,
) -> list[int]:
    """Return tiles of the target size, grown first along what is contiguous in memory."""
    grown = list(spans)
    lowest = [list(cut)[-1] for cut in (down, across) if cut]
    for number in sorted(lowest, reverse=True):
        if digits[number].order:
            continue
        wanted = max(1, block_elements // math.prod(grown))
        grown[number] *= _times(digits, number, spans[number], wanted)
    return grown


def _times(digits: Sequence[Digit], number: int, span: int, wanted: int) -> int:
    """Return how many spans of a digit make up a tile, at most `wanted`.

    Tiles have equal sizes, or the last chunk of a picture would be mostly padding; and they fill
    the stride of the next digit, or chunks of a picture would begin inside a tile.
    """
    digit = digits[number]
    units = -(-digit.base // span)
    above = [
        d.row_step + d.col_step
        for d in digits
        if bool(d.row_step) == bool(digit.row_step)
        and d.row_step + d.col_step > digit.row_step + digit.col_step
    ]
    unit = span * (digit.row_step + digit.col_step)
    if not above or min(above) % unit:
        return evened(units, wanted)
    return largest_divisor(min(above) // unit, min(wanted, units))


def _stretch(digits: Sequence[Digit], spans: Sequence[int]) -> int:
    """Return the number of contiguous elements of a tile."""
    together = 1
    for digit, span in zip(reversed(digits), reversed(spans), strict=True):
        together *= span
        if span < digit.base:
            break
    return together
