"""Which pictures of cumulative change are stored, and how they are cut.

A picture is drawn at its base level: one texel per element for small runs, the mean and the
maximum of squares of texels where that would not fit the byte budget. Bands are cut so that
no square crosses into the next (`Layout.band_alignment`), so every texel is finished by the
one block that owns it, whatever the order of blocks. `drawing` does the drawing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from accweight_core.texel_map import Layout

Picture = npt.NDArray[np.float32]

COARSEST = 64
"""Pyramids end where a picture is at most this many texels wide and high."""

SEGMENT_BYTES = 4 << 20
"""Size of a chunk of a picture, over which steps are gathered before they are written."""


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

    @property
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
    plans = [PicturePlan(layout, 0, steps) for layout in layouts]
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


@dataclass(frozen=True)
class Slab:
    """The part of a picture that one block of leading indices covers, at the base level."""

    plan: PicturePlan
    start: int
    stop: int

    @property
    def elements(self) -> int:
        """Number of elements of the block."""
        layout = self.plan.layout
        leading = layout.shape[layout.leading_axis] if layout.shape else 1
        return layout.elements // leading * (self.stop - self.start)

    @cached_property
    def bounds(self) -> tuple[int, int, int, int]:
        """(row, row end, column, column end) at level 0."""
        return self.plan.layout.slab(self.start, self.stop)

    @property
    def window(self) -> tuple[slice, slice]:
        """Where the slab lies in the picture at the base level."""
        base = self.plan.base
        row, row_end, col, col_end = self.bounds
        return slice(row >> base, -(-row_end >> base)), slice(col >> base, -(-col_end >> base))

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) at the base level."""
        rows, cols = self.window
        return rows.stop - rows.start, cols.stop - cols.start


def segment_steps(steps: int, texels: int) -> int:
    """Return how many steps of a slab make up one chunk."""
    most = max(1, min(steps, SEGMENT_BYTES // max(1, 4 * texels)))
    return -(-steps // -(-steps // most))  # alike, or the last chunk is all padding


def chunk_of(slab: Slab) -> tuple[int, int, int]:
    """Return the shape of a chunk: some steps of a large slab, or several small slabs.

    Args:
        slab: The first slab of its picture, and the largest.
    """
    rows, cols = slab.size
    steps = segment_steps(slab.plan.steps, rows * cols)
    if steps < slab.plan.steps or not rows * cols:
        return steps, rows, cols
    full_rows, full_cols = slab.plan.size(slab.plan.base)
    most = max(1, SEGMENT_BYTES // (4 * steps * rows * cols))
    down, across = -(-full_rows // rows), -(-full_cols // cols)
    slabs = max(down, across)
    gathered = -(-slabs // -(-slabs // most))
    return (steps, rows * gathered, cols) if down > 1 else (steps, rows, cols * gathered)


def pyramid_levels(plan: PicturePlan) -> Iterator[int]:
    """Yield the levels that are pooled from the base."""
    yield from plan.levels[1:]
