"""The partition of parameters into sub-blocks; with `sums` it defines the bits of all results.

All code that writes or reads totals and pictures uses this partition. It is separate from
`kernels`, which computes the sums, so that reading a stored analysis does not import torch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

SUB_BLOCK = 16384
"""Most elements of a sub-block: 64 KiB of float32, and below the 32768 from which torch may split
one sum over threads, so that the bits would depend on the number of threads."""


class Partition(NamedTuple):
    """The partition of a parameter, which depends on its shape only.

    Attributes:
        segment: Elements of one index of the axes before `axis`; each segment is cut separately.
        sub_block: Elements per sub-block; the last one of a segment may be shorter.
        axis: The axis that is cut: the first one whose single indices fit a sub-block.
        indices: Indices of that axis per sub-block, a power of two.
    """

    segment: int
    sub_block: int
    axis: int
    indices: int


def partition(shape: tuple[int, ...]) -> Partition:
    """Return the partition of a parameter of `shape`.

    Sub-blocks hold a power of two of whole indices of one axis (rows of a matrix, output channels,
    inputs of one output), so that pictures can be cut at the same places.
    """
    axis = next((a for a in range(len(shape)) if math.prod(shape[a + 1 :]) <= SUB_BLOCK), 0)
    inner = max(math.prod(shape[axis + 1 :]), 1)
    indices = 1 << (SUB_BLOCK // inner).bit_length() - 1
    return Partition(max(math.prod(shape[axis:]), 1), indices * inner, axis, indices)


def evened(count: int, most: int) -> int:
    """Return the size of evenly sized groups of `count` items, at most `most` each."""
    return -(-count // -(-count // max(1, min(most, count))))


def largest_divisor(count: int, most: int) -> int:
    """Return the largest divisor of `count` that is at most `most`."""
    return next(n for n in range(max(1, min(most, count)), 0, -1) if count % n == 0)
