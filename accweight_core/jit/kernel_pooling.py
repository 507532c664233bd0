"""Compiled loops that pool kernels of 3 x 3, to the bits of the sheet that they would lie on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.jit.njit import compiled_within
from accweight_core.jit.order import LANES
from accweight_core.jit.pooling import Target
from accweight_core.jit.simd import lane, larger, load, number, pattern, store

Array = npt.NDArray[Any]


@compiled_within
def gather_kernels(
    path: Array,
    first: int,
    count: int,
    element: int,
    inputs: int,
    width: int,
    side: int,
    sums: Array,
    tops: Array,
    target: Target,
) -> None:
    """Pool the next kernels of 3 x 3 of whole outputs, as `gather` does on the sheet they lie on.

    They are four texels apart: the inputs of an output below each other, outputs side by side.

    Args:
        path: Non-negative values, flat.
        first: First index of the kernels in `path`.
        count: Number of their elements.
        element: Index of the first element in the sheet.
        inputs: Kernels of an output.
        width: Texels per row of the sheet, without the gap at its end.
        side: Side of a square, a multiple of 4.
        sums: (side / 4 x squares of an output,) sums of the outputs of a square so far.
        tops: Same shape, maxima.
        target: Where squares are written as they are completed.
    """
    many = side // 4
    squares, outputs = (inputs + many - 1) // many, (width + 1) // 4
    begin = element // (9 * inputs)
    for output in range(begin, begin + count // (9 * inputs)):
        own = output % many
        _pool_kernels(path, first, inputs, many, sums, tops, own * squares)
        first += 9 * inputs
        if own == many - 1 or output == outputs - 1:
            for i in range((own + 1) * squares, many * squares):
                sums[i] = tops[i] = 0
            _write_kernels(inputs, many, own + 1, sums, tops, target, output // many)


@compiled_within
def _pool_kernels(
    path: Array, first: int, inputs: int, many: int, sums: Array, tops: Array, at: int
) -> None:
    """Pool the kernels of one output, `many` at a time: down the three columns, then across.

    Sixteen weights from the first one of each row on hold its three columns, and where kernels are
    taken one by one those of the next kernel, too.
    """
    end, length = first + 9 * inputs, 9 * many
    ahead, beyond = 18 if many == 1 else length, length - 3 + LANES
    while first + ahead <= end and first + beyond <= path.size:
        total = load(path, first)
        largest = pattern(total)
        for i in range(first + 3, first + length, 3):
            values = load(path, i)
            total, largest = total + values, larger(largest, pattern(values))
        highest = number(largest)
        sums[at] = lane(total, 0) + lane(total, 1) + lane(total, 2)
        tops[at] = _largest_of(lane(highest, 0), lane(highest, 1), lane(highest, 2))
        if many == 1:
            at += 1
            sums[at] = lane(total, 9) + lane(total, 10) + lane(total, 11)
            tops[at] = _largest_of(lane(highest, 9), lane(highest, 10), lane(highest, 11))
        first, at = first + ahead, at + 1
    while first < end:
        a = b = c = top_a = top_b = top_c = np.float32(0)
        below = min(first + 9 * many, end)
        for i in range(first, below, 3):
            u, v, w = path[i], path[i + 1], path[i + 2]
            a, b, c = a + u, b + v, c + w
            top_a = u if u > top_a else top_a
            top_b = v if v > top_b else top_b
            top_c = w if w > top_c else top_c
        sums[at], tops[at] = a + b + c, _largest_of(top_a, top_b, top_c)
        first, at = below, at + 1


@compiled_within
def _largest_of(a: Any, b: Any, c: Any) -> Any:
    """Return the largest of three numbers."""
    top = a if a > b else b
    return top if top > c else c


@compiled_within
def _write_kernels(
    inputs: int, many: int, outputs: int, sums: Array, tops: Array, target: Target, column: int
) -> None:
    """Write a column of squares from the sums of the outputs side by side in them."""
    squares, across = (inputs + many - 1) // many, many
    while across > 1:
        across //= 2
        for output in range(across):
            _join(sums, tops, 2 * output * squares, squares, output * squares)
    at, top_at, line = target.mean_at + column, target.top_at + column, target.line
    means, maxima, last, count = target.means, target.tops, squares - 1, np.float32(1)
    count_last = count
    if target.is_mean:
        count = np.float32(9 * outputs * many)
        count_last = np.float32(9 * outputs * (inputs - last * many))
    for i in range(last):
        means[at + i * line] = sums[i] / count
        maxima[top_at + i * line] = tops[i]
    means[at + last * line] = sums[last] / count_last
    maxima[top_at + last * line] = tops[last]


@compiled_within
def _join(sums: Array, tops: Array, first: int, squares: int, at: int) -> None:
    """Combine the squares of two outputs, which follow each other, into those at an index."""
    whole = squares - squares % LANES
    for i in range(0, whole, LANES):
        one, other = first + i, first + squares + i
        store(sums, at + i, load(sums, one) + load(sums, other))
        top = larger(pattern(load(tops, one)), pattern(load(tops, other)))
        store(tops, at + i, number(top))
    for i in range(whole, squares):
        one, other = first + i, first + squares + i
        sums[at + i], tops[at + i] = sums[one] + sums[other], max(tops[one], tops[other])
