"""Pooling of pictures in NumPy, with the bits of the compiled loops (`pooling`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def pool(sheet: Array, side: int, sums: Array, tops: Array) -> None:
    """Do the same as `pooling.pool`: add down the columns of each square, then in pairs across.

    Args:
        sheet: (rows, columns) float32, not negative.
        side: Side of a square, a power of two; squares at the far edges may be incomplete.
        sums: (rows / side, columns / side) float32, rounded up; output.
        tops: Same shape, maxima; output.
    """
    height, width = sheet.shape
    lines = np.zeros((2, sums.shape[0], sums.shape[1] * side), np.float32)
    for row in range(min(side, height)):
        part = sheet[row::side]
        lines[0, : len(part), :width] += part
        np.maximum(lines[1, : len(part), :width], part, out=lines[1, : len(part), :width])
    while lines.shape[2] > sums.shape[1]:
        lines = np.stack(
            [lines[0, :, ::2] + lines[0, :, 1::2], np.maximum(lines[1, :, ::2], lines[1, :, 1::2])]
        )
    sums[...], tops[...] = lines


def halve(
    mean: Array, largest: Array, counts: Array, half: Array, half_largest: Array, halved: Array
) -> None:
    """Do the same as `pooling.halve`."""
    total = np.zeros(half.shape)
    half_largest[...] = 0
    for down in range(2):
        for across in range(2):
            count = counts[down::2, across::2].astype(np.float64)
            there = count > 0
            inside = np.s_[:, : count.shape[0], : count.shape[1]]
            values = mean[:, down::2, across::2] * count
            np.add(total[inside], values, out=total[inside], where=there)
            values = largest[:, down::2, across::2]
            np.maximum(half_largest[inside], values, out=half_largest[inside], where=there)
    with np.errstate(all="ignore"):
        half[...] = total / halved
    half[:, halved == 0] = half_largest[:, halved == 0] = np.nan
