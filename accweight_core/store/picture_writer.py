"""Write a picture from its tiles: the finest level as it is drawn, the coarser ones pooled from it.

A picture that takes little memory is drawn as a whole, and its levels are written together; of a
large one the finest level is written in chunks. While weights are walked, another thread pools and
writes (`Part.write_later`). Unfinished pictures of a killed process are removed (`sweep`), so files
are written in place, without a rename.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from threading import Lock
from typing import Protocol

import numpy as np

from accweight_core.pictures.plan import Picture, chunk_of, segment_steps
from accweight_core.pictures.pyramid import Pyramid, planes_of
from accweight_core.pictures.tile import Tile
from accweight_core.pictures.tiling import Tiling
from accweight_core.store.arrays import ATTRIBUTE
from accweight_core.store.chunk_grid import ChunkGrid, Place
from accweight_core.store.groups import create_plain_group
from accweight_core.store.part import Part
from accweight_core.store.stored_pictures import coarser_name, picture_name, pyramid_name
from accweight_core.store.zarr_chunks import ChunkedArray

WHOLE: Place = (0, 0, 0)
"""Place of the only chunk of a picture that is drawn as a whole."""


class PictureWriter:
    """Writes one picture from tiles that arrive in any order, from any thread.

    Small tiles are collected until a chunk is complete, as files cost more than memory.
    """

    def __init__(self, store: Part, index: int, tiling: Tiling) -> None:
        """Create the empty arrays of a picture, with chunks that fit a tiling.

        Args:
            store: The store to write to.
            index: Index of the parameter.
            tiling: The tiling for the default block size, so that the stored chunks do not depend
                on the block size in use.
        """
        self._plan = plan = store.header.plan(index)
        self._level = tiling.level
        self._levels: _Levels = (
            _Together(store, index) if plan.is_drawn_whole else _Apart(store, index, tiling)
        )
        self._counts = np.zeros(plan.size(plan.base), np.float32)
        self._open: dict[Place, tuple[Sequence[Picture], int]] = {}  # and their missing texels
        self._lock = Lock()
        self.grid = ChunkGrid(tiling, self._levels.chunk, (plan.steps, *plan.size(plan.base)))

    @property
    def segment(self) -> int:
        """Steps in a chunk."""
        return self._levels.chunk[0]

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
        if parts[0].shape == self.grid.shape_at(place):
            self._levels.write(place, parts, self._counts)
            return
        inside = (
            slice(rows.start - place[1], rows.stop - place[1]),
            slice(cols.start - place[2], cols.stop - place[2]),
        )
        with self._lock:
            for target, part in zip(self._begun(place), parts, strict=True):
                target[:, *inside] = part
        self._fill(place, parts[0].size)

    def room(self, tile: Tile) -> Sequence[Picture] | None:
        """Return where all steps of a tile can be drawn in place; then call `drawn`.

        None if it has to be drawn elsewhere, for `write`.
        """
        if not self._plan.is_drawn_whole or len(tile.rows) * len(tile.cols) > 1:
            return None
        with self._lock:
            planes = self._begun(WHOLE)
        [(there, _)] = tile.windows(self._level)
        return [plane[:, *there] for plane in planes]

    def drawn(self, tile: Tile, first_step: int, planes: Sequence[Picture]) -> None:
        """Take note that a tile was drawn in its room."""
        self._fill(WHOLE, planes[0].size)

    def _begun(self, place: Place) -> Sequence[Picture]:
        """Return the planes of an incomplete chunk; the lock is held."""
        if place not in self._open:
            steps, *_ = shape = self.grid.shape_at(place)
            missing = steps * self.grid.texels(place[1], place[2])
            room = self._levels.room(shape)
            if missing < math.prod(shape):  # the rest belongs to no tile
                for plane in room:
                    plane.fill(np.nan)
            self._open[place] = room, missing
        return self._open[place][0]

    def _fill(self, place: Place, texels: int) -> None:
        """Write a chunk once all its texels are there."""
        with self._lock:
            planes, missing = self._open[place]
            self._open[place] = planes, missing - texels
            if missing > texels:
                return
            del self._open[place]
        self._levels.write(place, planes, self._counts)

    def holds_all(self, places: Iterable[tuple[int, int]]) -> bool:
        """Tell whether the chunks at some rows and columns are on disk for all steps."""
        return all(
            self._levels.holds((step, *place)) for place in places for step in self.grid.steps()
        )

    def add_counts(self, tile: Tile, counts: Picture) -> None:
        """Store how many elements each texel of a tile represents; call it before `write`."""
        for there, here in tile.windows(self._level):
            self._counts[there] = counts[here]

    def finish(self) -> None:
        """Write the coarser levels that are not yet there; call it when all tiles are written."""
        self._levels.finish(self._counts)


class _Levels(Protocol):
    """How the levels of a picture are stored.

    Attributes:
        chunk: (steps, rows, columns) of the finest level that are written together.
    """

    chunk: tuple[int, int, int]

    def room(self, shape: tuple[int, ...]) -> Sequence[Picture]:
        """Return where the planes of a chunk can be gathered; their values are undefined."""

    def write(self, place: Place, planes: Sequence[Picture], counts: Picture) -> None:
        """Write a complete chunk."""

    def holds(self, place: Place) -> bool:
        """Tell whether a chunk is on disk."""

    def finish(self, counts: Picture) -> None:
        """Write the coarser levels."""


class _Together:
    """All levels in one array, written at once."""

    def __init__(self, store: Part, index: int) -> None:
        self._store = store
        self._index = index
        plan = store.header.plan(index)
        self._pyramid = Pyramid(plan, plan.levels)
        self._sheet: Picture | None = None
        self.chunk = (plan.steps, *plan.size(plan.base))
        shape = plan.steps, self._pyramid.texels
        self._array = ChunkedArray(store.path / pyramid_name(index), shape, shape)

    def room(self, shape: tuple[int, ...]) -> Sequence[Picture]:
        self._sheet = np.empty(self._array.shape, np.float32)
        return self._planes(self._sheet)

    def _planes(self, sheet: Picture) -> list[Picture]:
        """Return the planes of the finest level."""
        base = self._pyramid.levels.start
        return [plane.of(sheet) for plane in self._pyramid.planes if plane.level == base]

    def write(self, place: Place, planes: Sequence[Picture], counts: Picture) -> None:
        sheet = self._sheet
        if sheet is None:
            sheet = np.empty(self._array.shape, np.float32)
            for target, plane in zip(self._planes(sheet), planes, strict=True):
                target[...] = plane
        self._store.write_later(sheet.nbytes, partial(self._write, sheet, counts))
        self._sheet = None

    def _write(self, sheet: Picture, counts: Picture) -> None:
        self._pyramid.pool(sheet, counts)
        _create(self._array, self._store, self._index, self._pyramid)
        self._array.write((0, 0), sheet, self._store.write)

    def holds(self, place: Place) -> bool:
        return self._array.holds((0, 0))

    def finish(self, counts: Picture) -> None:
        pass


class _Apart:
    """Every plane of the finest level in an array of its own, all coarser ones in another."""

    def __init__(self, store: Part, index: int, tiling: Tiling) -> None:
        self._store = store
        self._index = index
        self._plan = plan = store.header.plan(index)
        self.chunk = chunk_of(tiling, plan.steps)
        shape = plan.steps, *plan.size(plan.base)
        self._planes = [
            ChunkedArray(store.path / picture_name(index, plan.base, plane), shape, self.chunk)
            for plane in planes_of(plan.base)
        ]
        create_plain_group(store.path / pyramid_name(index), store.write)
        for plane in self._planes:
            plane.create(store.write)

    def room(self, shape: tuple[int, ...]) -> Sequence[Picture]:
        return [np.empty(shape, np.float32) for _ in self._planes]

    def write(self, place: Place, planes: Sequence[Picture], counts: Picture) -> None:
        size_bytes = sum(values.nbytes for values in planes)
        self._store.write_later(size_bytes, partial(self._write, place, planes))

    def _write(self, place: Place, planes: Sequence[Picture]) -> None:
        for array, values in zip(self._planes, planes, strict=True):
            array.write(place, values, self._store.write)

    def holds(self, place: Place) -> bool:
        return all(plane.holds(place) for plane in self._planes)

    def finish(self, counts: Picture) -> None:
        plan, steps, store = self._plan, self._plan.steps, self._store
        coarser = Pyramid(plan, plan.levels[1:])
        if not coarser.texels:
            return
        store.wait_for_writes()  # the finest level is read again
        many = segment_steps(steps, coarser.texels)
        path, chunk = store.path / coarser_name(self._index), (many, coarser.texels)
        array = ChunkedArray(path, (steps, coarser.texels), chunk)
        _create(array, store, self._index, coarser)
        whole = Pyramid(plan, plan.levels)
        for start in range(0, steps, many):
            stop = min(start + many, steps)
            sheet = np.empty((stop - start, whole.texels), np.float32)
            for plane, stored in zip(whole.planes, self._planes, strict=False):
                plane.of(sheet)[...] = stored[start:stop]
            whole.pool(sheet, counts)
            part = sheet[:, -coarser.texels :]
            store.write_later(sheet.nbytes, partial(array.write, (start, 0), part, store.write))


def _create(array: ChunkedArray, store: Part, index: int, pyramid: Pyramid) -> None:
    """Create the empty array of several levels."""
    said = pyramid.attributes(index, store.header.parameters[index].name)
    array.create(store.write, {ATTRIBUTE: said})
