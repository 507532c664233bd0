"""Merging the sums of sub-blocks in element order, whatever order the blocks finish in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.totals import Totals

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BlockSums:
    """Partial sums of the sub-blocks of one block.

    Attributes:
        stretches: (first, end) of each range of elements.
        elements: Elements per sub-block.
        values: (steps, sub-blocks, len(SUMS)).
    """

    stretches: tuple[tuple[int, int], ...]
    elements: list[int]
    values: Sums


def joined(sums: Sequence[BlockSums]) -> BlockSums:
    """Return the sums of several blocks, concatenated."""
    return BlockSums(
        tuple(stretch for block in sums for stretch in block.stretches),
        [elements for block in sums for elements in block.elements],
        np.concatenate([block.values for block in sums], axis=1),
    )


class Folding:
    """Merges sub-blocks in element order; blocks may arrive in any order.

    Early arrivals are buffered: 104 bytes per step for a sub-block of 16384 elements.
    """

    def __init__(self, steps: int) -> None:
        self.totals = Totals.empty(steps)
        self._waiting: dict[int, tuple[npt.NDArray[np.int64], Sums]] = {}

    @property
    def waiting_bytes(self) -> int:
        """Bytes of buffered sums."""
        return sum(sums.nbytes for _, sums in self._waiting.values())

    def take(self, sums: BlockSums) -> None:
        """Merge a block, or buffer it until the blocks before it have arrived."""
        sizes, first = np.array(sums.elements, dtype=np.int64), 0
        reached = np.concatenate([[0], np.cumsum(sizes)])
        done = 0
        for start, stop in sums.stretches:
            done += stop - start
            last = int(np.searchsorted(reached, done))
            self._waiting[start] = sizes[first:last], sums.values[:, first:last]
            first = last
        self._fold()

    def _fold(self) -> None:
        """Merge, in one call, every buffered block that is now next in order."""
        at, ready = self.totals.elements, []
        while at in self._waiting:
            ready.append(self._waiting.pop(at))
            at += int(ready[-1][0].sum())
        if ready:
            sizes, values = zip(*ready, strict=True)
            self.totals.extend(np.concatenate(sizes), np.concatenate(values, axis=1))
