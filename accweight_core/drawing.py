"""Drawing pictures tile by tile while the weights stream past, and pooling coarser levels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from accweight_core.fused import halve, pool
from accweight_core.pictures import Picture, PicturePlan
from accweight_core.tile import Tile

Emit = Callable[[int, Sequence[Picture]], None]
"""Called as ``emit(first_step, planes)`` with (steps, rows, cols) arrays: one plane at level
0, mean and maximum above."""


class TileCanvas:
    """Draws A_t of one tile, step after step, and hands over finished stretches of steps."""

    def __init__(self, plan: PicturePlan, tile: Tile, segment: int, emit: Emit) -> None:
        """Prepare the sheet.

        Args:
            plan: The picture.
            tile: What to draw of it.
            segment: Steps to gather before they are handed over.
            emit: Takes them.
        """
        self._plan = plan
        self._size = tile.size(plan.base)
        self._segment = segment
        self._emit = emit
        rows, cols = self._size
        planes = 2 if plan.base else 1
        self._planes = [np.empty((segment, rows, cols), np.float32) for _ in range(planes)]
        side = 1 << plan.base
        # 0 where no element lies: it changes neither the sum nor the maximum of a square
        self._sheet = np.zeros((rows * side, cols * side), np.float32)
        self._view = tile.view(self._sheet, plan.base)
        self._order = tile.order()
        self._places = tile.places(plan.base) if self._view is None else None
        straight = self._view is not None and self._view.flags.c_contiguous
        if self._view is not None and straight and not any(d.order for d in tile.layout.digits):
            self._flat = self._view.reshape(-1)
        else:
            self._flat = np.empty(tile.elements, np.float32)
        self._filled = 0
        self.counts = self._count()
        self._empty = self.counts == 0 if not self.counts.all() else None

    def watch(self, step: int, first: int, total: Tensor) -> None:
        """Take A_t of the next stretch of the tile; draws when the tile is complete."""
        values = total.numpy().reshape(-1)
        self._flat[self._filled : self._filled + values.size] = values
        self._filled += values.size
        if self._filled == self._flat.size:
            self._filled = 0
            self._draw(step)

    def _draw(self, step: int) -> None:
        slot = step % self._segment
        self._place()
        base = self._plan.base
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
        if slot == self._segment - 1 or step == self._plan.steps - 1:
            self._emit(step - slot, [plane[: slot + 1] for plane in self._planes])

    def _place(self) -> None:
        """Move the elements of the tile to their texels, unless they were written there."""
        if self._view is None:
            self._sheet.reshape(-1)[self._places] = self._flat
        elif not np.shares_memory(self._flat, self._sheet):
            self._view[self._order] = self._flat.reshape(self._view.shape)

    def _count(self) -> Picture:
        """Return how many elements each texel of the base level stands for."""
        if self._flat.size == self._sheet.size:
            return np.full(self._size, 4**self._plan.base, np.float32)
        self._flat.fill(1)
        self._place()
        counts, unused = (np.empty(self._size, np.float32) for _ in range(2))
        pool(self._sheet, 1 << self._plan.base, counts, unused)
        self._sheet.fill(0)
        return counts


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
