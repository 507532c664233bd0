"""Which levels of a picture are stored, and the size of their chunks.

A picture is drawn at its base level: one texel per element for small runs, mean and maximum over
squares of texels where that would exceed the byte budget. Parameters are cut such that no square
crosses into another tile (`tiling`), so every texel is written by the one tile that owns it, in
any order of tiles. `canvas` draws the tiles.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.sub_blocks import evened, largest_divisor
from accweight_core.pictures.texel_map import Layout
from accweight_core.pictures.tiling import Tiling

Picture = npt.NDArray[np.float32]

COARSEST = 64
"""The coarsest level is at most this many texels wide and high."""

SEGMENT_BYTES = 4 << 20
"""Size of a chunk of a picture; steps are gathered up to this size before they are written."""


OPEN_CHUNKS = 8
"""Chunks of that size that may be incomplete at a time."""


WHOLE_BYTES = OPEN_CHUNKS * SEGMENT_BYTES
"""Most bytes of a picture, over all levels and steps, that is drawn as a whole."""


@dataclass(frozen=True)
class PicturePlan:
    """The stored levels of a picture.

    Attributes:
        layout: Layout of the picture at level 0.
        base: Finest stored level; each level halves height and width.
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
        """Bytes of all stored levels, over all steps."""
        return sum(self.level_bytes(level) for level in self.levels)

    @property
    def is_drawn_whole(self) -> bool:
        """Whether all of it is in memory until its last tile is drawn."""
        return self.size_bytes <= WHOLE_BYTES

    def level_bytes(self, level: int) -> int:
        """Bytes of one level, over all steps: one plane at level 0, else mean and maximum."""
        rows, cols = self.size(level)
        return self.steps * rows * cols * 4 * (2 if level else 1)


def plan_pictures(layouts: Sequence[Layout], steps: int, budget_bytes: int) -> list[PicturePlan]:
    """Choose base levels such that all pictures together fit a byte budget.

    The largest picture is made coarser first, repeatedly: small layers keep one texel per weight
    the longest.
    """
    # equal parameters, of which a network may have thousands, share a layout and so a plan
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
    """Return the number of steps per chunk."""
    most = max(1, min(steps, SEGMENT_BYTES // max(1, 4 * texels)))
    return -(-steps // -(-steps // most))  # equal sizes, or the last chunk is mostly padding


def chunk_of(tiling: Tiling, steps: int) -> tuple[int, int, int]:
    """Return the shape of a chunk: some steps of a large tile, or of several small tiles.

    Tiles that are contiguous in memory are gathered first, and never across the stride of a slower
    digit, so that few chunks are incomplete at a time.
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
    """Return the length in texels of several tiles side by side, along rows or columns.

    Args:
        size: Length of a tile.
        strides: Strides of the digits above it, ascending.
        full: Length of the picture.
        most: Most tiles.
    """
    for stride in strides:
        if stride % size:
            return size
        taken = largest_divisor(stride // size, most)
        size, most = size * taken, most // taken
        if size < stride:
            return size
    return size * evened(-(-full // size), most)
