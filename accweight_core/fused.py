"""The fused step: all of `kernels.measure_step` in one pass over a block, for processors.

Fifteen separate operations on a block cost fifteen trips through the cache; one compiled loop
costs one, and what is left is arithmetic: float64 sums of float32 values, two instructions for
each widening. So a row is gone through twice, once for what float32 lanes can do (`_signs`:
are all weights sound, how many have changed sign) and once for the sums (`_sums`). Maxima are
taken of bit patterns: non-negative floats order like integers, whose maxima vectorise where
those of floats do not. `benchmarks/kernel.py` measures each of these choices.

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
from numba import types
from numba.core.registry import cpu_target
from numba.extending import overload
from torch import Tensor

from accweight_core import kernels
from accweight_core.kernels import SUMS, BlockState, Scratch

CHUNK = 1024
"""Elements in whose midst the maximum is looked for once it is known."""

LARGEST_SIZE = 1e30
"""Sum of the sizes of a row's weights from which on it is not worked here.

Far below, every weight is finite, and its distance from any other is a float32 and has a square.
"""

LARGEST_SQUARE = 1e55
"""Sum of squares of a row that keeps the sum of its sizes below `LARGEST_SIZE` in any case."""

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


def _bits(value: Any) -> Any:
    """Return the bit pattern of a float as an integer of its width, or the other way round."""
    raise NotImplementedError("for compiled code")


@overload(_bits)
def _bits_compiled(value):  # type: ignore[no-untyped-def]  # numba compares the signatures
    if value == types.float32:
        return lambda value: np.float32(value).view(np.int32)
    if value == types.int32:
        return lambda value: np.int32(value).view(np.float32)
    if value == types.int64:
        return lambda value: np.int64(value).view(np.float64)
    return lambda value: np.float64(value).view(np.int64)


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
def _signs(w_0: Array, w: Array) -> tuple[Any, Any]:
    """Return how many signs (-1, 0, 1) of a row differ, and the sum of sizes of its weights.

    That sum is rough, but NaN or infinite if a weight is.
    """
    flips, size = np.int32(0), abs(w[0])
    for i in range(w.size):
        low = w[i] if w[i] < w_0[i] else w_0[i]
        high = w_0[i] if w[i] < w_0[i] else w[i]
        flips = np.int32(flips + np.int32((low <= 0) & (high >= 0) & (low < high)))
        size += abs(w[i])
    return flips, size


@_compiled
def _sums(w_0: Array, w_1: Array, w: Array, total: Array, sums: Array) -> None:
    """Advance A_t of a row by one step and write every sum that is not `_signs`'s."""
    step_sum = step_square = net_sum = net_square = square = offset = offset_square = 0.0
    pivot = total[0] + np.float64(abs(w[0] - w_1[0]))
    step_top, path_top, top_chunk = _bits(abs(w[0] - w[0])), np.int64(0), 0
    for start in range(0, w.size, CHUNK):
        # slices count from 0, which spares the loop the check for negative indices
        r, p, c = (
            w_0[start : start + CHUNK],
            w_1[start : start + CHUNK],
            w[start : start + CHUNK],
        )
        a = total[start : start + CHUNK]
        largest = np.int64(0)
        for i in range(c.size):
            moved, net = abs(c[i] - p[i]), abs(c[i] - r[i])
            d, n, x = np.float64(moved), np.float64(net), np.float64(c[i])
            path = a[i] + d
            a[i] = path
            o = path - pivot
            step_bits, path_bits = _bits(moved), _bits(path)
            step_top = step_bits if step_bits > step_top else step_top
            largest = path_bits if path_bits > largest else largest
            step_sum += d
            step_square += d * d
            net_sum += n
            net_square += n * n
            square += x * x
            offset += o
            offset_square += o * o
        if largest > path_top:
            path_top, top_chunk = largest, start
    where = top_chunk + _first(total[top_chunk : top_chunk + CHUNK], path_top)
    sums[PATH_SUM] = offset + pivot * w.size
    sums[PATH_M2] = max(offset_square - offset * offset / w.size, 0.0)
    sums[PATH_MAX] = _bits(path_top)
    sums[PATH_ARGMAX] = where
    sums[STEP_SUM] = step_sum
    sums[STEP_SQUARE] = step_square
    sums[STEP_MAX] = _bits(step_top)
    sums[NET_SUM] = net_sum
    sums[NET_SQUARE] = net_square
    sums[SQUARE] = square


