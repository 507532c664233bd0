"""Compiled loops that pool pictures, and that widen float16 and one-byte codes.

Squares are added down their columns first, then across, so that a sheet pooled as a whole and one
pooled while its weights stream past have the same bits; so have kernels that lie on no sheet
(`kernel_pooling`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
    spread,
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


class Target(NamedTuple):
    """Where to write what is found of the squares of a sheet.

    Attributes:
        means: float32, flat; output.
        tops: Likewise, of maxima; may be the same array.
        mean_at: Index of the first square in `means`.
        top_at: Index of the first square in `tops`.
        line: Elements from one row of squares to the next in both.
        is_mean: Whether sums are divided by the number of texels.
    """

    means: Array
    tops: Array
    mean_at: int
    top_at: int
    line: int
    is_mean: bool


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
    target: Target,
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
        row_sums: (`padded(width)`,) sums down the squares so far.
        row_tops: Same shape, maxima.
        target: Where squares are written as they are completed.
    """
    while count > 0:
        row, col = element // width, element % width
        inside, bands, taken = row % side, count // (side * width), min(count, width - col)
        bands = min(bands, height // side - row // side)
        if col == 0 and inside == 0 and bands and side > 1:
            taken = bands * side * width
            _pool_bands(path, first, bands, width, side, row_sums, row_tops, target, row // side)
        else:
            rows = min(side - inside, height - row, count // width) if taken == width else 1
            _add_rows(path, first, rows, width, taken, col, inside == 0, row_sums, row_tops)
            end = row + rows
            if col + taken == width and (end % side == 0 or end == height):
                row_sums[width], row_tops[width] = 0, 0
                _fold_across(side, width, row_sums, row_tops)
                _write_squares(width, inside + rows, side, row_sums, row_tops, target, row // side)
            taken *= rows
        first, element, count = first + taken, element + taken, count - taken


@compiled_within
def _add_rows(
    path: Array, first: int, rows: int, width: int, length: int, col: int, begins: bool,
    row_sums: Array, row_tops: Array,
) -> None:  # fmt: skip
    """Add rows, or a part of one, to what was found down their columns, or begin with them.

    At the end of a row, sixteen columns may be taken although there are fewer: what is found beyond
    `width` is never looked at.
    """
    whole = length - length % LANES
    if col + length == width and first + (rows - 1) * width + whole + LANES <= path.size:
        whole = length
    for i in range(0, whole, LANES):
        at, place = first + i, col + i
        total = load(path, at)
        top = pattern(total)
        if not begins:
            total = load(row_sums, place) + total
            top = larger(pattern(load(row_tops, place)), top)
        for row in range(1, rows):
            values = load(path, at + row * width)
            total, top = total + values, larger(top, pattern(values))
        store(row_sums, place, total)
        store(row_tops, place, number(top))
    for i in range(whole, length):
        total_, largest = np.float32(0), np.float32(0)
        if not begins:
            total_, largest = row_sums[col + i], row_tops[col + i]
        for row in range(rows):
            value = path[first + i + row * width]
            total_, largest = total_ + value, max(largest, value)
        row_sums[col + i], row_tops[col + i] = total_, largest


@compiled_within
def _pool_bands(
    path: Array, first: int, bands: int, width: int, side: int, row_sums: Array, row_tops: Array,
    target: Target, row: int,
) -> None:  # fmt: skip
    """Pool whole rows of squares."""
    half, quarter = (width + 1) // 2, (width + 3) // 4
    scale = np.float32(0.25) if target.is_mean and side == 2 else np.float32(1)
    for band in range(row, row + bands):
        if side == 2:
            at, top_at = target.mean_at + band * target.line, target.top_at + band * target.line
            _pair_rows(path, first, width, side, scale, target.means, at, target.tops, top_at)
        elif width >= 4 * LANES:
            _fold_rows(path, first, width, side, row_sums, row_tops)
            row_sums[quarter], row_tops[quarter] = 0, 0
            if side > 4:
                _fold_across(side // 4, quarter, row_sums, row_tops)
            _write_squares(width, side, side, row_sums, row_tops, target, band)
        else:
            _pair_rows(path, first, width, side, scale, row_sums, 0, row_tops, 0)
            row_sums[half], row_tops[half] = 0, 0
            _fold_across(side // 2, half, row_sums, row_tops)
            _write_squares(width, side, side, row_sums, row_tops, target, band)
        first += side * width


@compiled_within
def _pair_rows(
    path: Array, first: int, width: int, side: int, scale: Any, sums: Array, at: int,
    tops: Array, top_at: int,
) -> None:  # fmt: skip
    """Combine rows down their columns, and each column with its neighbour.

    Nothing that lies in between is stored: half of the time was spent on that. The last thirty-two
    columns are taken at once, whichever of them were taken before.

    Args:
        path: Values, flat.
        first: Index of the first one.
        width: Texels per row.
        side: Rows.
        scale: Factor of the sums, a power of two; sums of the last column, if alone, have twice it
            unless it is 1.
        sums: Output, half as many as columns.
        at: Index of the first sum.
        tops: Output, maxima.
        top_at: Index of the first one.
    """
    even, factor = width - width % 2, spread(scale)
    done = 0
    while done < even and even >= 2 * LANES:
        done = min(done, even - 2 * LANES)
        i = first + done
        low, high = load(path, i), load(path, i + LANES)
        low_top, high_top = pattern(low), pattern(high)
        for row in range(1, side):
            values, others = load(path, i + row * width), load(path, i + row * width + LANES)
            low, high = low + values, high + others
            low_top, high_top = larger(low_top, pattern(values)), larger(high_top, pattern(others))
        place, pair = done // 2, (number(low_top), number(high_top))
        store(sums, at + place, (evens(low, high) + odds(low, high)) * factor)
        top = larger(pattern(evens(*pair)), pattern(odds(*pair)))
        store(tops, top_at + place, number(top))
        done += 2 * LANES
    for col in range(done, width, 2):
        total, largest, cols = np.float32(0), np.float32(0), min(2, width - col)
        for i in range(first + col, first + col + cols):
            sum_ = path[i]
            largest = max(largest, sum_)
            for row in range(1, side):
                value = path[i + row * width]
                sum_ += value
                largest = max(largest, value)
            total += sum_
        own = scale if cols == 2 or scale == 1 else 2 * scale
        sums[at + col // 2], tops[top_at + col // 2] = total * own, largest


@compiled_within
def _fold_rows(path: Array, first: int, width: int, side: int, sums: Array, tops: Array) -> None:
    """Combine rows down their columns, and four neighbours each, sixty-four columns at a time."""
    even, done = width - width % 4, 0
    while done < even:
        done = min(done, even - 4 * LANES)
        i = first + done
        a, b = load(path, i), load(path, i + LANES)
        c, d = load(path, i + 2 * LANES), load(path, i + 3 * LANES)
        top_a, top_b, top_c, top_d = pattern(a), pattern(b), pattern(c), pattern(d)
        for row in range(1, side):
            j = i + row * width
            u, v = load(path, j), load(path, j + LANES)
            w, x = load(path, j + 2 * LANES), load(path, j + 3 * LANES)
            a, b, c, d = a + u, b + v, c + w, d + x
            top_a, top_b = larger(top_a, pattern(u)), larger(top_b, pattern(v))
            top_c, top_d = larger(top_c, pattern(w)), larger(top_d, pattern(x))
        low, high = evens(a, b) + odds(a, b), evens(c, d) + odds(c, d)
        store(sums, done // 4, evens(low, high) + odds(low, high))
        a, b, c, d = number(top_a), number(top_b), number(top_c), number(top_d)
        low = number(larger(pattern(evens(a, b)), pattern(odds(a, b))))
        high = number(larger(pattern(evens(c, d)), pattern(odds(c, d))))
        top = larger(pattern(evens(low, high)), pattern(odds(low, high)))
        store(tops, done // 4, number(top))
        done += 4 * LANES
    total = largest = np.float32(0)
    for col in range(done, width, 2):
        pair = np.float32(0)
        for i in range(first + col, first + min(col + 2, width)):
            sum_ = path[i]
            largest = max(largest, sum_)
            for row in range(1, side):
                value = path[i + row * width]
                sum_ += value
                largest = max(largest, value)
            pair += sum_
        total += pair
    if done < width:
        sums[done // 4], tops[done // 4] = total, largest


@compiled_within
def _write_squares(
    width: int, high: int, side: int, row_sums: Array, row_tops: Array, target: Target, row: int
) -> None:
    """Write a row of squares that are `high` texels high."""
    means, tops = target.means, target.tops
    squares, own = -(-width // side), row * target.line
    at, top_at = target.mean_at + own, target.top_at + own
    count = np.float32(side * high) if target.is_mean else np.float32(1)
    whole = squares - squares % LANES
    for i in range(0, whole, LANES):
        store(means, at + i, load(row_sums, i) / spread(count))
        store(tops, top_at + i, load(row_tops, i))
    for i in range(whole, squares):
        means[at + i] = row_sums[i] / count
        tops[top_at + i] = row_tops[i]
    if target.is_mean and width % side:
        means[at + squares - 1] = row_sums[squares - 1] / np.float32(width % side * high)


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
    target = Target(sums.reshape(-1), tops.reshape(-1), 0, 0, sums.shape[1], False)
    gather(sheet.reshape(-1), 0, height * width, 0, width, height, side, row_sums, row_tops, target)
