"""The cache of tiles and steps in texture memory.

The texture is a grid of cells of the size of a tile, in as many layers as there are *frames*. A
tile has one cell; its frame f holds one of the steps f, f + frames, ... With one frame per step,
changing the step needs no upload. With more steps than fit, the frames are a window around the
current step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_viewer.model.texture_tiles import TILE, TextureTile

TEXEL_BYTES = 2
CELL_BYTES = TILE * TILE * TEXEL_BYTES

MOST_FRAMES = 2048
"""Most layers: every OpenGL 3.3 implementation has 256; common ones have 2048."""

MOST_SIDE = 128
"""Most cells along each side of the grid: 8192 texels, which all common cards support."""

LEAST_CELLS = 1024
"""Cells that take precedence over further frames: a window full of tiles and the next ones."""

BATCH = 16
"""Steps of one tile loaded at a time; few, so that the next step of others comes soon."""


@dataclass(frozen=True)
class TileRequest:
    """Steps of a tile to load: positions from `first` to `stop` (exclusive)."""

    tile: TextureTile
    first: int
    stop: int


@dataclass(frozen=True)
class Grid:
    """The division of the texture.

    Attributes:
        side: Cells along each side.
        frames: Number of layers.
    """

    side: int
    frames: int

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.side * self.side

    @property
    def size_bytes(self) -> int:
        """Bytes of graphics memory."""
        return self.cells * self.frames * CELL_BYTES


def grid_for(budget_bytes: int, tiles: int, steps: int, most_frames: int = MOST_FRAMES) -> Grid:
    """Return the grid for a budget.

    Args:
        budget_bytes: Most bytes of graphics memory.
        tiles: Tiles of all pictures; the grid has no more cells.
        steps: Steps of the run; the grid has no more frames.
        most_frames: Layers that the graphics card supports.
    """
    wanted = max(1, math.ceil(math.sqrt(min(tiles, LEAST_CELLS))))
    frames = min(steps, most_frames, max(2, budget_bytes // (wanted * wanted * CELL_BYTES)))
    affordable = math.isqrt(budget_bytes // (max(frames, 1) * CELL_BYTES))
    side = min(math.ceil(math.sqrt(tiles)), affordable, MOST_SIDE)
    return Grid(max(side, 1), max(frames, 1))


class Residency:
    """The tiles in memory; the least recently used ones are evicted.

    Attributes:
        grid: The division of the texture.
        steps: Number of steps of the run.
        admitted: Number of tiles that have been given a cell so far.
    """

    def __init__(self, grid: Grid, steps: int) -> None:
        self.grid = grid
        self.steps = steps
        self.admitted = 0
        self._cell: dict[TextureTile, int] = {}
        self._tile: list[TextureTile | None] = [None] * grid.cells
        self._held = np.full((grid.cells, grid.frames), -1, dtype=np.int64)
        self._needed_at = np.zeros(grid.cells, dtype=np.int64)
        self._clock = 0
        self._free = list(range(grid.cells - 1, -1, -1))

    def __contains__(self, tile: object) -> bool:
        """Tell whether a tile has a cell."""
        return tile in self._cell

    def cell(self, tile: TextureTile) -> int | None:
        """Return the cell of a tile, or None."""
        return self._cell.get(tile)

    def place(self, cell: int) -> tuple[int, int]:
        """Return (x, y) of the first texel of a cell."""
        row, col = divmod(cell, self.grid.side)
        return col * TILE, row * TILE

    def keep(self, tiles: Iterable[TextureTile]) -> None:
        """Mark tiles as in use, so that they are not evicted."""
        self._clock += 1
        cells = [self._cell[tile] for tile in tiles if tile in self._cell]
        self._needed_at[cells] = self._clock

    def admit(self, tile: TextureTile) -> int | None:
        """Return the cell of a tile, evicting another if necessary; None if all are in use."""
        cell = self._cell.get(tile)
        if cell is not None:
            return cell
        if self._free:
            cell = self._free.pop()
        else:
            cell = int(self._needed_at.argmin())
            if self._needed_at[cell] >= self._clock:
                return None
            evicted = self._tile[cell]
            if evicted is not None:
                del self._cell[evicted]
        self._cell[tile], self._tile[cell] = cell, tile
        self.admitted += 1
        self._held[cell] = -1
        self._needed_at[cell] = self._clock
        return cell

    def hold(self, cell: int, first: int, stop: int) -> None:
        """Record that the frames of a cell hold the positions from `first` to `stop`."""
        positions = np.arange(first, stop)
        self._held[cell, positions % self.grid.frames] = positions

    def frames_of(self, tiles: Sequence[TextureTile], position: int) -> npt.NDArray[np.int64]:
        """Return the frame to draw of each tile: that of the position, or the nearest loaded."""
        cells = [self._cell[tile] for tile in tiles]
        if not cells:
            return np.zeros(0, dtype=np.int64)
        held = self._held[cells]
        apart = np.where(held >= 0, np.abs(held - position), np.iinfo(np.int64).max)
        nearest: npt.NDArray[np.int64] = apart.argmin(axis=1)
        return nearest

    def window(self, position: int) -> range:
        """Return the positions that the frames should hold at `position`."""
        frames = self.grid.frames
        if frames >= self.steps:
            return range(self.steps)
        behind = frames // 4
        first = min(max(position - behind, 0), self.steps - frames)
        return range(first, first + frames)

    def missing(self, tile: TextureTile, position: int) -> list[TileRequest]:
        """Return the missing steps of a tile, the position and the following ones first."""
        window = self.window(position)
        cell = self._cell.get(tile)
        if cell is None:
            absent = np.ones(len(window), dtype=bool)
        else:
            at = np.arange(window.start, window.stop)
            absent = self._held[cell, at % self.grid.frames] != at
        if not absent.any():
            return []
        return [
            TileRequest(tile, first, stop)
            for first, stop in _stretches(absent, window.start, position, self.grid.frames)
        ]


def _stretches(
    absent: npt.NDArray[np.bool_], start: int, position: int, frames: int
) -> list[tuple[int, int]]:
    """Return ranges of missing positions, of at most `BATCH`, those from `position` on first.

    A range ends where the frames wrap around, so that it is contiguous in memory.
    """
    runs: list[tuple[int, int]] = []
    first: int | None = None
    for offset, gone in enumerate(absent):
        at = start + offset
        if first is not None and (
            not gone or at - first >= BATCH or at % frames == 0 or at == position
        ):
            runs.append((first, at))
            first = None
        if gone and first is None:
            first = at
    if first is not None:
        runs.append((first, start + len(absent)))
    return sorted(runs, key=lambda run: (run[1] <= position, abs(run[0] - position)))
