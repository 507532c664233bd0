"""Drawing pictures tile by tile while the weights stream past, and pooling coarser levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from accweight_core.pictures import Picture, PicturePlan
from accweight_core.pooling import halve, pool
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
        self._shape = rows * side, cols * side
        self._is_sheet = tile.elements == math.prod(self._shape) and tile.is_in_place(plan.base)
        if not self._is_sheet:
            # 0 where no element lies: it changes neither the sum nor the maximum of a square
            self._sheet = np.zeros(self._shape, np.float32)
            self._view = tile.view(self._sheet, plan.base)
            self._order = tile.order()
            self._places = tile.places(plan.base) if self._view is None else None
        self.counts = self._count(tile.elements)
        self._empty = self.counts == 0 if not self.counts.all() else None

    def draw(self, step: int, path: Picture) -> None:
        """Draw A_t of the tile, flat, in the order of its elements."""
        slot, base = step % self._segment, self._plan.base
        sheet = self._placed(path)
        drawn = [plane[slot] for plane in self._planes]
        if base == 0:
            np.copyto(drawn[0], sheet)
        else:
            pool(sheet, 1 << base, drawn[0], drawn[1])
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

    def _placed(self, path: Picture) -> Picture:
        """Return a sheet with every element at its texel; values that lie so already are one."""
        if self._is_sheet:
            return path.reshape(self._shape)
        if self._view is None:
            self._sheet.reshape(-1)[self._places] = path
        else:
            self._view[self._order] = path.reshape(self._view.shape)
        return self._sheet

    def _count(self, elements: int) -> Picture:
        """Return how many elements each texel of the base level stands for."""
        if elements == math.prod(self._shape):
            return np.full(self._size, 4**self._plan.base, np.float32)
        counts, unused = (np.empty(self._size, np.float32) for _ in range(2))
        pool(self._placed(np.ones(elements, np.float32)), 1 << self._plan.base, counts, unused)
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
