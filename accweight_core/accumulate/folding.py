"""Folding: sums of sub-blocks are added in the order of their elements, whoever comes first."""

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
        stretches: First element and end of each stretch.
        elements: Elements of each sub-block.
        values: (steps, sub-blocks, len(SUMS)).
    """

    stretches: tuple[tuple[int, int], ...]
    elements: list[int]
    values: Sums


def joined(sums: Sequence[BlockSums]) -> BlockSums:
    """Return the sums of several blocks as one."""
    return BlockSums(
        tuple(stretch for block in sums for stretch in block.stretches),
        [elements for block in sums for elements in block.elements],
        np.concatenate([block.values for block in sums], axis=1),
    )


class Folding:
    """Folds sub-blocks in the order of their elements, in whatever order blocks bring them.

    What comes early waits: 104 bytes per step for a sub-block of 16384 elements.
    """

    def __init__(self, steps: int) -> None:
        self.totals = Totals.empty(steps)
        self._waiting: dict[int, tuple[npt.NDArray[np.int64], Sums]] = {}

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the sums that wait for their turn."""
        return sum(sums.nbytes for _, sums in self._waiting.values())

    def take(self, sums: BlockSums) -> None:
        """Fold in a block, or keep it until its turn."""
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
        """Fold all that follows on what has been folded, in one go."""
        at, ready = self.totals.elements, []
        while at in self._waiting:
            ready.append(self._waiting.pop(at))
            at += int(ready[-1][0].sum())
        if ready:
            sizes, values = zip(*ready, strict=True)
            self.totals.extend(np.concatenate(sizes), np.concatenate(values, axis=1))
