"""The fused step: every sum of every metric in one pass over rows, one step or several.

Fifteen separate operations on a block cost fifteen trips through the cache, and a step at a time
costs one for every step; loops (`tiers`) take a block through all steps at hand at once. Rows
with weights that are not finite, or too large to be subtracted in their own dtype, are worked
step by step, and complex ones by plain formulas (`rows`). What becomes of a row depends on that
row alone, so that cuts change no bit. `benchmarks/kernel.py` measures it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from accweight_core.jit import rows, tiers
from accweight_core.jit.operands import Path, Planes, Steps
from accweight_core.jit.order import LARGEST_SQUARE
from accweight_core.jit.rows import AT, RowState
from accweight_core.metrics.sums import SUMS

Array = npt.NDArray[Any]

_NO_PLANES = np.empty((0, 0, 0), np.float32)


def squares(weights: Array) -> Array:
    """Return each row's sum of squares, summed as `advance` sums them."""
    if np.iscomplexobj(weights):
        return rows.squares(weights)
    out = np.empty(len(weights))
    tiers.square_rows(weights, out)
    return out


def start_block(weights: Array, total: Array | None = None) -> tuple[RowState, Array]:
    """Begin rows with their weights at the reference step.

    Args:
        weights: W_0, widened, (rows, columns). Kept; what is not finite is 0 in it until it is.
        total: Room for A_t; fresh if None.

    Returns:
        The state, and (rows, len(SUMS)): all zero but `square`, `reference_square`, `nonfinite`.
    """
    total = np.empty(weights.shape) if total is None else total
    square = squares(weights)
    if np.iscomplexobj(weights) or not np.isfinite(square).all():
        state, sums = rows.start(weights, total)
        square = state.reference_square = squares(weights)  # summed as everywhere in here
    else:
        total[...] = 0
        sums = np.zeros((len(weights), len(SUMS)))
        state = RowState(weights, square, weights, total)
    sums[:, AT["square"]] = sums[:, AT["reference_square"]] = square
    return state, sums


def measure_step(state: RowState, current: Array) -> Array:
    """Advance rows by one step: accumulate, and return the partial sums of all metrics.

    An element that is not finite counts as not having moved: it is replaced in `current` by
    its last finite value and reported in `nonfinite`.

    Args:
        state: The rows so far; `total` is updated. To go on, the caller makes `current` the
            next `previous` (or swaps the two buffers).
        current: W_t, widened, (rows, columns).

    Returns:
        (rows, len(SUMS)).
    """
    if np.iscomplexobj(current):
        return rows.measure(state, current)
    # a look at every weight first, so that A_t need not be kept for rows that cannot be done
    sound = squares(current) < LARGEST_SQUARE
    steps = state.previous[None], current[None]
    return _advanced(state, *steps, state.total, _NO_PLANES, sound)[:, 0]


def advance(
    state: RowState, steps: Array, spare: Array, planes: Array | None = None
) -> tuple[Array, Array]:
    """Advance rows by several steps; the bits are those of `measure_step` one by one.

    Args:
        state: The rows so far; `previous` becomes the last of the steps.
        steps: (1 + steps, rows, columns) weights, those of the last step before and the new
            ones, rows one behind the other; changed where they are not finite.
        spare: Room of the shape of the state's `total`, which it takes the place of.
        planes: (steps, rows, columns) float32 with the strides of `steps`, written: A_t after
            every step.

    Returns:
        (rows, steps, len(SUMS)), and room for the next call.
    """
    if not np.iscomplexobj(steps):
        before = state.total
        drawn = _NO_PLANES if planes is None else planes
        sound = np.ones(steps.shape[1], np.bool_)
        sums = _advanced(state, steps[:-1], steps[1:], spare, drawn, sound)
        state.total, state.previous = spare, steps[-1]
        return sums, before
    found = []
    state.previous = steps[0]
    for step, current in enumerate(steps[1:]):
        found.append(rows.measure(state, current))
        state.previous = current
        if planes is not None:
            planes[step] = state.total
    return np.stack(found, axis=1), spare


def _advanced(
    state: RowState, before: Array, steps: Array, after: Array, planes: Array, todo: Array
) -> Array:
    """Take the rows that are `todo` through the loops, others and what is left step by step."""
    if state.unseen is not None:
        todo &= ~state.unseen.any(axis=1)
    odd = ~todo
    sums = _by_loops(state, before, steps, after, planes, todo)
    for row in np.flatnonzero(odd | todo):
        _advance_odd(state, int(row), before[0], steps, after, planes, sums[row])
    if state.unseen is not None and not state.unseen.any():
        state.unseen = None
    return sums


def _by_loops(
    state: RowState, before: Array, steps: Array, after: Array, planes: Array, todo: Array
) -> Array:
    """Take the rows that are `todo` through the loops; what could not be done is left so."""
    sums = np.empty((steps.shape[1], len(steps), len(SUMS)))
    through = Steps(
        _flat(state.reference), state.reference_square, _flat(before), _flat(steps), _apart(steps)
    )
    path = Path(_flat(state.total), _flat(after), is_begun=True)
    tiers.advance_rows(through, path, Planes(_flat(planes), _apart(planes)), sums, todo)
    return sums


def _apart(steps: Array) -> int:
    """Return how many elements lie from step to step."""
    return steps.strides[0] // steps.itemsize


def _flat(array: Array) -> Array:
    """Return the memory of an array from its first element to its last one."""
    if array.flags.c_contiguous:
        return array.reshape(-1)
    pairs = zip(array.shape, array.strides, strict=True)
    reach = sum((n - 1) * stride // array.itemsize for n, stride in pairs) + 1
    return as_strided(array, (reach if array.size else 0,), (array.itemsize,))


@np.errstate(over="ignore", invalid="ignore")
def _advance_odd(
    state: RowState, row: int, before: Array, steps: Array, after: Array, planes: Array, sums: Array
) -> None:
    """Take one row through its steps one by one: mended, or in float64 where it is too large."""
    one = slice(row, row + 1)
    unseen = None if state.unseen is None else state.unseen[one]
    alone = RowState(
        state.reference[one], state.reference_square[one], before[one],
        state.total[one].copy(), unseen,
    )  # fmt: skip
    for step in range(len(steps)):
        current = steps[step, one]
        nonfinite = rows.mend(alone, current)
        if unseen is not None:
            alone.reference_square = squares(alone.reference)
        sums[step] = _alone(alone, current)
        sums[step, AT["nonfinite"]] = nonfinite[0]
        alone.previous = current
        if planes.size:
            planes[step, one] = alone.total
    after[one] = alone.total
    state.reference_square[one] = alone.reference_square
    if state.unseen is not None and alone.unseen is not None:
        state.unseen[one] = alone.unseen


def _alone(state: RowState, current: Array) -> Array:
    """Advance a single row, without a weight that is not finite, by a single step."""
    after, todo = np.empty_like(state.total), np.ones(1, np.bool_)
    sums = _by_loops(state, state.previous[None], current[None], after, _NO_PLANES, todo)
    if not todo[0]:
        state.total = after
        return np.asarray(sums[0, 0])
    wide = RowState(
        state.reference.astype(np.float64), state.reference_square,
        state.previous.astype(np.float64), state.total,
    )  # fmt: skip
    return np.asarray(rows.measure(wide, current.astype(np.float64))[0])
