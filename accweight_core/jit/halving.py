"""Compiled loops that halve pictures: the next coarser level, over squares of 2x2 texels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accweight_core.jit.njit import compiled, compiled_within
from accweight_core.jit.order import LANES
from accweight_core.jit.simd import (
    evens,
    larger,
    load,
    narrow,
    number,
    odds,
    pattern,
    spread,
    store,
    where_positive,
    wide,
)  # fmt: skip

Array = npt.NDArray[Any]


class _Texels(NamedTuple):
    """A level of a picture, flat.

    Attributes:
        mean: Mean per texel at all steps.
        largest: Maximum per texel.
        counts: Elements per texel.
        columns: Texels per row.
    """

    mean: Array
    largest: Array
    counts: Array
    columns: int


@compiled
def halve_levels(
    sheet: Array, apart: int, steps: int, firsts: Array, sizes: Array, counts: Array
) -> None:
    """Compute all coarser levels of pictures whose levels lie in one sheet.

    Args:
        sheet: float32, flat: all levels at every step; output, but for the finest one.
        apart: Elements from step to step.
        steps: Number of steps.
        firsts: (levels, 2), first elements of the means and the maxima of every level, at step 0.
        sizes: (levels, 2), rows and columns of every level.
        counts: (rows, columns) float32, number of elements per texel of the finest level.
    """
    for level in range(1, len(firsts)):
        halved = np.empty((sizes[level, 0], sizes[level, 1]), np.float32)
        finer, coarser = firsts[level - 1], firsts[level]
        _halve(
            sheet[finer[0] :], sheet[finer[1] :], apart, counts, sheet[coarser[0] :],
            sheet[coarser[1] :], apart, halved, steps,
        )  # fmt: skip
        counts = halved


@compiled
def halve(
    mean: Array,
    largest: Array,
    apart: int,
    counts: Array,
    half: Array,
    half_largest: Array,
    half_apart: int,
    halved: Array,
    steps: int,
) -> None:
    """Compute the next coarser level of a picture at several steps, over squares of 2x2 texels.

    Args:
        mean: float32, flat, from the first texel of the first step on, rows after each other; NaN
            where there is no element.
        largest: Likewise.
        apart: Elements from step to step in both.
        counts: (rows, columns) float32, number of elements per texel.
        half: Like `mean`, (rows / 2, columns / 2), sizes rounded up; output.
        half_largest: Likewise; output.
        half_apart: Elements from step to step in both.
        halved: (rows / 2, columns / 2), number of elements per texel of `half`; output.
        steps: Number of steps.
    """
    _halve(mean, largest, apart, counts, half, half_largest, half_apart, halved, steps)


@compiled_within
def _halve(
    mean: Array, largest: Array, apart: int, counts: Array, half: Array, half_largest: Array,
    half_apart: int, halved: Array, steps: int,
) -> None:  # fmt: skip
    """Do the same as `halve`, within other loops."""
    rows, columns = counts.shape
    broad, pairs = halved.shape[1], columns // 2 if columns >= 2 * LANES else 0
    _halve_counts(counts, halved)
    alike_rows, alike_columns = _alike(counts)
    fine = _Texels(mean, largest, counts.reshape(-1), columns)
    coarse = _Texels(half, half_largest, halved.reshape(-1), broad)
    for step in range(steps):
        for row in range(halved.shape[0]):
            at, own = step * apart + 2 * row * columns, step * half_apart + row * broad
            has_two, begin = 2 * row + 1 < rows, 0
            if has_two and pairs:
                begin = pairs
                done = alike_columns if row < alike_rows and alike_columns >= LANES else 0
                _halve_alike(fine, at, coarse, own, done, counts[0, 0])
                _halve_unlike(fine, at, 2 * row, coarse, own, row, done, pairs)
            _halve_few(fine, at, 2 * row, coarse, own, row, begin, 1 + has_two)


@compiled_within
def _halve_counts(counts: Array, halved: Array) -> None:
    """Add the counts of squares of 2x2 texels."""
    rows, columns = counts.shape
    for row in range(halved.shape[0]):
        above, below = counts[2 * row], counts[min(2 * row + 1, rows - 1)]
        is_pair = np.float32(2 * row + 1 < rows)
        for col in range(columns // 2):
            i, j = 2 * col, 2 * col + 1
            halved[row, col] = above[i] + above[j] + is_pair * (below[i] + below[j])
        if columns % 2:
            halved[row, columns // 2] = above[columns - 1] + is_pair * below[columns - 1]


@compiled_within
def _alike(counts: Array) -> tuple[int, int]:
    """Return how many rows and columns of squares, from the first one, have equal counts."""
    rows, columns = counts.shape
    if counts.size == 0 or counts[0, 0] == 0:
        return 0, 0
    first, high, broad = counts[0, 0], 0, 1
    while broad < columns and counts[0, broad] == first:
        broad += 1
    is_equal = True
    while high < rows and is_equal:
        differ = 0
        for col in range(broad):
            differ += counts[high, col] != first
        is_equal = differ == 0
        high += is_equal
    return high // 2, broad // 2


@compiled_within
def _is_power(count: Any) -> bool:
    """Tell whether a whole number is a power of two, by which numbers are scaled exactly."""
    whole = np.int64(count)
    return bool(whole & (whole - 1) == 0)


@compiled_within
def _halve_alike(fine: _Texels, at: int, coarse: _Texels, own: int, done: int, count: Any) -> None:
    """Halve the first columns of two rows whose texels have equal counts.

    If counts are 2**n, they are left out, which changes no bit. The last sixteen columns are taken
    at once, whichever of them were taken before.

    Args:
        fine: The finer level.
        at: First texel of the rows.
        coarse: The coarser level.
        own: First texel of their squares.
        done: Number of squares: 0, or at least sixteen.
        count: Elements per texel.
    """
    mean, largest, columns = fine.mean, fine.largest, fine.columns
    scaled, quarter = _is_power(count), spread(0.25)
    many, all_of_them = spread(np.float64(count)), spread(4 * np.float64(count))
    for start in range(0, done, LANES):
        col = min(start, done - LANES)
        i, j = at + 2 * col, at + 2 * col + LANES
        low, high = load(mean, i), load(mean, j)
        others, more = load(mean, i + columns), load(mean, j + columns)
        a, b = wide(evens(low, high)), wide(odds(low, high))
        c, d = wide(evens(others, more)), wide(odds(others, more))
        if scaled:
            store(coarse.mean, own + col, narrow((a + b + c + d) * quarter))
        else:
            total = a * many + b * many + c * many + d * many
            store(coarse.mean, own + col, narrow(total / all_of_them))
        top = larger(pattern(load(largest, i)), pattern(load(largest, i + columns)))
        other = larger(pattern(load(largest, j)), pattern(load(largest, j + columns)))
        low, high = number(top), number(other)
        top = larger(pattern(evens(low, high)), pattern(odds(low, high)))
        store(coarse.largest, own + col, number(top))


@compiled_within
def _halve_unlike(
    fine: _Texels, at: int, row: int, coarse: _Texels, own: int, half_row: int, first: int, end: int
) -> None:
    """Halve some columns of two rows, sixteen at a time as above.

    Args:
        fine: The finer level.
        at: First texel of the rows.
        row: The first of them.
        coarse: The coarser level.
        own: First texel of their squares.
        half_row: Their row.
        first: First square.
        end: The one after the last square.
    """
    mean, largest, counts, columns = fine
    none, nothing = spread(np.float32(0)), spread(np.float32(np.nan))
    for start in range(first, end, LANES):
        col = min(start, end - LANES)
        i, j = row * columns + 2 * col, row * columns + 2 * col + LANES
        low, high = load(counts, i), load(counts, j)
        n_a, n_b = evens(low, high), odds(low, high)
        low, high = load(counts, i + columns), load(counts, j + columns)
        n_c, n_d = evens(low, high), odds(low, high)
        i, j = at + 2 * col, at + 2 * col + LANES
        low, high = load(mean, i), load(mean, j)
        a = where_positive(n_a, evens(low, high), none)
        b = where_positive(n_b, odds(low, high), none)
        low, high = load(mean, i + columns), load(mean, j + columns)
        c = where_positive(n_c, evens(low, high), none)
        d = where_positive(n_d, odds(low, high), none)
        total = wide(a) * wide(n_a) + wide(b) * wide(n_b)
        total = total + wide(c) * wide(n_c) + wide(d) * wide(n_d)
        many = load(coarse.counts, half_row * coarse.columns + col)
        store(coarse.mean, own + col, narrow(total / wide(many)))  # 0 / 0 is NaN
        low, high = load(largest, i), load(largest, j)
        a = where_positive(n_a, evens(low, high), none)
        b = where_positive(n_b, odds(low, high), none)
        low, high = load(largest, i + columns), load(largest, j + columns)
        c = where_positive(n_c, evens(low, high), none)
        d = where_positive(n_d, odds(low, high), none)
        top = larger(larger(pattern(a), pattern(b)), larger(pattern(c), pattern(d)))
        store(coarse.largest, own + col, where_positive(many, number(top), nothing))


@compiled_within
def _halve_few(
    fine: _Texels, at: int, row: int, coarse: _Texels, own: int, half_row: int, first: int,
    rows: int,
) -> None:  # fmt: skip
    """Halve the last columns of two rows, or of one; arguments as above."""
    mean, largest, counts, columns = fine
    for col in range(first, coarse.columns):
        total, top = 0.0, np.float32(0)
        for i in range(rows):
            for j in range(2 * col, min(2 * col + 2, columns)):
                count, texel = counts[(row + i) * columns + j], at + i * columns + j
                if count > 0:
                    total += np.float64(mean[texel]) * count
                    top = max(top, largest[texel])
        many = coarse.counts[half_row * coarse.columns + col]
        coarse.mean[own + col] = np.nan if many == 0 else total / many
        coarse.largest[own + col] = np.nan if many == 0 else top
