"""Compiled loops over pictures, and over narrow weights that are to be widened.

Squares are added up down their columns first, then across: the same bits whether a sheet is
pooled as a whole or while its weights stream past.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.jit.njit import compiled, compiled_within
from accweight_core.jit.order import LANES
from accweight_core.jit.simd import (
    evens,
    from_float16,
    larger,
    load,
    number,
    odds,
    pattern,
    store,
)  # fmt: skip

Array = npt.NDArray[Any]


@compiled
def look_up(codes: Array, table: Array, out: Array) -> None:
    """Write ``table[codes]`` for codes of one byte."""
    for i in range(codes.size):
        out[i] = table[codes[i]]


@compiled
def widen_halves(halves: Array, out: Array, at: int, count: int) -> None:
    """Write numbers of float16 as float32.

    Their exponent is moved to its new place and made larger by 112, which is a product: right
    for the smallest numbers too. What is infinite or no number keeps the largest exponent.

    Args:
        halves: Their bits, flat.
        out: float32, flat; written from `at` on.
        at: Where to begin there.
        count: How many numbers.
    """
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(out, at + i, from_float16(load(halves, i)))
    bits = out.view(np.uint32)
    for i in range(whole, count):
        half = np.uint32(halves[i])
        bits[at + i] = (half & np.uint32(0x7FFF)) << np.uint32(13)
        out[at + i] *= np.float32(2.0**112)
        if half & np.uint32(0x7C00) == np.uint32(0x7C00):
            bits[at + i] |= np.uint32(0x7F800000)
        bits[at + i] |= (half & np.uint32(0x8000)) << np.uint32(16)


@compiled
def halve(
    mean: Array, largest: Array, counts: Array, half: Array, half_largest: Array, halved: Array
) -> None:
    """Write the next coarser level of pictures, over squares of 2x2 texels.

    Args:
        mean: (steps, rows, columns) float32, NaN where there is no element.
        largest: Same shape.
        counts: (rows, columns) float32, elements per texel.
        half: (steps, rows / 2, columns / 2) float32, sides rounded up; written.
        half_largest: Same shape, written.
        halved: (rows / 2, columns / 2) float32, elements per texel of the halves.
    """
    rows, columns = counts.shape
    for step in range(half.shape[0]):
        for row in range(half.shape[1]):
            for col in range(half.shape[2]):
                total, top = 0.0, np.float32(0)
                for i in range(2 * row, min(2 * row + 2, rows)):
                    for j in range(2 * col, min(2 * col + 2, columns)):
                        if counts[i, j] > 0:
                            total += np.float64(mean[step, i, j]) * counts[i, j]
                            top = max(top, largest[step, i, j])
                empty = halved[row, col] == 0
                half[step, row, col] = np.nan if empty else total / halved[row, col]
                half_largest[step, row, col] = np.nan if empty else top


@compiled_within
def gather(
    path: Array,
    first: int,
    count: int,
    element: int,
    width: int,
    height: int,
    side: int,
    row_sums: Array,
    row_tops: Array,
    sums: Array,
    tops: Array,
) -> None:
    """Pool the next stretch of a sheet whose texels come row by row.

    Args:
        path: Values that are not negative, flat.
        first: Where the stretch begins there.
        count: How many texels it has.
        element: Which texel of the sheet the first one is.
        width: Texels of a row.
        height: Rows.
        side: Side of a square.
        row_sums: (`padded(width)`,) sums down the squares so far; zeros at first.
        row_tops: Same shape, maxima likewise.
        sums: (height / side, width / side), rounded up; written where squares are complete.
        tops: Same shape, maxima, written likewise.
    """
    while count > 0:
        row, col = element // width, element % width
        length = min(count, width - col)
        whole = length - length % LANES
        for i in range(0, whole, LANES):
            values = load(path, first + i)
            store(row_sums, col + i, load(row_sums, col + i) + values)
            top = larger(pattern(load(row_tops, col + i)), pattern(values))
            store(row_tops, col + i, number(top))
        for i in range(whole, length):
            value, top = path[first + i], row_tops[col + i]
            row_sums[col + i] += value
            row_tops[col + i] = value if value > top else top
        if col + length == width and (row % side == side - 1 or row == height - 1):
            _fold_across(side, width, row_sums, row_tops)
            for square in range(sums.shape[1]):
                sums[row // side, square] = row_sums[square]
                tops[row // side, square] = row_tops[square]
            row_sums[:] = 0
            row_tops[:] = 0
        first, element, count = first + length, element + length, count - length


@compiled_within
def _fold_across(side: int, width: int, row_sums: Array, row_tops: Array) -> None:
    """Fold neighbours in pairs until squares are left, at the beginning of the rows."""
    length = width
    while side > 1:
        side, length = side // 2, (length + 1) // 2
        for i in range(0, length, LANES):
            low, high = load(row_sums, 2 * i), load(row_sums, 2 * i + LANES)
            store(row_sums, i, evens(low, high) + odds(low, high))
            low, high = load(row_tops, 2 * i), load(row_tops, 2 * i + LANES)
            top = larger(pattern(evens(low, high)), pattern(odds(low, high)))
            store(row_tops, i, number(top))
        if length % LANES:
            row_sums[length : length + LANES] = 0
            row_tops[length : length + LANES] = 0


def padded(width: int) -> int:
    """Return the length of the rows that `gather` wants, for sheets of that width."""
    return width + 3 * LANES


@compiled
def pool(sheet: Array, side: int, sums: Array, tops: Array) -> None:
    """Write sum and maximum of each square of a sheet of non-negative values.

    Args:
        sheet: (rows, columns) float32, C order.
        side: Side of a square; those at the far edges may be cut off.
        sums: (rows / side, columns / side) float32, rounded up; written.
        tops: Same shape, written.
    """
    height, width = sheet.shape
    row_sums = np.zeros(width + 3 * LANES, np.float32)
    row_tops = np.zeros(width + 3 * LANES, np.float32)
    gather(
        sheet.reshape(-1), 0, height * width, 0, width, height, side, row_sums, row_tops, sums, tops
    )
