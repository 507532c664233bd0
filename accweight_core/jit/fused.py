"""The fused step: all sums of all metrics in one pass over rows, for one step or several.

Fifteen separate operations on a block would pass through the cache fifteen times per step; the
loops (`tiers`) take a block through all available steps at once. Rows with non-finite weights, or
with weights too large for a difference in their own dtype, are processed step by step, and complex
ones by plain formulas (`rows`). The result for a row depends on that row alone, so cuts change no
bit. `benchmarks/kernel.py` measures it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.jit import rows, tiers
from accweight_core.jit.operands import Path, Planes, Steps, flat_memory
from accweight_core.jit.order import LARGEST_SQUARE
from accweight_core.jit.rows import AT, RowState
from accweight_core.metrics.sums import SUMS

Array = npt.NDArray[Any]

_NO_PLANES = np.empty((0, 0, 0), np.float32)


def squares(weights: Array) -> Array:
    """Return the sum of squares of each row, in the summation order of `advance`."""
    if np.iscomplexobj(weights):
        return rows.squares(weights)
    out = np.empty(len(weights))
    tiers.square_rows(weights, out)
    return out


def start_block(weights: Array, total: Array | None = None) -> tuple[RowState, Array]:
    """Start rows with their weights at the reference step.

    Args:
        weights: W_0, widened, (rows, columns). Kept; non-finite elements are set to 0 in place.
        total: Buffer for A_t; a new one if None.

    Returns:
        The state, and (rows, len(SUMS)): all zero but `square`, `reference_square`, `nonfinite`.
    """
    total = np.empty(weights.shape) if total is None else total
    square = squares(weights)
    if np.iscomplexobj(weights) or not np.isfinite(square).all():
        state, sums = rows.start(weights, total)
        square = state.reference_square = squares(weights)  # in the summation order of this module
    else:
        total[...] = 0
        sums = np.zeros((len(weights), len(SUMS)))
        state = RowState(weights, square, weights, total)
    sums[:, AT["square"]] = sums[:, AT["reference_square"]] = square
    return state, sums


def measure_step(state: RowState, current: Array) -> Array:
    """Advance rows by one step: accumulate, and return the partial sums of all metrics.

    A non-finite element counts as not having moved: it is replaced in `current` by its last finite
    value and counted in `nonfinite`.

    Args:
        state: State of the rows; `total` is updated. Before the next step the caller makes
            `current`
        `previous` (or swaps the two buffers).
        current: W_t, widened, (rows, columns).

    Returns:
        (rows, len(SUMS)).
    """
    if np.iscomplexobj(current):
        return rows.measure(state, current)
    # check the weights first, which saves a copy of A_t for rows that fail
    sound = squares(current) < LARGEST_SQUARE
    steps = state.previous[None], current[None]
    return _advanced(state, *steps, state.total, _NO_PLANES, sound)[:, 0]


def advance(
    state: RowState, steps: Array, spare: Array, planes: Array | None = None
) -> tuple[Array, Array]:
    """Advance rows by several steps; same bits as `measure_step` step by step.

    Args:
        state: State of the rows; `previous` becomes the last step.
        steps: (1 + steps, rows, columns) weights of the last step before and of the new ones,
            rows contiguous; non-finite elements are replaced in place.
        spare: Buffer of the shape of the state's `total`, which it replaces.
        planes: (steps, rows, columns) float32 with the strides of `steps`; output: A_t after
            every step.

    Returns:
        (rows, steps, len(SUMS)), and the buffer for the next call's `spare`.
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
    """Take the rows marked in `todo` through the loops, and all others step by step."""
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
    """Take the rows marked in `todo` through the loops; those that fail stay marked."""
    sums = np.empty((steps.shape[1], len(steps), len(SUMS)))
    through = Steps(
        flat_memory(state.reference),
        state.reference_square,
        flat_memory(before),
        flat_memory(steps),
        _apart(steps),
    )
    path = Path(flat_memory(state.total), flat_memory(after), is_begun=True)
    tiers.advance_rows(through, path, Planes(flat_memory(planes), _apart(planes)), sums, todo)
    return sums


def _apart(steps: Array) -> int:
    """Return the stride from step to step, in elements."""
    return steps.strides[0] // steps.itemsize


@np.errstate(over="ignore", invalid="ignore")
def _advance_odd(
    state: RowState, row: int, before: Array, steps: Array, after: Array, planes: Array, sums: Array
) -> None:
    """Take one row through its steps one by one: non-finite, or in float64 if too large."""
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
    """Advance one row of finite weights by one step."""
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
