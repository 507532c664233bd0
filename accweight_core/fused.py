"""Several steps of a block in one pass: all of `kernels.measure_step`, for processors.

Fifteen separate operations on a block cost fifteen trips through the cache, and a step at a time
costs one for every step. Here a thousand weights are taken through all the steps that are at
hand before the next thousand: A_t, W_0 and W_(t-1) stay in the first-level cache, and of each
checkpoint every byte is looked at once. What is left is arithmetic (`lanes`): float64 sums of
float32 values, two instructions for each widening. `benchmarks/kernel.py` measures it.

Same results as the plain formulas but for the order in which a row is summed, which is the same
for any number of steps, rows and blocks. Rows with weights that are not finite, or too large to
be subtracted in their own dtype, are left alone and worked step by step. Everything here is
compiled once per machine and kept in a cache on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accweight_core import kernels
from accweight_core.compiled import compiled, compiled_in_place
from accweight_core.kernels import SUMS, BlockState, Scratch
from accweight_core.lanes import (
    LANES,
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

CHUNK = 1024
"""Weights that are taken through all steps at hand: 20 KiB of the first-level cache."""

LARGEST_SQUARE = 1e55
"""Sum of squares of a row from which on it is not worked here.

Below, every weight is finite, and its distance from any other is a float32.
"""

PATH_SUM, PATH_M2, PATH_MAX, PATH_ARGMAX, STEP_SUM, STEP_SQUARE, STEP_MAX = range(7)
NET_SUM, NET_SQUARE, SQUARE, REFERENCE_SQUARE, FLIPS, NONFINITE = range(7, len(SUMS))

OFFSET, OFFSET_SQUARE = PATH_SUM, PATH_M2
"""Until a row is done: the sums over its distances from its first A_t."""

SUMMED = OFFSET, OFFSET_SQUARE, STEP_SUM, STEP_SQUARE, NET_SUM, NET_SQUARE, SQUARE
"""What is added up in lanes."""

Array = npt.NDArray[Any]


@compiled_in_place
def square_of(w: Array, first: int, count: int) -> float:
    """Return the sum of squares of a row, added in the order of `_chunk` and `_rest`."""
    total, whole = spread(0.0), count - count % LANES
    for i in range(0, whole, LANES):
        total = plus_square(total, wide(load(w, first + i)))
    square = sum_of(total)
    for i in range(first + whole, first + count):
        square += np.float64(w[i]) * np.float64(w[i])
    return float(square)


@compiled
def _squares(weights: Array, out: Array) -> None:
    """Write each row's sum of squares."""
    for row in range(len(out)):
        out[row] = square_of(weights[row], 0, weights.shape[1])


@compiled_in_place
def _signs(w_0: Array, first: int, count: int, negative: Array, not_positive: Array) -> None:
    """Note the signs of a chunk of W_0, sixteen to a mask."""
    zero = spread(w_0.dtype.type(0))
    for at in range(count):
        reference = load(w_0, first + at * LANES)
        negative[at] = below(reference, zero)
        not_positive[at] = not_above(reference, zero)


@compiled_in_place
def _chunk(
    w_0: Array,
    first: int,
    w_1: Array,
    w: Array,
    at_step: int,
    path: Array,
    count: int,
    negative: Array,
    not_positive: Array,
    pivot: float,
    lanes: Array,
    tops: Array,
    t: int,
) -> Any:
    """Advance A_t of a chunk by one step, and its sums, which stay apart in sixteen lanes.

    Args:
        w_0: Reference.
        first: Where in it, and in `path`, the chunk begins.
        w_1: The step before.
        w: This step.
        at_step: Where in these two the chunk begins.
        path: A_t, advanced.
        count: How many times sixteen weights there are.
        negative: Where the reference is below 0, sixteen to a mask.
        not_positive: Where it is 0 or below.
        pivot: A_t of the first element of the row.
        lanes: Sixteen for each sum of each step, added to.
        tops: Sixteen for each step, largest step changes so far, raised.
        t: Number of the step.

    Returns:
        How many signs differ, and the largest A_t.
    """
    own = t * len(SUMS) * LANES
    step_sum = load(lanes, own + STEP_SUM * LANES)
    step_square = load(lanes, own + STEP_SQUARE * LANES)
    net_sum = load(lanes, own + NET_SUM * LANES)
    net_square = load(lanes, own + NET_SQUARE * LANES)
    square = load(lanes, own + SQUARE * LANES)
    offset = load(lanes, own + OFFSET * LANES)
    offset_square = load(lanes, own + OFFSET_SQUARE * LANES)
    step_top, path_top = pattern(load(tops, t * LANES)), pattern(spread(0.0))
    zero, start, flips = spread(w.dtype.type(0)), spread(pivot), 0
    for at in range(count):
        i = at * LANES
        weights, reference = load(w, at_step + i), load(w_0, first + i)
        differ = (below(weights, zero) ^ negative[at]) | (
            not_above(weights, zero) ^ not_positive[at]
        )
        flips += ones(differ)
        moved, net = size(weights - load(w_1, at_step + i)), size(weights - reference)
        step_top = larger(pattern(moved), step_top)
        d, n = wide(moved), wide(net)
        a = load(path, first + i) + d
        store(path, first + i, a)
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


