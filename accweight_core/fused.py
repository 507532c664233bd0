"""The fused step: all of `kernels.measure_step` in one pass over a block, for processors.

Fifteen separate operations on a block cost fifteen trips through the cache; one compiled loop
costs one. Loops are written for the vectoriser: sums of float64 in plain loops, maxima as
integers, because non-negative floats order like their bit patterns and integer maxima
vectorise where floating ones do not (measured: below 0.1 against 0.6 ns per weight).

Same results as the plain formulas but for the order in which a row is summed. Everything here
is compiled once per machine and kept in a cache on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from numba.core.registry import cpu_target
from torch import Tensor

from accweight_core import kernels
from accweight_core.kernels import SUMS, BlockState, Scratch

CHUNK = 1024
"""Elements between one loop and the next: what the first level of cache holds."""

LARGEST_SQUARE = 1e75
"""Sum of squares of a row above which two of its float32 may differ by more than a float32."""

PATH_SUM, PATH_M2, PATH_MAX, PATH_ARGMAX, STEP_SUM, STEP_SQUARE, STEP_MAX = range(7)
NET_SUM, NET_SQUARE, SQUARE, REFERENCE_SQUARE, FLIPS, NONFINITE = range(7, len(SUMS))

Array = npt.NDArray[Any]


# Numba fills the tables that it types code by at the first call, which takes longer than many a
# small run; done here it is part of the import, and no block waits for it.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop; sums may be reordered, once, by the width of the machine's vectors."""
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},  # but NaN and infinity are kept
        "error_model": "numpy",
    }
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep the cache
        compiled = numba.njit(**options)(function)
    return compiled


@_compiled
def _squares(weights: Array, out: Array) -> None:
    """Write each row's sum of squares."""
    for row in range(weights.shape[0]):
        total = 0.0
        for i in range(weights.shape[1]):
            wide = np.float64(weights[row, i])
            total += wide * wide
        out[row] = total


@_compiled
def _advance(
    reference: Array,
    previous: Array,
    current: Array,
    total: Array,
    total_bits: Array,
    moved: Array,
    moved_bits: Array,
    sums: Array,
) -> None:
    """Advance each row by one step and write its sums, all but the squares of weights.

    `total_bits` and `moved_bits` are integer views of `total` and of `moved`, room for one
    chunk of step changes.
    """
    columns = current.shape[1]
    for row in range(current.shape[0]):
        pivot = total[row, 0] + np.float64(abs(current[row, 0] - previous[row, 0]))
        step_sum = step_square = net_sum = net_square = offset = offset_square = 0.0
        flips, step_top, path_top, top_chunk = (
            np.int32(0),
            moved_bits[0] * 0,
            total_bits[0, 0] * 0,
            0,
        )
        for start in range(0, columns, CHUNK):
            stop = min(start + CHUNK, columns)
            # slices count from 0, which spares the loops the check for negative indices
            w_0, w_1, w = (
                reference[row, start:stop],
                previous[row, start:stop],
                current[row, start:stop],
            )
            a, a_bits = total[row, start:stop], total_bits[row, start:stop]
            for i in range(w.size):
                d, n = abs(w[i] - w_1[i]), abs(w[i] - w_0[i])
                moved[i] = d
                d_wide, n_wide = np.float64(d), np.float64(n)
                a[i] += d_wide
                step_sum += d_wide
                step_square += d_wide * d_wide
                net_sum += n_wide
                net_square += n_wide * n_wide
            for i in range(w.size):
                flips += np.int32(((w[i] > 0) != (w_0[i] > 0)) | ((w[i] < 0) != (w_0[i] < 0)))
            for i in range(w.size):
                o = a[i] - pivot
                offset += o
                offset_square += o * o
            largest = a_bits[0]
            for i in range(w.size):
                largest = max(largest, a_bits[i])
            if largest > path_top:
                path_top, top_chunk = largest, start
            for i in range(w.size):
                step_top = max(step_top, moved_bits[i])
        where = top_chunk
        while total_bits[row, where] < path_top:
            where += 1
        moved_bits[0] = step_top
        sums[row, PATH_SUM] = offset + pivot * columns
        sums[row, PATH_M2] = max(offset_square - offset * offset / columns, 0.0)
        sums[row, PATH_MAX] = total[row, where]
        sums[row, PATH_ARGMAX] = where
        sums[row, STEP_SUM] = step_sum
        sums[row, STEP_SQUARE] = step_square
        sums[row, STEP_MAX] = moved[0]
        sums[row, NET_SUM] = net_sum
        sums[row, NET_SQUARE] = net_square
        sums[row, FLIPS] = flips


