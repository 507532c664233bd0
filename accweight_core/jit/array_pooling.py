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
    """Do the same as `pooling.halve`, some steps at a time, so that temporary arrays are small."""
    gaps, empty = counts == 0, halved == 0
    has_gaps, many = gaps.any(), max(1, TEXELS_AT_ONCE // max(1, counts.size))
    for first in range(0, len(half), many):
        steps = slice(first, first + many)
        values, tops = mean[steps] * counts.astype(np.float64), largest[steps]
        if has_gaps:  # NaN there
            np.copyto(values, 0, where=gaps)
            tops = np.where(gaps, np.float32(0), tops)
        with np.errstate(all="ignore"):
            half[steps] = _joined(values, np.add) / halved
        half_largest[steps] = _joined(tops, np.maximum)
        if has_gaps:
            np.copyto(half[steps], np.nan, where=empty)
            np.copyto(half_largest[steps], np.nan, where=empty)


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