@compiled_in_place
def _rest(
    w_0: Array,
    first: int,
    w_1: Array,
    w: Array,
    at_step: int,
    path: Array,
    count: int,
    pivot: float,
    sums: Array,
    before: int,
) -> None:
    """Do what `_chunk` does with the last weights of a row, fewer than sixteen, one by one.

    Args:
        w_0: As in `_chunk`, like all up to `pivot`; `count` is of weights.
        first: See there.
        w_1: See there.
        w: See there.
        at_step: See there.
        path: See there.
        count: See there.
        pivot: See there.
        sums: (sums,) of the row and step, which hold those of all weights before.
        before: How many weights of the row these are.
    """
    for i in range(count):
        x_0, x = w_0[first + i], w[at_step + i]
        d, n = np.float64(abs(x - w_1[at_step + i])), np.float64(abs(x - x_0))
        a = path[first + i] + d
        path[first + i] = a
        if a > sums[PATH_MAX]:
            sums[PATH_MAX], sums[PATH_ARGMAX] = a, before + i
        sums[STEP_MAX] = max(sums[STEP_MAX], d)
        sums[FLIPS] += (x < 0) != (x_0 < 0) or (x > 0) != (x_0 > 0)
        o, square = a - pivot, np.float64(x) * np.float64(x)
        sums[STEP_SUM] += d
        sums[STEP_SQUARE] += d * d
        sums[NET_SUM] += n
        sums[NET_SQUARE] += n * n
        sums[SQUARE] += square
        sums[OFFSET] += o
        sums[OFFSET_SQUARE] += o * o


@compiled_in_place
def _find(values: Array, first: int, count: int, wanted: float) -> int:
    """Return where in a stretch a value is met first; it is there."""
    asked = spread(wanted)
    for i in range(0, count, LANES):
        found = equal(load(values, first + i), asked)
        if found:
            return i + int(lowest(found))
    return 0


@compiled_in_place
def copy(source: Array, first: int, target: Array, at: int, count: int) -> None:
    """Copy a stretch of A_t."""
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(target, at + i, load(source, first + i))
    for i in range(whole, count):
        target[at + i] = source[first + i]


@compiled_in_place
def _prepare(
    total: Array, after: Array, first: int, count: int, is_begun: bool, is_moved: bool
) -> None:
    """Bring A_t so far to where it is advanced."""
    if not is_begun:
        after[first : first + count] = 0
    elif is_moved:
        copy(total, first, after, first, count)


@compiled_in_place
def _draw(path: Array, first: int, plane: Array, at: int, count: int) -> None:
    """Write A_t as float32."""
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(plane, at + i, narrow(load(path, first + i)))
    for i in range(whole, count):
        plane[at + i] = np.float32(path[first + i])


@compiled_in_place
def _finish(sums: Array, pivot: float, elements: int, square: float) -> bool:
    """Make the sums of a row and step what they are to be; tell whether they hold."""
    offset, offset_square = sums[OFFSET], sums[OFFSET_SQUARE]
    sums[PATH_SUM] = offset + pivot * elements
    sums[PATH_M2] = max(offset_square - offset * offset / elements, 0.0)
    sums[REFERENCE_SQUARE] = square
    return bool(sums[SQUARE] < LARGEST_SQUARE)


