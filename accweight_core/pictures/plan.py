"""Which pictures of cumulative change are stored, and how they are cut.

A picture is drawn at its base level: one texel per element for small runs, the mean and the
maximum of squares of texels where that would not fit the byte budget. Parameters are cut so
that no square crosses into the next tile (`tiling`), so every texel is finished by the one
tile that owns it, whatever the order of tiles. `drawing` does the drawing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.sub_blocks import evened, largest_divisor
from accweight_core.pictures.texel_map import Layout
from accweight_core.pictures.tiling import Tiling

Picture = npt.NDArray[np.float32]

COARSEST = 64
"""Pyramids end where a picture is at most this many texels wide and high."""

SEGMENT_BYTES = 4 << 20
"""Size of a chunk of a picture, over which steps are gathered before they are written."""


OPEN_CHUNKS = 8
"""Chunks of that size that may wait for the rest of their tiles."""


@dataclass(frozen=True)
class PicturePlan:
    """Which levels of a picture are stored.

    Attributes:
        layout: The picture at level 0.
        base: Finest level stored; each level halves height and width.
        steps: Number of steps.
    """

    layout: Layout
    base: int
    steps: int

    def size(self, level: int) -> tuple[int, int]:
        """Return (rows, columns) at a level."""
        return -(-self.layout.rows >> level), -(-self.layout.cols >> level)

    @property
    def levels(self) -> range:
        """Stored levels, finest first."""
        side, top = max(self.size(self.base)), self.base
        while side > COARSEST:
            side, top = (side + 1) // 2, top + 1
        return range(self.base, top + 1)

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all stored levels over all steps."""
        return sum(self.level_bytes(level) for level in self.levels)

    def level_bytes(self, level: int) -> int:
        """Bytes of one level over all steps: mean and maximum, one of both at level 0."""
        rows, cols = self.size(level)
        return self.steps * rows * cols * 4 * (2 if level else 1)


def plan_pictures(layouts: Sequence[Layout], steps: int, budget_bytes: int) -> list[PicturePlan]:
    """Choose base levels so that all pictures together fit a byte budget.

    The largest picture is made coarser first, again and again: small layers keep every
    weight visible long after large ones have given up theirs.
    """
    # parameters that are alike share a layout, and so a plan: a network may have thousands
    distinct = {id(layout): PicturePlan(layout, 0, steps) for layout in layouts}
    plans = [distinct[id(layout)] for layout in layouts]
    total = sum(plan.size_bytes for plan in plans)
    heap = [(-plan.size_bytes, index) for index, plan in enumerate(plans)]
    heapq.heapify(heap)
    while total > budget_bytes and heap:
        size, index = heapq.heappop(heap)
        plan = plans[index]
        if max(plan.size(plan.base)) <= 1:
            continue
        plans[index] = PicturePlan(plan.layout, plan.base + 1, steps)
        total += plans[index].size_bytes + size
        heapq.heappush(heap, (-plans[index].size_bytes, index))
    return plans


def segment_steps(steps: int, texels: int) -> int:
    """Return how many steps of a tile make up one chunk."""
    most = max(1, min(steps, SEGMENT_BYTES // max(1, 4 * texels)))
    return -(-steps // -(-steps // most))  # alike, or the last chunk is all padding


def chunk_of(tiling: Tiling, steps: int) -> tuple[int, int, int]:
    """Return the shape of a chunk: some steps of a large tile, or several small tiles.

    Tiles are gathered along what is stored together first. They never reach over the step of a
    slower digit, so that few chunks are open at a time.
    """
    level, tile = tiling.level, tiling.first
    texels = math.prod(tile.size(level))
    rows, cols = (pitch >> level for pitch in tile.pitches(level))
    segment = segment_steps(steps, texels)
    if segment < steps or not texels:
        return segment, rows, cols
    most = max(1, SEGMENT_BYTES // (4 * steps * texels))
    size = {True: rows, False: cols}
    for down in tiling.directions:
        full = -(-(tiling.layout.rows if down else tiling.layout.cols) >> level)
        open_at_once = tiling.others_meanwhile(down=down)
        allowed = max(1, min(most, OPEN_CHUNKS * most // open_at_once))
        before = size[down]
        size[down] = _gathered(before, tiling.strides(down=down), full, allowed)
        most //= max(1, size[down] // before)
        if size[down] < full:
            break
    return segment, size[True], size[False]


def _gathered(size: int, strides: Sequence[int], full: int, most: int) -> int:
    """Return the texels of at most so many tiles side by side, along rows or columns.

    Args:
        size: Texels of a tile.
        strides: Texels from one value to the next of the digits above it, ascending.
        full: Texels in all.
        most: Tiles.
    """
    for stride in strides:
        if stride % size:
            return size
        taken = largest_divisor(stride // size, most)
        size, most = size * taken, most // taken
        if size < stride:
            return size
    return size * evened(-(-full // size), most)


def pyramid_levels(plan: PicturePlan) -> Iterator[int]:
    """Yield the levels that are pooled from the base."""
    yield from plan.levels[1:]
