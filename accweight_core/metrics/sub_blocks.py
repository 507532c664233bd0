"""How a parameter is cut into sub-blocks: with the sums of each (`sums`), a contract of bits.

Whoever writes or reads totals and pictures has to agree on it. It lives apart from `kernels`,
which computes the sums, so that reading a stored analysis does not import torch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

SUB_BLOCK = 16384
"""Most elements in a sub-block: 64 KiB of float32, and below the 32768 from which torch may
split one sum over threads, which would make bits depend on their number."""


class Partition(NamedTuple):
    """How a parameter is cut into sub-blocks, a function of its shape alone.

    Attributes:
        segment: Elements after which cutting starts anew: those behind the axes before `axis`.
        sub_block: Elements per sub-block; the last one of a segment may be shorter.
        axis: The axis that is cut: the first one whose single indices fit a sub-block.
        indices: Indices of that axis in a sub-block, a power of two.
    """

    segment: int
    sub_block: int
    axis: int
    indices: int


def partition(shape: tuple[int, ...]) -> Partition:
    """Return how a parameter of `shape` is cut.

    Sub-blocks hold a power of two of whole indices of one axis (rows of a matrix, output
    channels, inputs of one output), so that cuts fall where pictures can be cut too.
    """
    axis = next((a for a in range(len(shape)) if math.prod(shape[a + 1 :]) <= SUB_BLOCK), 0)
    inner = max(math.prod(shape[axis + 1 :]), 1)
    indices = 1 << (SUB_BLOCK // inner).bit_length() - 1
    return Partition(max(math.prod(shape[axis:]), 1), indices * inner, axis, indices)


def evened(count: int, most: int) -> int:
    """Return how many of `count` make a group of at most `most`, with groups of like size."""
    return -(-count // -(-count // max(1, min(most, count))))


def largest_divisor(count: int, most: int) -> int:
    """Return the largest divisor of `count` that is at most `most`."""
    return next(n for n in range(max(1, min(most, count)), 0, -1) if count % n == 0)
