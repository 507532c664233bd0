"""Rows in NumPy, by the plain formulas: what the loops do not do.

`kernels` says the same of tensors of torch. Here go complex weights, weights that are not
finite, and those so large that they have to be subtracted in float64. Sums over a row are
NumPy's own: added in another order than those of the loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.sums import SUMS

Array = npt.NDArray[Any]

AT = {name: column for column, name in enumerate(SUMS)}
"""Which column of the sums is which."""


@dataclass
class RowState:
    """What rows carry from step to step, all (rows, columns) but the squares.

    Attributes:
        reference: W_0, widened. An element that is not finite there takes its first finite
            value as its reference.
        reference_square: (rows,) sums of squares of `reference`, float64.
        previous: Last finite value of every element; may be `reference` itself at first.
        total: A_t, float64.
        unseen: Elements that have not been finite yet; None when there are none.
    """

    reference: Array
    reference_square: Array
    previous: Array
    total: Array
    unseen: Array | None = None


@np.errstate(over="ignore", invalid="ignore")
def squares(weights: Array) -> Array:
    """Return each row's sum of squares, of both parts of complex weights."""
    if np.iscomplexobj(weights):
        weights = np.ascontiguousarray(weights).view(weights.real.dtype)
    wide = weights.astype(np.float64)
    found: Array = (wide * wide).sum(axis=1)
    return found


def distance(left: Array, right: Array) -> Array:
    """Return ``abs(left - right)``, real, in their precision.

    The modulus of a complex64 is rounded once, from float64, whatever the processor.
    """
    moved = left - right
    if moved.dtype == np.complex64:
        real, imaginary = moved.real.astype(np.float64), moved.imag.astype(np.float64)
        return np.sqrt(real * real + imaginary * imaginary).astype(np.float32)
    found: Array = np.hypot(moved.real, moved.imag) if np.iscomplexobj(moved) else np.abs(moved)
    return found


def start(weights: Array, total: Array) -> tuple[RowState, Array]:
    """Begin rows with their weights at the reference step.

    Args:
        weights: W_0; kept, and changed: what is not finite is 0 until it is.
        total: Room for A_t.

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
    """Give elements that are not finite their last finite value, and greet first finite ones.

    Args:
        state: The rows before the step. Who adds up squares in another way than `squares` has
            to do so anew for `reference_square`.
        current: W_t, changed in place.

    Returns:
        (rows,) how many elements are not finite.
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
    """Advance rows by one step, whatever they hold, and return (rows, len(SUMS)).

    Args:
        state: The rows so far; `total` is updated. To go on, the caller makes `current` the
            next `previous`.
        current: W_t; what is not finite is changed to its last finite value.
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
    """Fill what is said of A_t, over distances from each row's first element."""
    pivot, elements = total[:, :1], total.shape[1]
    away = total - pivot
    offset, place = away.sum(axis=1), total.argmax(axis=1)
    spread = (away * away).sum(axis=1) - offset * offset / elements
    column["path_m2"][:] = np.maximum(spread, 0)
    column["path_sum"][:] = offset + pivot[:, 0] * elements
    column["path_argmax"][:] = place
    column["path_max"][:] = np.take_along_axis(total, place[:, None], 1)[:, 0]
