"""Compiled loops of the fused step: a thousand weights at a time through several steps.

A_t, W_0 and W_(t-1) of a thousand weights stay in the L1 cache while they go through all available
steps. The loop has 37 operations of 256 bits per eight weights and step: float64 sums of float32
values, with two instructions per widening. The summation order is that of the lanes: the same for
any number of steps, rows and blocks, and on any machine.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accweight_core.jit.njit import compiled, compiled_within
from accweight_core.jit.operands import Path, Planes, Steps
from accweight_core.jit.order import LANES, LARGEST_SQUARE
from accweight_core.jit.simd import (
    below,
    equal,
    larger,
    largest_of,
    load,
    lowest,
    narrow,
    not_above,
    number,
    number_of,
    ones,
    pattern,
    plus_square,
    size,
    spread,
    store,
    sum_of,
    wide,
)
from accweight_core.metrics.sums import SUMS

CHUNK = 1024
"""Weights taken through all available steps at a time: 20 KiB of the L1 cache."""

PATH_SUM, PATH_M2, PATH_MAX, PATH_ARGMAX, STEP_SUM, STEP_SQUARE, STEP_MAX = (
    SUMS.index(name)
    for name in (
        "path_sum", "path_m2", "path_max", "path_argmax", "step_sum", "step_square", "step_max"
    )
)  # fmt: skip
NET_SUM, NET_SQUARE, SQUARE, REFERENCE_SQUARE, FLIPS, NONFINITE = (
    SUMS.index(name)
    for name in ("net_sum", "net_square", "square", "reference_square", "flips", "nonfinite")
)

OFFSET, OFFSET_SQUARE = PATH_SUM, PATH_M2
"""While a row is processed, these columns hold sums of distances from its first A_t."""

SUMMED = OFFSET, OFFSET_SQUARE, STEP_SUM, STEP_SQUARE, NET_SUM, NET_SQUARE, SQUARE
"""Columns that are summed in lanes."""

Array = npt.NDArray[Any]


@compiled_within
def square_of(w: Array, first: int, count: int) -> float:
    """Return the sum of squares of a row, in the summation order of `_chunk` and `_rest`."""
    total, whole = spread(0.0), count - count % LANES
    for i in range(0, whole, LANES):
        total = plus_square(total, wide(load(w, first + i)))
    square = sum_of(total)
    for i in range(first + whole, first + count):
        square += np.float64(w[i]) * np.float64(w[i])
    return float(square)


@compiled
def square_rows(weights: Array, out: Array) -> None:
    """Compute the sum of squares of each row."""
    for row in range(len(out)):
        out[row] = square_of(weights[row], 0, weights.shape[1])


class _Scratch(NamedTuple):
    """State of a row while its chunks go through the steps.

    Attributes:
        lanes: Sixteen partial sums per sum and step.
        tops: Sixteen per step: largest step changes so far.
        pivots: (steps,) A_t of the first element of the row.
        negative: Bits of the reference elements below 0 in the chunk, sixteen per mask.
        not_positive: Bits of those not above 0.
    """

    lanes: Array
    tops: Array
    pivots: Array
    negative: Array
    not_positive: Array


@compiled_within
def _signs(w_0: Array, first: int, count: int, scratch: _Scratch) -> None:
    """Store the signs of a chunk of W_0."""
    zero = spread(w_0.dtype.type(0))
    for at in range(count):
        reference = load(w_0, first + at * LANES)
        scratch.negative[at] = below(reference, zero)
        scratch.not_positive[at] = not_above(reference, zero)


@compiled_within
def _chunk(
    steps: Steps, path: Array, first: int, count: int, t: int, scratch: _Scratch, drawn: Any,
    place: int,
) -> Any:  # fmt: skip
    """Advance A_t of a chunk by one step; add to its sums, in sixteen lanes.

    Args:
        steps: Weights.
        path: A_t, updated.
        first: Start of the chunk in A_t and in the weights of a step.
        count: Number of groups of sixteen weights.
        t: Index of the step.
        scratch: Sums so far, updated.
        drawn: float32, A_t, flat; output. None, known when this is compiled, if nothing is drawn.
        place: Index of the first weight in `drawn`.

    Returns:
        The number of sign changes, and the largest A_t.
    """
    w_0, w_1, w, lanes, tops = (
        steps.reference, steps.before, steps.weights, scratch.lanes, scratch.tops
    )  # fmt: skip
    own, at_step = t * len(SUMS) * LANES, t * steps.stride + first
    step_sum = load(lanes, own + STEP_SUM * LANES)
    step_square = load(lanes, own + STEP_SQUARE * LANES)
    net_sum = load(lanes, own + NET_SUM * LANES)
    net_square = load(lanes, own + NET_SQUARE * LANES)
    square = load(lanes, own + SQUARE * LANES)
    offset = load(lanes, own + OFFSET * LANES)
    offset_square = load(lanes, own + OFFSET_SQUARE * LANES)
    step_top, path_top = pattern(load(tops, t * LANES)), pattern(spread(0.0))
    zero, start, flips = spread(w.dtype.type(0)), spread(scratch.pivots[t]), 0
    for at in range(count):
        i = at * LANES
        weights, reference = load(w, at_step + i), load(w_0, first + i)
        differ = (below(weights, zero) ^ scratch.negative[at]) | (
            not_above(weights, zero) ^ scratch.not_positive[at]
        )
        flips += ones(differ)
        moved, net = size(weights - load(w_1, at_step + i)), size(weights - reference)
        step_top = larger(pattern(moved), step_top)
        d, n = wide(moved), wide(net)
        a = load(path, first + i) + d
        store(path, first + i, a)
        if drawn is not None:
            store(drawn, place + i, narrow(a))
        path_top = larger(pattern(a), path_top)
        o = a - start
        step_sum, step_square = step_sum + d, plus_square(step_square, d)
        net_sum, net_square = net_sum + n, plus_square(net_square, n)
        square = plus_square(square, wide(weights))
        offset, offset_square = offset + o, plus_square(offset_square, o)
    store(lanes, own + STEP_SUM * LANES, step_sum)
    store(lanes, own + STEP_SQUARE * LANES, step_square)
    store(lanes, own + NET_SUM * LANES, net_sum)
    store(lanes, own + NET_SQUARE * LANES, net_square)
    store(lanes, own + SQUARE * LANES, square)
    store(lanes, own + OFFSET * LANES, offset)
    store(lanes, own + OFFSET_SQUARE * LANES, offset_square)
    store(tops, t * LANES, number(step_top))
    return flips, number_of(largest_of(path_top))


@compiled_within
def _rest(
    steps: Steps,
    path: Array,
    first: int,
    count: int,
    t: int,
    pivot: float,
    sums: Array,
    before: int,
) -> None:
    """Do the same as `_chunk`, one by one, for the last weights of a row, fewer than sixteen.

    Args:
        steps: As in `_chunk`.
        path: As in `_chunk`.
        first: As in `_chunk`.
        count: Number of weights.
        t: As in `_chunk`.
        pivot: A_t of the first element of the row.
        sums: (sums,) of the row and step over all weights before these, updated.
        before: Number of weights of the row before these.
    """
    for i in range(first, first + count):
        at = t * steps.stride + i
        x_0, x = steps.reference[i], steps.weights[at]
        d, n = np.float64(abs(x - steps.before[at])), np.float64(abs(x - x_0))
        a = path[i] + d
        path[i] = a
        if a > sums[PATH_MAX]:
            sums[PATH_MAX], sums[PATH_ARGMAX] = a, before + i - first
        if d > sums[STEP_MAX]:
            sums[STEP_MAX] = d
        sums[FLIPS] += (x < 0) != (x_0 < 0) or (x > 0) != (x_0 > 0)
        o, square = a - pivot, np.float64(x) * np.float64(x)
        sums[STEP_SUM] += d
        sums[STEP_SQUARE] += d * d
        sums[NET_SUM] += n
        sums[NET_SQUARE] += n * n
        sums[SQUARE] += square
        sums[OFFSET] += o
        sums[OFFSET_SQUARE] += o * o


@compiled_within
def _find(values: Array, first: int, count: int, wanted: float) -> int:
    """Return the first position of a value that occurs in a range."""
    asked = spread(wanted)
    for i in range(0, count, LANES):
        found = equal(load(values, first + i), asked)
        if found:
            return i + int(lowest(found))
    return 0


@compiled_within
def copy(source: Array, first: int, target: Array, at: int, count: int) -> None:
    """Copy a range of A_t."""
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(target, at + i, load(source, first + i))
    for i in range(whole, count):
        target[at + i] = source[first + i]


@compiled_within
def _prepare(path: Path, first: int, count: int, is_moved: bool) -> None:
    """Copy A_t to the buffer in which it is updated."""
    if not path.is_begun:
        path.after[first : first + count] = 0
    elif is_moved:
        copy(path.before, first, path.after, first, count)


@compiled_within
def _finish(sums: Array, pivot: float, elements: int, square: float) -> bool:
    """Compute the final sums of a row and step; return whether they are valid."""
    offset, offset_square = sums[OFFSET], sums[OFFSET_SQUARE]
    sums[PATH_SUM] = offset + pivot * elements
    sums[PATH_M2] = max(offset_square - offset * offset / elements, 0.0)
    sums[REFERENCE_SQUARE] = square
    return bool(sums[SQUARE] < LARGEST_SQUARE)


@compiled_within
def take_rows(steps: Steps, path: Path, planes: Planes, sums: Array, todo: Array) -> int:
    """Take every row marked in `todo` through all steps.

    Args:
        steps: Weights.
        path: A_t, updated.
        planes: A_t as float32; output.
        sums: (rows, steps, sums); output.
        todo: (rows,) marks; cleared for completed rows.

    Returns:
        Number of rows that are still marked; their outputs are undefined.
    """
    rows, many = sums.shape[:2]
    left, w_0, w_1, w, after = 0, steps.reference, steps.before, steps.weights, path.after
    columns = w_0.size // rows
    whole = columns - columns % LANES
    is_moved = after.ctypes.data != path.before.ctypes.data
    masks = np.empty(2 * CHUNK // LANES, np.uint64)
    scratch = _Scratch(
        np.empty(many * len(SUMS) * LANES), np.empty(many * LANES, w.dtype), np.empty(many),
        masks[: CHUNK // LANES], masks[CHUNK // LANES :],
    )  # fmt: skip
    for row in range(rows):
        if not todo[row]:
            continue
        scratch.lanes[:] = 0
        scratch.tops[:] = 0
        sums[row] = 0
        own, sound = row * columns, True
        pivot = path.before[own] if path.is_begun else 0.0
        for t in range(many):
            at = t * steps.stride + own
            pivot += np.float64(abs(w[at] - w_1[at]))
            scratch.pivots[t] = pivot
        for start in range(0, whole, CHUNK):
            first, count = own + start, min(CHUNK, whole - start)
            _prepare(path, first, count, is_moved)
            _signs(w_0, first, count // LANES, scratch)
            for t in range(many):
                groups, place = count // LANES, t * planes.stride + first
                if planes.values.size:
                    flips, top = _chunk(
                        steps, after, first, groups, t, scratch, planes.values, place
                    )
                else:
                    flips, top = _chunk(steps, after, first, groups, t, scratch, None, 0)
                sums[row, t, FLIPS] += flips
                if top > sums[row, t, PATH_MAX]:
                    sums[row, t, PATH_MAX] = top
                    sums[row, t, PATH_ARGMAX] = start + _find(after, first, count, top)
        first, count = own + whole, columns - whole
        _prepare(path, first, count, is_moved)
        for t in range(many):
            for column in SUMMED:
                at = (t * len(SUMS) + column) * LANES
                sums[row, t, column] = sum_of(load(scratch.lanes, at))
            top = largest_of(pattern(load(scratch.tops, t * LANES)))
            sums[row, t, STEP_MAX] = number_of(top)
            _rest(steps, after, first, count, t, scratch.pivots[t], sums[row, t], whole)
            if planes.values.size:
                place = t * planes.stride + first
                for i in range(count):
                    planes.values[place + i] = np.float32(after[first + i])
            sound &= _finish(sums[row, t], scratch.pivots[t], columns, steps.square[row])
        todo[row] = not sound
        left += todo[row]
    return left


def advance_rows(steps: Steps, path: Path, planes: Planes, sums: Array, todo: Array) -> int:
    """Do the same as `take_rows`, as the entry point for Python."""
    return int(_taken(*steps, *path, *planes, sums, todo))


@compiled
def _taken(*flat: Any) -> Any:
    """Take the arguments one by one: named tuples cost Python three microseconds per call."""
    return take_rows(Steps(*flat[:5]), Path(*flat[5:8]), Planes(*flat[8:10]), flat[10], flat[11])


def rounds_once() -> bool:
    """Tell whether ``a + b * b`` is rounded once: the only difference between machines."""
    return bool(_added(-1 - 2.0**-29, 1 + 2.0**-30) != 0)


@compiled
def _added(total: float, value: float) -> float:
    """Return sixteen times ``total + value * value``; the arguments prevent constant folding."""
    return float(sum_of(plus_square(spread(total), spread(value))))