@_compiled
def _first(values: Array, bits: int) -> int:
    """Return the index of the first value with that bit pattern; there is one."""
    first = values.size
    for i in range(values.size):
        first = min(first, i if _bits(values[i]) == bits else values.size)
    return first


@_compiled
def _advance(
    reference: Array,
    previous: Array,
    current: Array,
    total: Array,
    reference_square: Array,
    sums: Array,
    todo: Array,
) -> int:
    """Advance every row that is `todo` by one step and write its sums.

    Rows with weights that are too large or not finite are left as they are, and `todo`.

    Returns:
        How many were left.
    """
    left = 0
    for row in range(current.shape[0]):
        if not todo[row]:
            continue
        flips, size = _signs(reference[row], current[row])
        if not size < LARGEST_SIZE:
            left += 1
            continue
        _sums(reference[row], previous[row], current[row], total[row], sums[row])
        sums[row, REFERENCE_SQUARE] = reference_square[row]
        sums[row, FLIPS] = flips
        sums[row, NONFINITE] = 0
        todo[row] = False
    return left


def squares(weights: Tensor) -> Tensor:
    """Return each row's sum of squares, summed as `start_block` sums them."""
    if weights.device.type != "cpu" or weights.is_complex():
        return kernels.squares(weights)
    out = np.empty(weights.shape[0])
    _squares(weights.numpy(), out)
    return torch.from_numpy(out)


def start_block(weights: Tensor) -> tuple[BlockState, Tensor]:
    """Do what `kernels.start_block` does, without a look at every element where all is well."""
    if weights.device.type != "cpu" or weights.is_complex():
        return kernels.start_block(weights)
    square = squares(weights)
    if not np.isfinite(square.numpy()).all():
        state, sums = kernels.start_block(weights)
        square = state.reference_square = squares(weights)  # summed as everywhere in here
    else:
        sums = torch.zeros((weights.shape[0], len(SUMS)), dtype=torch.float64)
        total = torch.zeros(weights.shape, dtype=torch.float64)
        state = BlockState(weights, square, weights, total)
    sums[:, SQUARE] = sums[:, REFERENCE_SQUARE] = square
    return state, sums


def measure_step(state: BlockState, current: Tensor, scratch: Scratch) -> Tensor:
    """Do what `kernels.measure_step` does, in one pass where the loops above can.

    Takes the same arguments and returns the same sums.
    """
    if current.device.type != "cpu" or current.is_complex() or state.compensation is not None:
        return kernels.measure_step(state, current, scratch)
    sums = np.empty((current.shape[0], len(SUMS)))
    todo = np.ones(current.shape[0], np.bool_)
    if state.unseen is not None or _advance(*_arrays(state, current), sums, todo):
        _measure_odd(state, current, sums, todo)
    return torch.from_numpy(sums)


def _arrays(state: BlockState, current: Tensor) -> tuple[Array, ...]:
    """Return what `_advance` works on."""
    tensors = state.reference, state.previous, current, state.total, state.reference_square
    return tuple(tensor.numpy() for tensor in tensors)


def _measure_odd(state: BlockState, current: Tensor, sums: Array, todo: Array) -> None:
    """Measure the rows that are `todo`: mended, or in float64 where they are too large.

    What becomes of a row depends on that row alone, so that cuts change no bit.
    """
    nonfinite, unseen = torch.empty(len(sums), dtype=torch.float64), state.unseen
    kernels.mend(state, current, nonfinite)
    if unseen is not None:
        state.reference_square = squares(state.reference)
    _advance(*_arrays(state, current), sums, todo)
    for row in np.flatnonzero(todo):
        one = slice(row, row + 1)
        wide = BlockState(
            state.reference[one].double(),
            state.reference_square[one],
            state.previous[one].double(),
            state.total[one],
        )
        sums[one] = kernels.measure_step(wide, current[one].double(), Scratch()).numpy()
    sums[:, NONFINITE] = nonfinite.numpy()


@_compiled
def look_up(codes: Array, table: Array, out: Array) -> None:
    """Write ``table[codes]`` for codes of one byte."""
    for i in range(codes.size):
        out[i] = table[codes[i]]


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
