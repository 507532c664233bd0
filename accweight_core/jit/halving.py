"""Compiled loops that halve pictures: the next coarser level, over squares of 2x2 texels."""

from __future__ import annotations

from typing import Any

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
    wide,
)  # fmt: skip

Array = npt.NDArray[Any]


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
    rows, columns = counts.shape
    broad = halved.shape[1]
    _halve_counts(counts, halved)
    alike_rows, alike_columns = _alike(counts)
    for step in range(steps):
        for row in range(rows // 2):
            at, own = step * apart + 2 * row * columns, step * half_apart + row * broad
            below, end, half_end = at + columns, at + 2 * columns, own + broad
            done = alike_columns - alike_columns % LANES if row < alike_rows else 0
            _halve_alike(
                mean[at:below], mean[below:end], largest[at:below], largest[below:end],
                half[own:half_end], half_largest[own:half_end], done, counts[0, 0],
            )  # fmt: skip
            _halve_rows(
                mean[at:below], mean[below:end], largest[at:below], largest[below:end],
                counts[2 * row], counts[2 * row + 1], half[own:half_end],
                half_largest[own:half_end], halved[row], done,
            )  # fmt: skip
        for row in range(halved.shape[0]):
            for col in range(columns // 2 if row < rows // 2 else 0, broad):
                total, top = 0.0, np.float32(0)
                for i in range(2 * row, min(2 * row + 2, rows)):
                    for j in range(2 * col, min(2 * col + 2, columns)):
                        if counts[i, j] > 0:
                            at = step * apart + i * columns + j
                            total += np.float64(mean[at]) * counts[i, j]
                            top = max(top, largest[at])
                empty, own = halved[row, col] == 0, step * half_apart + row * broad + col
                half[own] = np.nan if empty else total / halved[row, col]
                half_largest[own] = np.nan if empty else top


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
def _halve_alike(
    mean: Array, below: Array, largest: Array, largest_below: Array, half: Array,
    half_largest: Array, done: int, count: Any,
) -> None:  # fmt: skip
    """Halve the first columns of two rows whose texels have equal counts.

    If these are 2**n, they are left out, which changes no bit.
    """
    scaled, quarter = _is_power(count), spread(0.25)
    many, all_of_them = spread(np.float64(count)), spread(4 * np.float64(count))
    for col in range(0, done, LANES):
        i, j = 2 * col, 2 * col + LANES
        low, high, others, more = load(mean, i), load(mean, j), load(below, i), load(below, j)
        a, b = wide(evens(low, high)), wide(odds(low, high))
        c, d = wide(evens(others, more)), wide(odds(others, more))
        if scaled:
            store(half, col, narrow((a + b + c + d) * quarter))
        else:
            total = a * many + b * many + c * many + d * many
            store(half, col, narrow(total / all_of_them))
        top = larger(pattern(load(largest, i)), pattern(load(largest_below, i)))
        other = larger(pattern(load(largest, j)), pattern(load(largest_below, j)))
        low, high = number(top), number(other)
        top = larger(pattern(evens(low, high)), pattern(odds(low, high)))
        store(half_largest, col, number(top))


@compiled_within
def _halve_rows(
    mean: Array, below: Array, largest: Array, largest_below: Array, counts: Array,
    counts_below: Array, half: Array, half_largest: Array, halved: Array, first: int,
) -> None:  # fmt: skip
    """Halve two rows, but for an odd last column; without branches, so that LLVM vectorises it."""
    for col in range(first, len(mean) // 2):
        i, j = 2 * col, 2 * col + 1
        total = np.float64(mean[i]) * counts[i] if counts[i] > 0 else 0.0
        total += np.float64(mean[j]) * counts[j] if counts[j] > 0 else 0.0
        total += np.float64(below[i]) * counts_below[i] if counts_below[i] > 0 else 0.0
        total += np.float64(below[j]) * counts_below[j] if counts_below[j] > 0 else 0.0
        half[col] = total / halved[col]  # 0 / 0 is NaN
    for col in range(first, len(mean) // 2):
        i, j = 2 * col, 2 * col + 1
        top = largest[i] if counts[i] > 0 else np.float32(0)
        other = largest[j] if counts[j] > 0 else np.float32(0)
        top = other if other > top else top
        other = largest_below[i] if counts_below[i] > 0 else np.float32(0)
        top = other if other > top else top
        other = largest_below[j] if counts_below[j] > 0 else np.float32(0)
        top = other if other > top else top
        half_largest[col] = top if halved[col] > 0 else np.float32(np.nan)
