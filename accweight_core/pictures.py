"""Pictures of cumulative change, drawn band by band while the weights stream past.

A picture is drawn at its base level: one texel per element for small runs, the mean and the
maximum of squares of texels where that would not fit the byte budget. Bands are cut so that
no square crosses into the next (`Layout.band_alignment`), so every texel is finished by the
one block that owns it, whatever the order of blocks. Coarser levels are pooled afterwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from accweight_core.fused import pool
from accweight_core.layout import Layout

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


def segment_steps(steps: int, texels: int) -> int:
    """Return how many steps of a slab make up one chunk."""
    most = max(1, min(steps, SEGMENT_BYTES // max(1, 4 * texels)))
    return -(-steps // -(-steps // most))  # alike, or the last chunk is all padding


def halved(mean: Picture, largest: Picture, counts: Picture) -> tuple[Picture, Picture, Picture]:
    """Return the next coarser level of one picture.

    Args:
        mean: Mean per texel, NaN where there is no element.
        largest: Maximum per texel.
        counts: Elements per texel.

    Returns:
        Mean (weighted by counts), maximum and counts of squares of 2x2 texels.
    """
    padding = [(0, length % 2) for length in counts.shape]
    size = tuple((length + 1) // 2 for length in counts.shape)
    total, top, number, unused = (np.empty(size, np.float32) for _ in range(4))
    pool(np.pad(np.nan_to_num(mean * counts), padding), 2, total, unused)
    pool(np.pad(np.nan_to_num(largest), padding), 2, unused, top)
    pool(np.pad(counts, padding), 2, number, unused)
    empty = number == 0
    with np.errstate(invalid="ignore"):
        np.divide(total, number, out=total)
    top[empty] = np.nan
    return total, top, number


def pyramid_levels(plan: PicturePlan) -> Iterator[int]:
    """Yield the levels that are pooled from the base."""
    yield from plan.levels[1:]
