"""Draw pictures tile by tile during the walk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from accweight_core.accumulate.watching import Room, Squares
from accweight_core.jit.tiers import place, pool
from accweight_core.metrics.sub_blocks import SUB_BLOCK
from accweight_core.pictures.plan import Picture, PicturePlan
from accweight_core.pictures.texel_map import Layout
from accweight_core.pictures.tile import KERNEL_PITCH, Tile

SHORT = 5
"""Longest last axis that is copied one place at a time."""

Emit = Callable[[int, Sequence[Picture]], None]
"""Called as ``emit(first_step, planes)`` with (steps, rows, cols) arrays: one plane at level 0,
mean and maximum at coarser levels. They are not drawn on any more."""


class TileCanvas:
    """Draws A_t of one tile, step by step, and emits the steps of a chunk together."""

    def __init__(
        self,
        plan: PicturePlan,
        tile: Tile,
        segment: int,
        emit: Emit,
        room: Sequence[Picture] | None = None,
    ) -> None:
        """Allocate the sheet.

        Args:
            plan: Plan of the picture.
            tile: The tile.
            segment: Steps to gather per chunk.
            emit: Takes finished chunks.
            room: Where to gather them, (segment, rows, columns) per plane.
        """
        self._plan = plan
        self._segment = segment
        self._emit = emit
        planes, shape = 2 if plan.base else 1, (segment, *tile.size(plan.base))
        self._planes = room or list(np.empty((planes, *shape), np.float32))
        self._tile = tile
        self.counts, is_full = self._count(tile)
        self._empty = None if is_full else self.counts == 0
        self.squares = self._squares(tile)

    def _squares(self, tile: Tile) -> Squares | None:
        """Return how A_t may be pooled before it is drawn."""
        side, steps, lines, inputs = 1 << self._plan.base, self._plan.steps, tile.lines, 0
        if is_pooled_by_kernels(tile, self._plan.base) and tile.kernels:
            outputs, inputs = tile.kernels
            lines = KERNEL_PITCH * inputs - 1, KERNEL_PITCH * outputs - 1
        if not lines or not self._plan.base:
            return None
        rows, cols = (-(-length // side) for length in lines)
        room = None
        if self._segment >= steps:
            room = Room.of(*(plane[:steps, :rows, :cols] for plane in self._planes))
        return Squares(side, *lines, self.counts[:rows, :cols], room, inputs)

    @cached_property
    def _sheet(self) -> _Sheet:
        """Where elements that are not in the order of texels are placed."""
        return _Sheet(self._tile, self._plan.base)

    def draw(self, step: int, path: Picture) -> None:
        """Draw A_t of the tile, flat, in element order."""
        sheet = self._placed(path)
        if self._plan.base:
            sums, tops = self._pooled(sheet)
            with np.errstate(invalid="ignore"):
                np.divide(sums, self.counts[: len(sums), : sums.shape[1]], out=sums)
            self._put(step, sums[None], tops[None])
        else:
            self._put(step, sheet[None])
        self._advance(step, 1)

    def draw_pooled(self, step: int, means: Picture, tops: Picture) -> None:
        """Draw squares of the tile at several steps, if they are not in their room already.

        Args:
            step: The first step.
            means: (steps, rows, columns), means over the squares.
            tops: Likewise, maxima.
        """
        is_there, done = self.squares is not None and self.squares.room is not None, 0
        while done < len(means):
            end = min(len(means), done + self._segment - (step + done) % self._segment)
            if not is_there:
                self._put(step + done, means[done:end], tops[done:end])
            self._advance(step + done, end - done)
            done = end

    def _put(self, step: int, *values: Picture) -> None:
        """Put steps of one chunk into its planes."""
        slot, (steps, rows, cols) = step % self._segment, values[0].shape
        for plane, shown in zip(self._planes, values, strict=True):
            plane[slot : slot + steps, :rows, :cols] = shown

    def _pooled(self, sheet: Picture) -> tuple[Picture, Picture]:
        side = 1 << self._plan.base
        shape = -(-sheet.shape[0] // side), -(-sheet.shape[1] // side)
        sums, tops = (np.empty(shape, np.float32) for _ in range(2))
        pool(sheet, side, sums, tops)
        return sums, tops

    def _advance(self, step: int, steps: int) -> None:
        """Emit the gathered steps at the end of a chunk or of the run, NaN without an element."""
        slot = step % self._segment
        end = slot + steps
        if self._empty is not None:
            for plane in self._planes:
                np.copyto(plane[slot:end], np.nan, where=self._empty)
        if end == self._segment or step + steps == self._plan.steps:
            self._emit(step - slot, [plane[:end] for plane in self._planes])
            if step + steps < self._plan.steps:  # what was emitted may be written later
                self._planes = [np.empty_like(plane) for plane in self._planes]

    def _placed(self, path: Picture) -> Picture:
        """Return the sheet with every element at its texel; a view if they are in that order."""
        return path.reshape(self._tile.lines) if self._tile.lines else self._sheet.placed(path)

    def _count(self, tile: Tile) -> tuple[Picture, bool]:
        """Return the number of elements per texel of the base level, and whether all have some."""
        if tile.is_complete:
            down, across = (n.astype(np.float32) for n in tile.filled(self._plan.base))
            return np.multiply.outer(down, across), bool(down.all() and across.all())
        counts = np.zeros(tile.size(self._plan.base), np.float32)
        found, _ = self._pooled(self._placed(np.ones(tile.elements, np.float32)))
        counts[: found.shape[0], : found.shape[1]] = found
        if not tile.lines:
            del self._sheet  # its gaps are zeros
        return counts, bool(counts.all())


class _Sheet:
    """A sheet on which the elements of a tile are placed; 0 in gaps.

    That changes neither the sum nor the maximum of a square.
    """

    def __init__(self, tile: Tile, level: int) -> None:
        rows, cols = tile.size(level)
        self._texels = np.zeros((rows << level, cols << level), np.float32)
        self._view = tile.view(self._texels, level)
        self._order = tile.order()
        self._places = tile.places(level) if self._view is None else None
        self._targets = tile.targets(level)

    def placed(self, path: Picture) -> Picture:
        """Return the sheet with every element at its texel."""
        if self._view is None:
            self._texels.reshape(-1)[self._places] = path
        elif not self._targets or not place(path, *self._targets, self._texels.reshape(-1)):
            _copy(path.reshape(self._view.shape), self._view, self._order)
        return self._texels


def is_pooled_at_once(tile: Tile, level: int) -> bool:
    """Tell whether A_t of a tile is pooled while its weights stream, and so nowhere kept."""
    return bool(level) and (tile.lines is not None or is_pooled_by_kernels(tile, level))


def is_pooled_by_kernels(tile: Tile, level: int) -> bool:
    """Tell whether squares hold whole kernels, and no strip of a walk a part of an output."""
    if tile.kernels is None or (1 << level) % KERNEL_PITCH:
        return False
    return 9 * tile.kernels[1] <= SUB_BLOCK


def _copy(values: Picture, view: Picture, order: Sequence[Any]) -> None:
    """Do ``view[order] = values``; twice as fast for kernels of a few weights side by side."""
    if not 1 < values.shape[-1] <= SHORT or order[-1] != slice(None):
        view[order] = values
        return
    for last in range(values.shape[-1]):
        view[*order[:-1], last] = values[..., last]


@dataclass(frozen=True)
class CanvasWatcher:
    """Draws what the walk of a tile reports.

    Attributes:
        canvas: The canvas of the tile.
    """

    canvas: TileCanvas

    @property
    def squares(self) -> Squares | None:
        """How A_t may be pooled before it is drawn."""
        return self.canvas.squares

    def __call__(self, step: int, path: Picture) -> None:
        """Draw A_t, unpooled."""
        self.canvas.draw(step, path)

    def pooled(self, first_step: int, means: Picture, tops: Picture) -> None:
        """Draw A_t at several steps, pooled."""
        self.canvas.draw_pooled(first_step, means, tops)


def counts_of(layout: Layout, level: int, tile: Tile) -> Picture:
    """Return the number of elements per texel of the sheet of a tile, at a level."""
    return TileCanvas(PicturePlan(layout, level, 1), tile, 1, lambda step, planes: None).counts
