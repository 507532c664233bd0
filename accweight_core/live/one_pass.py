"""The fused step on tensors of torch: those of a processor are worked in one pass, where they lie.

`kernels` says what is done, and does it where this does not: on devices, and without float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from accweight_core import kernels
from accweight_core.jit import fused
from accweight_core.jit.rows import RowState
from accweight_core.kernels import BlockState, Scratch


def start_block(weights: Tensor) -> tuple[BlockState, Tensor]:
    """Do what `kernels.start_block` does, without a look at every element where all is well."""
    if weights.device.type != "cpu":
        return kernels.start_block(weights)
    rows, sums = fused.start_block(weights.numpy())
    square, total = torch.from_numpy(rows.reference_square), torch.from_numpy(rows.total)
    unseen = None if rows.unseen is None else torch.from_numpy(rows.unseen)
    return BlockState(weights, square, weights, total, unseen), torch.from_numpy(sums)


def measure_step(state: BlockState, current: Tensor, scratch: Scratch) -> Tensor:
    """Do what `kernels.measure_step` does; same arguments, same sums."""
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
