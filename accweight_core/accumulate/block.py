"""One block through all checkpoints: the three states of it stay in the processor's cache.

Reference, previous and total are carried from step to step while the bytes stream in; sums of
every sub-block come out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from accweight_core.accumulate.cutting import Stretches, pieces_of
from accweight_core.accumulate.folding import BlockSums, Sums
from accweight_core.fused import measure_step, squares, start_block
from accweight_core.kernels import SUMS, BlockState, Scratch, partition
from accweight_core.reading import OpenFiles, read_stretches, read_together, working_dtype
from accweight_core.schema import StoredTensor

Carry = tuple[Tensor, Tensor, Tensor]
"""Reference, previous value and cumulative change of a block, flat; NaN in the reference where
an element has never been finite. All that is needed to walk on from there."""

Watcher = Callable[[int, int, Tensor], None]
"""Called as ``watcher(step_index, first_element, total)`` with A_t of a stretch, float64."""


def walk_block(
    files: OpenFiles,
    tensors: Sequence[StoredTensor],
    block: Stretches,
    *,
    watcher: Watcher | None = None,
    carry: Carry | None = None,
    keep: Callable[[Carry], None] | None = None,
    dtype: torch.dtype | None = None,
) -> BlockSums:
    """Walk one block of one parameter through its checkpoints.

    Args:
        files: Where to read through.
        tensors: The parameter in each checkpoint, in step order.
        block: What of it to walk.
        watcher: Sees A_t of every piece after every step.
        carry: Where an earlier walk of the block ended; the first tensor is then a step like
            the others. None to begin with the first tensor as the reference.
        keep: Called with where this walk has ended.
        dtype: In which to subtract; the widest of the tensors by default.
    """
    dtype = dtype or common_dtype(tensors)
    cut, size = partition(tensors[0].shape), 0
    pieces: list[tuple[int, int, int, int]] = []
    for start, stop in block.stretches:
        pieces += [(size + f - start, f, r, c) for f, r, c in pieces_of(cut, start, stop, dtype)]
        size += stop - start
    elements = [columns for _, _, rows, columns in pieces for _ in range(rows)]
    values = np.empty((len(tensors), len(elements), len(SUMS)))
    buffers = [torch.empty(size, dtype=dtype) for _ in range(3)]
    scratch = Scratch()
    states = [_resumed(carry, *piece) for piece in pieces] if carry else []
    for step, tensor in enumerate(tensors):
        begins = step == 0 and carry is None
        buffer = buffers[0] if begins else buffers[1 + step % 2]
        read_stretches(files, tensor, block.stretches, buffer)
        row = 0
        for number, (at, first, rows, columns) in enumerate(pieces):
            current = buffer[at : at + rows * columns].view(rows, columns)
            if begins:
                state, sums = start_block(current)
                states.append(state)
            else:
                state = states[number]
                sums = measure_step(state, current, scratch)
                state.previous = current
            values[step, row : row + rows] = sums.numpy()
            row += rows
            if watcher:
                watcher(step, first, state.total)
    if keep:
        keep(_carried(states))
    return BlockSums(block.stretches, elements, values)


def walk_alike(
    files: OpenFiles,
    parameters: Sequence[Sequence[StoredTensor]],
    watcher: Watcher | None = None,
) -> Sums:
    """Walk several small parameters of one size at once, one row of the kernel each.

    Rows know nothing of each other, so the bits are those of `walk_block`.

    Args:
        files: Where to read through.
        parameters: Each of them in every checkpoint; none longer than a sub-block.
        watcher: Sees A_t of all of them, (parameters, elements), after every step.

    Returns:
        (steps, parameters, len(SUMS)).
    """
    dtype, elements = common_dtype(parameters[0]), parameters[0][0].values.elements
    buffers = [torch.empty((len(parameters), elements), dtype=dtype) for _ in range(3)]
    values, scratch = np.empty((len(parameters[0]), len(parameters), len(SUMS))), Scratch()
    state: BlockState | None = None
    for step, tensors in enumerate(zip(*parameters, strict=True)):
        current = buffers[1 + step % 2 if step else 0]
        read_together(files, tensors, current)
        if state is None:
            state, sums = start_block(current)
        else:
            sums = measure_step(state, current, scratch)
            state.previous = current
        values[step] = sums.numpy()
        if watcher:
            watcher(step, 0, state.total)
    return values


def _resumed(carry: Carry, at: int, first: int, rows: int, columns: int) -> BlockState:
    """Return the state of one piece where an earlier walk of its block ended."""
    reference, previous, total = (
        part[at : at + rows * columns].view(rows, columns).clone() for part in carry
    )
    unseen = torch.isnan(reference)
    if not bool(unseen.any()):
        return BlockState(reference, squares(reference), previous, total)
    reference.masked_fill_(unseen, 0)
    return BlockState(reference, squares(reference), previous, total, unseen)


def _carried(states: Sequence[BlockState]) -> Carry:
    """Return where the walk of a block has ended."""
    references = [
        s.reference if s.unseen is None else s.reference.masked_fill(s.unseen, torch.nan)
        for s in states
    ]
    parts = references, [s.previous for s in states], [s.total for s in states]
    reference, previous, total = (torch.cat([t.reshape(-1) for t in part]) for part in parts)
    return reference, previous, total


def common_dtype(tensors: Sequence[StoredTensor]) -> torch.dtype:
    """Return the widest working dtype of a parameter over its checkpoints."""
    dtype = working_dtype(tensors[0])
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, working_dtype(tensor))
    return dtype
