"""The fused step on torch tensors: CPU tensors go through the one-pass loops, without a copy.

Other devices, and steps without float64, go through `kernels`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from accweight_core import kernels
from accweight_core.jit import fused
from accweight_core.jit.rows import RowState
from accweight_core.kernels import BlockState, Scratch


def start_block(weights: Tensor, total: Tensor | None = None) -> tuple[BlockState, Tensor]:
    """Do the same as `kernels.start_block`, without a check per element if all are finite.

    Args:
        weights: W_0, kept as the reference.
        total: Where A_t is kept, on a CPU; a new tensor if None.
    """
    if weights.device.type != "cpu":
        return kernels.start_block(weights)
    rows, sums = fused.start_block(weights.numpy(), None if total is None else total.numpy())
    square, total = torch.from_numpy(rows.reference_square), torch.from_numpy(rows.total)
    unseen = None if rows.unseen is None else torch.from_numpy(rows.unseen)
    return BlockState(weights, square, weights, total, unseen), torch.from_numpy(sums)


def measure_step(state: BlockState, current: Tensor, scratch: Scratch) -> Tensor:
    """Do the same as `kernels.measure_step`: same arguments, same sums."""
    if current.device.type != "cpu" or state.compensation is not None:
        return kernels.measure_step(state, current, scratch)
    rows = RowState(
        state.reference.numpy(),
        state.reference_square.numpy(),
        state.previous.numpy(),
        state.total.numpy(),
        None if state.unseen is None else state.unseen.numpy(),
    )
    sums = fused.measure_step(rows, current.numpy())
    state.reference_square = torch.from_numpy(rows.reference_square)
    state.unseen = None if rows.unseen is None else torch.from_numpy(rows.unseen)
    return torch.from_numpy(sums)


def squares(weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the sum of squares of each row, in the summation order of `measure_step`.

    Args:
        weights: (rows, columns), finite.
        dtype: Dtype of the sums: that of A_t.
    """
    if weights.device.type != "cpu" or dtype is not torch.float64:
        return kernels.squares(weights, dtype)
    return torch.from_numpy(fused.squares(weights.numpy()))
