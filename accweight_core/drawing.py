"""Drawing pictures band by band while the weights stream past, and pooling coarser levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from accweight_core.fused import halve, pool
from accweight_core.pictures import Picture, Slab

Emit = Callable[[int, Sequence[Picture]], None]
"""Called as ``emit(first_step, planes)`` with (steps, rows, cols) arrays: one plane at level
0, mean and maximum above."""


class SlabCanvas:
    """Draws A_t of one block, step after step, and hands over finished stretches of steps."""

    def __init__(self, slab: Slab, segment: int, emit: Emit) -> None:
        """Prepare the sheet.

        Args:
            slab: What to draw.
            segment: Steps to gather before they are handed over.
            emit: Takes them.
        """
        self._slab = slab
        self._segment = segment
        self._emit = emit
        rows, cols = slab.size
        planes = 2 if slab.plan.base else 1
        self._planes = [np.empty((segment, rows, cols), np.float32) for _ in range(planes)]
        row, row_end, col, col_end = slab.bounds
        side = 1 << slab.plan.base
        # 0 where no element lies: it changes neither the sum nor the maximum of a square
        self._sheet = np.zeros((rows * side, cols * side), np.float32)
        self._inner = self._sheet[: row_end - row, : col_end - col]
        self._places = _places(slab, self._sheet.shape[1])
        in_order = self._places is None and self._inner.flags.c_contiguous
        self._flat = self._inner.reshape(-1) if in_order else np.empty(slab.elements, np.float32)
        self._filled = 0
        self.counts = self._count()
        self._empty = self.counts == 0 if not self.counts.all() else None

    def watch(self, step: int, first: int, total: Tensor) -> None:
        """Take A_t of the next stretch of the block; draws when the block is complete."""
        values = total.numpy().reshape(-1)
        self._flat[self._filled : self._filled + values.size] = values
        self._filled += values.size
        if self._filled == self._flat.size:
            self._filled = 0
            self._draw(step)

    def _draw(self, step: int) -> None:
        slot = step % self._segment
        self._place()
        base = self._slab.plan.base
        drawn = [plane[slot] for plane in self._planes]
        if base == 0:
            np.copyto(drawn[0], self._sheet)
        else:
            pool(self._sheet, 1 << base, drawn[0], drawn[1])
            with np.errstate(invalid="ignore"):
                np.divide(drawn[0], self.counts, out=drawn[0])
        if self._empty is not None:
            for picture in drawn:
                picture[self._empty] = np.nan
        self._advance(step)

    def replay(self, step: int, planes: Sequence[Picture]) -> None:
        """Take a step as it was drawn before, (rows, cols) per plane."""
        for plane, picture in zip(self._planes, planes, strict=True):
            plane[step % self._segment] = picture
        self._advance(step)

    def _advance(self, step: int) -> None:
        """Hand over the gathered steps where a chunk, or the run, ends."""
        slot = step % self._segment
        if slot == self._segment - 1 or step == self._slab.plan.steps - 1:
            self._emit(step - slot, [plane[: slot + 1] for plane in self._planes])

    def _place(self) -> None:
        """Move the elements of the block to their texels, unless they were written there."""
        if self._places is not None:
            self._sheet.reshape(-1)[self._places] = self._flat
        elif not np.shares_memory(self._flat, self._inner):
            self._inner[:] = self._flat.reshape(self._inner.shape)

    def _count(self) -> Picture:
        """Return how many elements each texel of the base level stands for."""
        if self._places is None and self._inner.shape == self._sheet.shape:
            return np.full(self._slab.size, 4**self._slab.plan.base, np.float32)
        self._flat.fill(1)
        self._place()
        counts, unused = (np.empty(self._slab.size, np.float32) for _ in range(2))
        pool(self._sheet, 1 << self._slab.plan.base, counts, unused)
        self._sheet.fill(0)
        return counts


def _places(slab: Slab, width: int) -> npt.NDArray[np.int64] | None:
    """Return where the elements lie on a sheet of that width, None where they lie in order."""
    row, row_end, col, col_end = slab.bounds
    if slab.plan.layout.in_order and (row_end - row) * (col_end - col) == slab.elements:
        return None
    rows, cols = np.divmod(slab.plan.layout.positions(slab.start, slab.stop), col_end - col)
    places: npt.NDArray[np.int64] = rows * width + cols
    return places


def halved(mean: Picture, largest: Picture, counts: Picture) -> tuple[Picture, Picture, Picture]:
    """Return the next coarser level of pictures.

    Args:
        mean: (steps, rows, columns) mean per texel, NaN where there is no element.
        largest: Same shape, maximum per texel.
        counts: (rows, columns) elements per texel.

    Returns:
        Mean (weighted by counts), maximum and counts of squares of 2x2 texels.
    """
    padding = [(0, length % 2) for length in counts.shape]
    even = np.pad(counts, padding)
    number = even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]
    half, top = (np.empty((len(mean), *number.shape), np.float32) for _ in range(2))
    halve(mean, largest, counts, half, top, number)
    return half, top, number
