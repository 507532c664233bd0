"""Pooling of pictures in NumPy, with the bits of the compiled loops (`pooling`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TEXELS_AT_ONCE = 1 << 16
"""Texels that are halved at once: their sums in float64 fit the cache."""


def pool(sheet: Array, side: int, sums: Array, tops: Array) -> None:
    """Do the same as `pooling.pool`: add down the columns of each square, then in pairs across.

    Args:
        sheet: (rows, columns) float32, not negative.
        side: Side of a square, a power of two; squares at the far edges may be incomplete.
        sums: (rows / side, columns / side) float32, rounded up; output.
        tops: Same shape, maxima; output.
    """
    height, width = sheet.shape
    for join, squares in ((np.add, sums), (np.maximum, tops)):
        lines = np.zeros((len(squares), squares.shape[1] * side), np.float32)
        lines[:, :width] = sheet[::side]
        for row in range(1, min(side, height)):
            part = sheet[row::side]
            join(lines[: len(part), :width], part, out=lines[: len(part), :width])
        while lines.shape[1] > squares.shape[1]:
            lines = join(lines[:, ::2], lines[:, 1::2])
        squares[...] = lines


def halve(
    mean: Array, largest: Array, counts: Array, half: Array, half_largest: Array, halved: Array
) -> None:
    """Do the same as `halving.halve` at several steps: arrays of (steps, rows, columns).

    Some steps are halved at a time, so that temporary arrays are small. Where all texels have
    equally many elements, a power of two, their mean needs no weights.
    """
    many = max(1, TEXELS_AT_ONCE // max(1, counts.size))
    rows, cols = alike(counts)
    rest = [
        (slice(0, len(halved)), slice(cols, halved.shape[1])),
        (slice(rows, len(halved)), slice(0, cols)),
    ]
    for first in range(0, len(half), many):
        steps = slice(first, first + many)
        if rows and cols:
            inside = steps, slice(0, 2 * rows), slice(0, 2 * cols)
            within = steps, slice(0, rows), slice(0, cols)
            _halve_alike(mean[inside], largest[inside], half[within], half_largest[within])
        for down, across in rest:
            there = slice(2 * down.start, 2 * down.stop), slice(2 * across.start, 2 * across.stop)
            if halved[down, across].size:
                _halve_any(
                    mean[steps, *there], largest[steps, *there], counts[there],
                    half[steps, down, across], half_largest[steps, down, across],
                    halved[down, across],
                )  # fmt: skip


def halved_counts(counts: Array) -> Array:
    """Return the number of elements per square of 2x2 texels."""
    rows, cols = counts.shape
    even = np.zeros((rows + rows % 2, cols + cols % 2), np.float32)
    even[:rows, :cols] = counts
    number: Array = even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]
    return number


def alike(counts: Array) -> tuple[int, int]:
    """Return how many rows and columns of squares, from the first one, have equal counts 2**n."""
    if not counts.size or counts[0, 0] == 0 or np.frexp(counts[0, 0])[0] != 0.5:
        return 0, 0
    same = counts == counts[0, 0]
    cols = _leading(same[0])
    rows = _leading(same[:, :cols].all(axis=1))
    return rows // 2, cols // 2


def _leading(truths: Array) -> int:
    """Return how many of the first values are true."""
    return len(truths) if truths.all() else int(np.argmin(truths))


def _halve_alike(mean: Array, largest: Array, half: Array, half_largest: Array) -> None:
    """Halve squares of texels with equal counts 2**n: scaling by these changes no bit."""
    total = np.add(mean[:, ::2, ::2], mean[:, ::2, 1::2], dtype=np.float64)
    total += mean[:, 1::2, ::2]
    total += mean[:, 1::2, 1::2]
    np.multiply(total, 0.25, out=half, casting="same_kind")
    top = np.maximum(largest[:, ::2], largest[:, 1::2])
    np.maximum(top[:, :, ::2], top[:, :, 1::2], out=half_largest)


def _halve_any(
    mean: Array, largest: Array, counts: Array, half: Array, half_largest: Array, halved: Array
) -> None:
    """Halve squares with any counts."""
    gaps, empty = counts == 0, halved == 0
    values = mean * counts.astype(np.float64)
    if gaps.any():  # NaN there
        np.copyto(values, 0, where=gaps)
        largest = np.where(gaps, np.float32(0), largest)
    with np.errstate(all="ignore"):
        half[...] = _joined(values, np.add) / halved
    half_largest[...] = np.where(empty, np.float32(np.nan), _joined(largest, np.maximum))
    np.copyto(half, np.nan, where=empty)


def _joined(planes: Array, join: np.ufunc) -> Array:
    """Join the texels of every square of 2x2 of (steps, rows, columns), in row-major order."""
    rows, cols = planes.shape[1] // 2, planes.shape[2] // 2
    joined = planes[:, ::2, ::2].copy()
    for inside, quarter in (
        (joined[:, :, :cols], planes[:, ::2, 1::2]),
        (joined[:, :rows], planes[:, 1::2, ::2]),
        (joined[:, :rows, :cols], planes[:, 1::2, 1::2]),
    ):
        join(inside, quarter, out=inside)
    return joined
