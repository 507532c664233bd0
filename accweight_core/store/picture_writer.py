"""Write the base level of a picture from its tiles, then the coarser levels.

Unfinished pictures of a killed process are removed (`sweep`), so files are written in place,
without a rename.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np

from accweight_core.pictures.canvas import halved
from accweight_core.pictures.plan import Picture, chunk_of, pyramid_levels, segment_steps
from accweight_core.pictures.tile import Tile
from accweight_core.pictures.tiling import Tiling
from accweight_core.store.chunk_grid import ChunkGrid, Place
from accweight_core.store.groups import create_plain_group
from accweight_core.store.part import Part
from accweight_core.store.stored_pictures import picture_name
from accweight_core.store.zarr_chunks import ChunkedArray


class PictureWriter:
    """Writes one picture from tiles that arrive in any order, from any thread.

    Small tiles are collected until a chunk is complete, as files cost more than memory.
    """

    def __init__(self, store: Part, index: int, tiling: Tiling) -> None:
        """Create the empty base level of a picture, with chunks that fit a tiling.

        Args:
            store: The store to write to.
            index: Index of the parameter.
            tiling: The tiling for the default block size, so that the stored chunks do not depend
                on the block size in use.
        """
        self._store = store
        self._index = index
        self._plan = store.header.plan(index)
        self._level = tiling.level
        create_plain_group(store.path / "pictures" / f"{index:06d}", store.write)
        chunk = chunk_of(tiling, self._plan.steps)
        self._planes = [
            self._created(self._plan.base, plane, chunk)
            for plane in (("mean", "max") if self._plan.base else ("mean",))
        ]
        self._counts = np.zeros(self._planes[0].shape[1:], np.float32)
        self._open: dict[Place, tuple[list[Picture], int]] = {}
        self._lock = Lock()
        self.grid = ChunkGrid(tiling, self._planes[0].chunk, self._planes[0].shape)

    @property
    def segment(self) -> int:
        """Steps in a chunk."""
        return self._planes[0].chunk[0]

    def write(self, tile: Tile, first_step: int, planes: Sequence[Picture]) -> None:
        """Add some steps of one tile, and write the chunks that become complete."""
        for window, (down, across) in tile.windows(self._level):
            for (row, col), (rows, cols) in self.grid.touched(window):
                top = down.start + rows.start - window[0].start
                left = across.start + cols.start - window[1].start
                parts = [p[:, top : top + len(rows), left : left + len(cols)] for p in planes]
                self.take((first_step, row, col), rows, cols, parts)

    def take(self, place: Place, rows: range, cols: range, parts: Sequence[Picture]) -> None:
        """Add the part of a tile that overlaps one chunk."""
        shape = self.grid.shape_at(place)
        if parts[0].shape == shape:
            self._write_chunk(place, parts)
            return
        with self._lock:
            missing = len(parts[0]) * self.grid.texels(place[1], place[2])
            whole, missing = self._open.pop(place, (None, missing))
            whole = whole or [np.full(shape, np.nan, np.float32) for _ in parts]
            inside = (
                slice(rows.start - place[1], rows.stop - place[1]),
                slice(cols.start - place[2], cols.stop - place[2]),
            )
            for target, part in zip(whole, parts, strict=True):
                target[:, *inside] = part
            missing -= parts[0].size
            if missing:
                self._open[place] = whole, missing
                return
        self._write_chunk(place, whole)

    def _write_chunk(self, place: Place, planes: Sequence[Picture]) -> None:
        for array, values in zip(self._planes, planes, strict=True):
            array.write(place, values, self._store.write)

    def holds_all(self, places: Iterable[tuple[int, int]]) -> bool:
        """Tell whether the chunks at some rows and columns are on disk for all steps."""
        starts = [(step, *place) for place in places for step in self.grid.steps()]
        return all(plane.holds(start) for plane in self._planes for start in starts)

    def add_counts(self, tile: Tile, counts: Picture) -> None:
        """Store how many elements each texel of a tile represents."""
        for there, here in tile.windows(self._level):
            self._counts[there] = counts[here]

    def finish(self) -> None:
        """Write the coarser levels; call it when all tiles are written."""
        plan = self._plan
        levels = list(pyramid_levels(plan))
        if not levels:
            return
        segment = segment_steps(plan.steps, math.prod(plan.size(levels[0])))
        arrays = [
            [self._created(level, plane, (segment, *plan.size(level))) for plane in ("mean", "max")]
            for level in levels
        ]
        for start in range(0, plan.steps, segment):
            self._pool_steps(slice(start, min(start + segment, plan.steps)), arrays)

    def _pool_steps(self, steps: slice, arrays: list[list[ChunkedArray]]) -> None:
        base, counts = self._plan.base, self._counts
        mean = self._store.picture(self._index, base, "mean", steps)
        largest = self._store.picture(self._index, base, "max", steps) if base else mean
        for planes in arrays:
            mean, largest, counts = halved(mean, largest, counts)
            planes[0].write((steps.start, 0, 0), mean, self._store.write)
            planes[1].write((steps.start, 0, 0), largest, self._store.write)

    def _created(self, level: int, plane: str, chunk: tuple[int, int, int]) -> ChunkedArray:
        """Create the empty array of one level."""
        path = self._store.path / "pictures" / picture_name(self._index, level, plane)
        shape = self._plan.steps, *self._plan.size(level)
        return ChunkedArray(path, shape, chunk).create(self._store.write)
