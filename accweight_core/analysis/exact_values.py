"""Exact A_t of a whole parameter, recomputed from the checkpoints.

The store holds pictures and sums only. The values have the bits of the walk that measured the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from accweight_core.accumulate.block import common_dtype, walk_block
from accweight_core.accumulate.cutting import Block, blocks_of
from accweight_core.accumulate.stepwise import Carry
from accweight_core.io.reading import OpenFiles, ahead_of, is_read_whole
from accweight_core.io.stamp import held_to, stamps_of
from accweight_core.pictures.tiling import BLOCK_ELEMENTS
from accweight_core.schema import Checkpoint, Parameter


def cumulative_change(
    checkpoints: Sequence[Checkpoint], parameter: Parameter, step_index: int
) -> npt.NDArray[np.float64]:
    """Return A_t of a parameter in its own shape.

    Args:
        checkpoints: All checkpoints of the run, in step order; also those after the step, because
            they determine the dtype of the subtraction.
        parameter: One of its parameters.
        step_index: Index of step t.

    Raises:
        FormatError: If a file is missing, truncated, or modified while it is read.
    """
    tensors = [c.tensors[parameter.name] for c in checkpoints[: step_index + 1]]
    measured_as = common_dtype([c.tensors[parameter.name] for c in checkpoints])
    total = np.zeros(parameter.elements)
    at_once = any(is_read_whole(tensor) for tensor in tensors)
    size = max(total.size, 1) if at_once else BLOCK_ELEMENTS
    blocks = list(blocks_of(parameter.shape, size))
    stretches = ((t, block.start, block.stop) for block in blocks for t in tensors)
    stamps = stamps_of(checkpoints[: step_index + 1])
    with held_to(stamps), OpenFiles(ahead=ahead_of(stretches), described=stamps) as files:
        for block in blocks:

            def keep(carry: Carry, block: Block = block) -> None:
                total[block.start : block.stop] = carry[2]

            walk_block(files, tensors, block, keep=keep, dtype=measured_as)
    return total.reshape(parameter.shape)
