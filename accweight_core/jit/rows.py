"""Rows in NumPy by the plain formulas, for what the loops cannot process.

These are complex and non-finite weights, and weights so large that they must be subtracted in
float64. Sums over a row use NumPy's own order and not that of the loops. `kernels` does the same
for torch tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.sums import SUMS

Array = npt.NDArray[Any]

AT = {name: column for column, name in enumerate(SUMS)}
"""Column of each sum, by name."""


@dataclass
class RowState:
    """State of rows from step to step; (rows, columns) except the squares.

    Attributes:
        reference: W_0, widened. The reference of an element that is not finite at first is its
        first finite value.
        reference_square: (rows,) sums of squares of `reference`, float64.
        previous: Last finite value of every element; may be `reference` itself at first.
        total: A_t, float64.
        unseen: Mask of elements that have never been finite; None if there are none.
    """

    reference: Array
    reference_square: Array
    previous: Array
    total: Array
    unseen: Array | None = None


@np.errstate(over="ignore", invalid="ignore")
def squares(weights: Array) -> Array:
    """Return the sum of squares of each row, over real and imaginary parts."""
    if np.iscomplexobj(weights):
        weights = np.ascontiguousarray(weights).view(weights.real.dtype)
    wide = weights.astype(np.float64)
    found: Array = (wide * wide).sum(axis=1)
    return found


def distance(left: Array, right: Array) -> Array:
    """Return ``abs(left - right)``, real, in the precision of the arguments.

    The modulus of a complex64 is computed in float64 and rounded once, on every processor.
    """
    moved = left - right
    if moved.dtype == np.complex64:
        real, imaginary = moved.real.astype(np.float64), moved.imag.astype(np.float64)
        return np.sqrt(real * real + imaginary * imaginary).astype(np.float32)
    found: Array = np.hypot(moved.real, moved.imag) if np.iscomplexobj(moved) else np.abs(moved)
    return found


def start(weights: Array, total: Array) -> tuple[RowState, Array]:
    """Start rows with their weights at the reference step.

    Args:
        weights: W_0; kept, and modified: non-finite elements are set to 0.
        total: Buffer for A_t.

    Returns:
        The state, and (rows, len(SUMS)) sums of step 0.
    """
    bad = ~np.isfinite(weights)
    weights[bad] = 0
    total[...] = 0
    state = RowState(weights, squares(weights), weights, total, bad if bad.any() else None)
    sums = np.zeros((len(weights), len(SUMS)))
    sums[:, AT["nonfinite"]] = np.count_nonzero(bad, axis=1)
    sums[:, AT["square"]] = sums[:, AT["reference_square"]] = state.reference_square
    if np.iscomplexobj(weights):
        sums[:, AT["flips"]] = np.nan
    return state, sums


def mend(state: RowState, current: Array) -> Array:
    """Replace non-finite elements by their last finite value; take first finite ones as reference.

    Args:
        state: State of the rows before the step. `reference_square` is updated by `squares`;
            callers
        with another summation order must compute it again.
        current: W_t, modified in place.

    Returns:
        (rows,) number of non-finite elements.
    """
    bad = ~np.isfinite(current)
    if state.unseen is not None:
        first = state.unseen & ~bad
        np.copyto(state.reference, current, where=first)
        np.copyto(state.previous, current, where=first)
        state.reference_square = squares(state.reference)
        state.unseen = state.unseen & bad
    np.copyto(current, state.previous, where=bad)
    counts: Array = np.count_nonzero(bad, axis=1)
    return counts


@np.errstate(over="ignore", invalid="ignore")
def measure(state: RowState, current: Array) -> Array:
    """Advance rows of any values by one step; return (rows, len(SUMS)).

    Args:
        state: State of the rows; `total` is updated. Before the next step the caller makes
            `current`
        `previous`.
        current: W_t; non-finite elements are replaced by their last finite value.
    """
    sums = np.zeros((len(current), len(SUMS)))
    column = dict(zip(SUMS, sums.T, strict=True))
    square = squares(current)
    if state.unseen is not None or not np.isfinite(square).all():
        column["nonfinite"][:] = mend(state, current)
        square = squares(current)
    column["square"][:], column["reference_square"][:] = square, state.reference_square
    moved = distance(current, state.previous)
    column["step_max"][:] = moved.max(axis=1)
    wide = moved.astype(np.float64)
    state.total += wide
    column["step_sum"][:], column["step_square"][:] = wide.sum(axis=1), (wide * wide).sum(axis=1)
    wide = distance(current, state.reference).astype(np.float64)
    column["net_sum"][:], column["net_square"][:] = wide.sum(axis=1), (wide * wide).sum(axis=1)
    _spread(state.total, column)
    if np.iscomplexobj(current):
        column["flips"][:] = np.nan
    else:
        differ = np.sign(current) != np.sign(state.reference)
        column["flips"][:] = np.count_nonzero(differ, axis=1)
    return sums


def _spread(total: Array, column: dict[str, Array]) -> None:
    """Fill the columns of A_t, computed from distances to each row's first element."""
    pivot, elements = total[:, :1], total.shape[1]
    away = total - pivot
    offset, place = away.sum(axis=1), total.argmax(axis=1)
    spread = (away * away).sum(axis=1) - offset * offset / elements
    column["path_m2"][:] = np.maximum(spread, 0)
    column["path_sum"][:] = offset + pivot[:, 0] * elements
    column["path_argmax"][:] = place
    column["path_max"][:] = np.take_along_axis(total, place[:, None], 1)[:, 0]