def squares(weights: Tensor) -> Tensor:
    """Return each row's sum of squares, summed as `measure_step` sums them."""
    if weights.device.type != "cpu" or weights.is_complex():
        return kernels.squares(weights)
    out = np.empty(weights.shape[0])
    _squares(weights.numpy(), out)
    return torch.from_numpy(out)


def start_block(weights: Tensor) -> tuple[BlockState, Tensor]:
    """Do what `kernels.start_block` does, without a look at every element where all is well."""
    if weights.device.type != "cpu" or weights.is_complex():
        return kernels.start_block(weights)
    sums = np.zeros((weights.shape[0], len(SUMS)))
    square = sums[:, SQUARE]
    _squares(weights.numpy(), square)
    if not np.isfinite(square).all():
        state, found = kernels.start_block(weights)
        state.reference_square = squares(weights)  # summed as everywhere in here
        found[:, SQUARE] = found[:, REFERENCE_SQUARE] = state.reference_square
        return state, found
    sums[:, REFERENCE_SQUARE] = square
    total = torch.zeros(weights.shape, dtype=torch.float64)
    return BlockState(weights, torch.from_numpy(square.copy()), weights, total), torch.from_numpy(
        sums
    )


def measure_step(state: BlockState, current: Tensor, scratch: Scratch) -> Tensor:
    """Do what `kernels.measure_step` does, in one pass where the loops above can.

    Takes the same arguments and returns the same sums.
    """
    if current.device.type != "cpu" or current.is_complex():
        return kernels.measure_step(state, current, scratch)
    sums = np.zeros((current.shape[0], len(SUMS)))
    weights = current.numpy()
    square = sums[:, SQUARE]
    _squares(weights, square)
    if state.unseen is not None or not np.isfinite(square).all():
        kernels.mend(state, current, torch.from_numpy(sums)[:, NONFINITE])
        _squares(weights, square)
        if state.unseen is not None:
            state.reference_square = squares(state.reference)
    sums[:, REFERENCE_SQUARE] = state.reference_square.numpy()
    wide = square > LARGEST_SQUARE
    if not wide.any():
        _advance_rows(state, current, slice(None), sums)
    for row in range(len(wide)) if wide.any() else ():  # each by itself: rows know no neighbours
        if wide[row]:
            _advance_wide(state, current, slice(row, row + 1), scratch, sums)
        else:
            _advance_rows(state, current, slice(row, row + 1), sums)
    return torch.from_numpy(sums)


def _advance_rows(state: BlockState, current: Tensor, rows: slice, sums: Array) -> None:
    """Measure some rows of a block."""
    weights, total = current.numpy()[rows], state.total.numpy()[rows]
    moved = np.empty(CHUNK, weights.dtype)
    _advance(
        state.reference.numpy()[rows],
        state.previous.numpy()[rows],
        weights,
        total,
        total.view(np.int64),
        moved,
        moved.view(np.int32 if weights.dtype == np.float32 else np.int64),
        sums[rows],
    )


def _advance_wide(
    state: BlockState, current: Tensor, rows: slice, scratch: Scratch, sums: Array
) -> None:
    """Measure rows of weights so large that their difference is no float32, in float64."""
    wide = BlockState(
        state.reference[rows].double(),
        state.reference_square[rows],
        state.previous[rows].double(),
        state.total[rows],
    )
    lost = sums[rows, NONFINITE].copy()  # counted before they were mended
    sums[rows] = kernels.measure_step(wide, current[rows].double(), scratch).numpy()
    sums[rows, NONFINITE] = lost


@_compiled
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


@_compiled
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