@compiled
def advance_rows(
    w_0: Array,
    square: Array,
    w_1: Array,
    w: Array,
    stride: int,
    total: Array,
    after: Array,
    is_begun: bool,
    planes: Array,
    plane_stride: int,
    sums: Array,
    todo: Array,
) -> int:
    """Take every row that is `todo` through all steps.

    All but `square`, `sums` and `todo` are flat, rows one behind the other.

    Args:
        w_0: Reference.
        square: (rows,) sums of squares of it.
        w_1: Weights of the steps before.
        w: Weights of the steps.
        stride: Elements from step to step in these two.
        total: A_t before.
        after: A_t behind the last step, written; may be `total` itself.
        is_begun: Whether there is such an A_t; else it is 0, and `total` is not looked at.
        planes: float32, A_t after every step, written; or nothing.
        plane_stride: Elements from step to step in that.
        sums: (rows, steps, sums), written.
        todo: (rows,) what to do; what could not be done is left.

    Returns:
        How many rows were left; what is written of these is undefined.
    """
    rows, steps = sums.shape[:2]
    columns, left = w_0.size // rows, 0
    whole = columns - columns % LANES
    lanes, tops = np.empty(steps * len(SUMS) * LANES), np.empty(steps * LANES, w.dtype)
    pivots, is_moved = np.empty(steps), after.ctypes.data != total.ctypes.data
    negative, not_positive = np.empty((2, CHUNK // LANES), np.uint64)
    for row in range(rows):
        if not todo[row]:
            continue
        lanes[:] = 0
        tops[:] = 0
        sums[row] = 0
        own, sound = row * columns, True
        pivot = total[own] if is_begun else 0.0
        for t in range(steps):
            pivot += np.float64(abs(w[t * stride + own] - w_1[t * stride + own]))
            pivots[t] = pivot
        for start in range(0, whole, CHUNK):
            first, count = own + start, min(CHUNK, whole - start)
            _prepare(total, after, first, count, is_begun, is_moved)
            _signs(w_0, first, count // LANES, negative, not_positive)
            for t in range(steps):
                flips, top = _chunk(
                    w_0, first, w_1, w, t * stride + first, after, count // LANES,
                    negative, not_positive, pivots[t], lanes, tops, t,
                )  # fmt: skip
                sums[row, t, FLIPS] += flips
                if top > sums[row, t, PATH_MAX]:
                    sums[row, t, PATH_MAX] = top
                    sums[row, t, PATH_ARGMAX] = start + _find(after, first, count, top)
                if planes.size:
                    _draw(after, first, planes, t * plane_stride + first, count)
        first, count = own + whole, columns - whole
        _prepare(total, after, first, count, is_begun, is_moved)
        for t in range(steps):
            for column in SUMMED:
                sums[row, t, column] = sum_of(load(lanes, (t * len(SUMS) + column) * LANES))
            sums[row, t, STEP_MAX] = number_of(largest_of(pattern(load(tops, t * LANES))))
            _rest(
                w_0, first, w_1, w, t * stride + first, after, count, pivots[t], sums[row, t], whole
            )
            if planes.size:
                _draw(after, first, planes, t * plane_stride + first, count)
            sound &= _finish(sums[row, t], pivots[t], columns, square[row])
        todo[row] = not sound
        left += todo[row]
    return left


@compiled
def rounds_once() -> bool:
    """Tell whether ``a + b * b`` is rounded once here, the only thing that changes bits."""
    near_one = 1 + 2.0**-30
    return bool(sum_of(plus_square(spread(-1 - 2.0**-29), spread(near_one))) != 0)


def squares(weights: Tensor) -> Tensor:
    """Return each row's sum of squares, summed as `advance` sums them."""
    if weights.device.type != "cpu" or weights.is_complex():
        return kernels.squares(weights)
    out = np.empty(weights.shape[0])
    _squares(weights.numpy(), out)
    return torch.from_numpy(out)


def start_block(weights: Tensor, total: Tensor | None = None) -> tuple[BlockState, Tensor]:
    """Do what `kernels.start_block` does, without a look at every element where all is well.

    Args:
        weights: W_0, widened, (rows, columns); kept.
        total: Room for A_t; fresh if None.
    """
    if weights.device.type != "cpu" or weights.is_complex():
        return kernels.start_block(weights)
    square = squares(weights)
    if not np.isfinite(square.numpy()).all():
        state, sums = kernels.start_block(weights)
        square = state.reference_square = squares(weights)  # summed as everywhere in here
    else:
        sums = torch.zeros((weights.shape[0], len(SUMS)), dtype=torch.float64)
        state = BlockState(weights, square, weights, torch.empty(0))
    room = torch.empty(weights.shape, dtype=torch.float64) if total is None else total
    state.total = room.zero_()
    sums[:, SQUARE] = sums[:, REFERENCE_SQUARE] = square
    return state, sums


def measure_step(state: BlockState, current: Tensor, scratch: Scratch) -> Tensor:
    """Do what `kernels.measure_step` does, in one pass where the loops above can.

    Takes the same arguments and returns the same sums.
    """
    if _is_for_operations(state, current):
        return kernels.measure_step(state, current, scratch)
    # a look at every weight first, so that A_t need not be kept for rows that cannot be done
    sound = squares(current).numpy() < LARGEST_SQUARE
    steps = state.previous[None], current[None]
    return torch.from_numpy(_advanced(state, *steps, state.total, _NO_PLANES, sound)[:, 0])


def advance(
    state: BlockState, steps: Tensor, spare: Tensor, planes: Tensor | None = None
) -> tuple[Array, Tensor]:
    """Advance a block by several steps; the bits are those of `measure_step` one by one.

    Args:
        state: The block so far; `previous` becomes the last of the steps.
        steps: (1 + steps, rows, columns) weights, those of the last step before and the new
            ones, rows one behind the other; changed where they are not finite, as by
            `kernels.mend`.
        spare: Room of the shape of the state's `total`, which it takes the place of.
        planes: (steps, rows, columns) float32 with the strides of `steps`, written: A_t after
            every step.

    Returns:
        (rows, steps, len(SUMS)), and room for the next call.
    """
    if not _is_for_operations(state, steps):
        before = state.total
        drawn = _NO_PLANES if planes is None else planes
        sound = np.ones(steps.shape[1], np.bool_)
        sums = _advanced(state, steps[:-1], steps[1:], spare, drawn, sound)
        state.total, state.previous = spare, steps[-1]
        return sums, before
    found, scratch = [], Scratch()
    state.previous = steps[0]
    for step, current in enumerate(steps[1:]):
        found.append(kernels.measure_step(state, current, scratch).numpy())
        state.previous = current
        if planes is not None:
            planes[step] = state.total
    return np.stack(found, axis=1), spare


_NO_PLANES = torch.empty((0, 0, 0))


def _is_for_operations(state: BlockState, weights: Tensor) -> bool:
    """Tell whether the loops above do not serve: complex numbers, devices, float32 totals."""
    away = weights.device.type != "cpu" or weights.is_complex()
    return away or state.compensation is not None


def _advanced(
    state: BlockState,
    before: Tensor,
    steps: Tensor,
    after: Tensor,
    planes: Tensor,
    todo: Array,
) -> Array:
    """Take the rows that are `todo` through the loops, others and what is left step by step."""
    if state.unseen is not None:
        todo &= ~state.unseen.numpy().any(axis=1)
    odd = ~todo
    sums = _by_loops(state, before, steps, after, planes, todo)
    for row in np.flatnonzero(odd | todo):
        _advance_odd(state, int(row), before[0], steps, after, planes, sums[row])
    if state.unseen is not None and not bool(state.unseen.any()):
        state.unseen = None
    return sums


def _by_loops(
    state: BlockState, before: Tensor, steps: Tensor, after: Tensor, planes: Tensor, todo: Array
) -> Array:
    """Take the rows that are `todo` through the loops; what could not be done is left so."""
    sums = np.empty((steps.shape[1], len(steps), len(SUMS)))
    advance_rows(
        _flat(state.reference), state.reference_square.numpy(), _flat(before), _flat(steps),
        steps.stride(0), _flat(state.total), _flat(after), True, _flat(planes), planes.stride(0),
        sums, todo,
    )  # fmt: skip
    return sums


def _flat(tensor: Tensor) -> Array:
    """Return the memory of a tensor from its first element to its last one."""
    if tensor.is_contiguous():
        return tensor.numpy().reshape(-1)
    reach = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((reach + 1 if tensor.numel() else 0,), (1,)).numpy()


def _advance_odd(
    state: BlockState,
    row: int,
    before: Tensor,
    steps: Tensor,
    after: Tensor,
    planes: Tensor,
    sums: Array,
) -> None:
    """Take one row through its steps one by one: mended, or in float64 where it is too large.

    What becomes of a row depends on that row alone, so that cuts change no bit.
    """
    one = slice(row, row + 1)
    unseen = None if state.unseen is None else state.unseen[one]
    alone = BlockState(
        state.reference[one], state.reference_square[one], before[one],
        state.total[one].clone(), unseen,
    )  # fmt: skip
    for step in range(len(steps)):
        current, nonfinite = steps[step, one], torch.empty(1, dtype=torch.float64)
        kernels.mend(alone, current, nonfinite)
        if unseen is not None:
            alone.reference_square = squares(alone.reference)
        sums[step] = _alone(alone, current)
        sums[step, NONFINITE] = float(nonfinite)
        alone.previous = current
        if planes.numel():
            planes[step, one] = alone.total
    after[one] = alone.total
    state.reference_square[one] = alone.reference_square
    if state.unseen is not None and alone.unseen is not None:
        state.unseen[one] = alone.unseen


def _alone(state: BlockState, current: Tensor) -> Array:
    """Advance a single row, without a weight that is not finite, by a single step."""
    after, todo = torch.empty_like(state.total), np.ones(1, np.bool_)
    sums = _by_loops(state, state.previous[None], current[None], after, _NO_PLANES, todo)
    if not todo[0]:
        state.total = after
        return np.asarray(sums[0, 0])
    wide = BlockState(
        state.reference.double(), state.reference_square, state.previous.double(), state.total
    )
    return np.asarray(kernels.measure_step(wide, current.double(), Scratch()).numpy()[0])
