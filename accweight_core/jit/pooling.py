"""Compiled loops that pool pictures, and that widen float16 and one-byte codes.

Squares are added down their columns first, then across, so that a sheet pooled as a whole and one
pooled while its weights stream past have the same bits.
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
    """Convert float16 to float32.

    The exponent is shifted to its new place and increased by 112 by a multiplication, which is
    exact for subnormal numbers too. Infinity and NaN keep the largest exponent.

    Args:
        halves: Bit patterns, flat.
        out: float32, flat; output, from `at` on.
        at: First index in `out`.
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
    """Compute the next coarser level of a picture, over squares of 2x2 texels.

    Args:
        mean: (rows, columns) float32, NaN where there is no element.
        largest: Same shape.
        counts: Same shape, number of elements per texel.
        half: (rows / 2, columns / 2) float32, sizes rounded up; output.
        half_largest: Same shape; output.
        halved: Same shape, number of elements per texel of `half`.
    """
    rows, columns = counts.shape
    for row in range(rows // 2):
        _halve_rows(
            mean[2 * row], mean[2 * row + 1], largest[2 * row], largest[2 * row + 1],
            counts[2 * row], counts[2 * row + 1], half[row], half_largest[row], halved[row],
        )  # fmt: skip
    for row in range(half.shape[0]):
        for col in range(columns // 2 if row < rows // 2 else 0, half.shape[1]):
            total, top = 0.0, np.float32(0)
            for i in range(2 * row, min(2 * row + 2, rows)):
                for j in range(2 * col, min(2 * col + 2, columns)):
                    if counts[i, j] > 0:
                        total += np.float64(mean[i, j]) * counts[i, j]
                        top = max(top, largest[i, j])
            empty = halved[row, col] == 0
            half[row, col] = np.nan if empty else total / halved[row, col]
            half_largest[row, col] = np.nan if empty else top


@compiled_within
def _halve_rows(
    mean: Array, below: Array, largest: Array, largest_below: Array, counts: Array,
    counts_below: Array, half: Array, half_largest: Array, halved: Array,
) -> None:  # fmt: skip
    """Halve two rows, but for an odd last column; without branches, so that LLVM vectorises it."""
    for col in range(len(mean) // 2):
        i, j = 2 * col, 2 * col + 1
        total = np.float64(mean[i]) * counts[i] if counts[i] > 0 else 0.0
        total += np.float64(mean[j]) * counts[j] if counts[j] > 0 else 0.0
        total += np.float64(below[i]) * counts_below[i] if counts_below[i] > 0 else 0.0
        total += np.float64(below[j]) * counts_below[j] if counts_below[j] > 0 else 0.0
        half[col] = total / halved[col]  # 0 / 0 is NaN
    for col in range(len(mean) // 2):
        i, j = 2 * col, 2 * col + 1
        top = largest[i] if counts[i] > 0 else np.float32(0)
        other = largest[j] if counts[j] > 0 else np.float32(0)
        top = other if other > top else top
        other = largest_below[i] if counts_below[i] > 0 else np.float32(0)
        top = other if other > top else top
        other = largest_below[j] if counts_below[j] > 0 else np.float32(0)
        top = other if other > top else top
        half_largest[col] = top if halved[col] > 0 else np.float32(np.nan)


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
    """Pool the next range of a sheet whose texels arrive in row-major order.

    Args:
        path: Non-negative values, flat.
        first: First index of the range in `path`.
        count: Number of texels in the range.
        element: Index of the first texel in the sheet.
        width: Texels per row.
        height: Rows.
        side: Side of a square.
        row_sums: (`padded(width)`,) sums down the squares so far; zeros at first.
        row_tops: Same shape, maxima.
        sums: (height / side, width / side), rounded up; written as squares are completed.
        tops: Same shape, maxima.
    """
    while count > 0:
        row, col = element // width, element % width
        if col == 0 and row % side == 0 and count >= side * width and row + side <= height:
            _add_band(path, first, width, side, row_sums, row_tops)
            _write_squares(side, width, row_sums, row_tops, sums[row // side], tops[row // side])
            length = side * width
            first, element, count = first + length, element + length, count - length
            continue
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
            _write_squares(side, width, row_sums, row_tops, sums[row // side], tops[row // side])
        first, element, count = first + length, element + length, count - length


@compiled_within
def _add_band(
    path: Array, first: int, width: int, side: int, row_sums: Array, row_tops: Array
) -> None:
    """Combine whole rows of squares down their columns, without keeping what lies in between."""
    whole = width - width % LANES
    for i in range(first, first + whole, LANES):
        total = load(path, i)
        top = pattern(total)
        for row in range(1, side):
            values = load(path, i + row * width)
            total = total + values
            top = larger(top, pattern(values))
        store(row_sums, i - first, total)
        store(row_tops, i - first, number(top))
    for i in range(first + whole, first + width):
        sum_, largest = path[i], path[i]
        for row in range(1, side):
            value = path[i + row * width]
            sum_ += value
            largest = value if value > largest else largest
        row_sums[i - first], row_tops[i - first] = sum_, largest


@compiled_within
def _write_squares(
    side: int, width: int, row_sums: Array, row_tops: Array, sums: Array, tops: Array
) -> None:
    """Write a row of squares, and begin the next one."""
    _fold_across(side, width, row_sums, row_tops)
    for square in range(len(sums)):
        sums[square], tops[square] = row_sums[square], row_tops[square]
    row_sums[:] = 0
    row_tops[:] = 0


@compiled_within
def _fold_across(side: int, width: int, row_sums: Array, row_tops: Array) -> None:
    """Combine neighbours in pairs until one value per square is left, at the start of the rows."""
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


@compiled
def place(path: Array, targets: Array, step: int, sheet: Array) -> None:
    """Write values to their texels.

    Args:
        path: Values, in equally many for every place of the slowest digit, flat.
        targets: (values per place,) int32, their texels for the first place.
        step: Texels from one place to the next.
        sheet: Flat; output.
    """
    count = len(targets)
    for slow in range(len(path) // count):
        for i in range(count):
            sheet[targets[i] + slow * step] = path[slow * count + i]


def padded(width: int) -> int:
    """Return the row length that `gather` needs for sheets of that width."""
    return width + 3 * LANES


@compiled
def pool(sheet: Array, side: int, sums: Array, tops: Array) -> None:
    """Compute sum and maximum of each square of a sheet of non-negative values.

    Args:
        sheet: (rows, columns) float32, C order.
        side: Side of a square; squares at the far edges may be incomplete.
        sums: (rows / side, columns / side) float32, rounded up; output.
        tops: Same shape; output.
    """
    height, width = sheet.shape
    row_sums = np.zeros(width + 3 * LANES, np.float32)
    row_tops = np.zeros(width + 3 * LANES, np.float32)
    gather(
        sheet.reshape(-1), 0, height * width, 0, width, height, side, row_sums, row_tops, sums, tops
    )
