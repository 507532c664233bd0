"""The fused step: all of `kernels.measure_step`, for one step or several, for processors.

Fifteen separate operations on a block cost fifteen trips through the cache, and a step at a time
costs one for every step; compiled loops (`loops`) take a block through all steps at hand at once.
Same results as the plain formulas but for the order in which a row is summed. Rows with weights
that are not finite, or too large to be subtracted in their own dtype, are worked step by step.
`benchmarks/kernel.py` measures it. Loops are compiled once per machine and kept on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from accweight_core import kernels
from accweight_core.jit.step_loops import (
    LARGEST_SQUARE,
    NONFINITE,
    REFERENCE_SQUARE,
    SQUARE,
    advance_rows,
    square_rows,
)
from accweight_core.kernels import SUMS, BlockState, Scratch

Array = npt.NDArray[Any]


def squares(weights: Tensor) -> Tensor:
    """Return each row's sum of squares, summed as `advance` sums them."""
    if weights.device.type != "cpu" or weights.is_complex():
        return kernels.squares(weights)
    out = np.empty(weights.shape[0])
    square_rows(weights.numpy(), out)
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
