"""Compiled loops over pictures, and over codes of one byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.compiled import compiled_in_any_order

Array = npt.NDArray[Any]


@compiled_in_any_order
def look_up(codes: Array, table: Array, out: Array) -> None:
    """Write ``table[codes]`` for codes of one byte."""
    for i in range(codes.size):
        out[i] = table[codes[i]]


@compiled_in_any_order
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


@compiled_in_any_order
def pool(sheet: Array, side: int, sums: Array, largest: Array) -> None:
    """Write sum and maximum of each square of a sheet of non-negative values.

    Args:
        sheet: (rows, columns) float32, both multiples of `side`.
        side: Side of a square.
        sums: (rows / side, columns / side) float32, written.
        largest: Same shape, written.
    """
    columns = sheet.shape[1]
    row_sum, row_top = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for row in range(sums.shape[0]):
        first = sheet[row * side]
        for col in range(columns):
            row_sum[col] = first[col]
            row_top[col] = first[col]
        for below in range(1, side):
            line = sheet[row * side + below]
            for col in range(columns):
                row_sum[col] += line[col]
                row_top[col] = line[col] if line[col] > row_top[col] else row_top[col]
        for col in range(sums.shape[1]):
            total, top = np.float32(0), np.float32(0)
            for beside in range(side):
                total += row_sum[col * side + beside]
                top = max(top, row_top[col * side + beside])
            sums[row, col] = total
            largest[row, col] = top
