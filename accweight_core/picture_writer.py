"""Writing one picture while its tiles come in, and the coarser levels once all of them have.

What a killed process leaves of a picture is thrown away as a whole (`Store.sweep`), so files
are written under their names at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np

from accweight_core import chunks
from accweight_core.chunks import ChunkedArray
from accweight_core.drawing import halved
from accweight_core.pictures import Picture, chunk_of, pyramid_levels, segment_steps
from accweight_core.store import Store, picture_name
from accweight_core.tile import Tile
from accweight_core.tiling import Tiling


class PictureWriter:
    """One picture while its tiles come in, from any thread.

    Small tiles are gathered until a chunk is whole: files are dear, texels are not.
    """

    def __init__(self, store: Store, index: int, tiling: Tiling) -> None:
        """Make the empty base level of a picture, in chunks that suit a tiling.

        Args:
            store: Where it goes.
            index: The parameter.
            tiling: How it is cut when blocks have their usual size, so that what is stored does
                not depend on theirs.
        """
        self._store = store
        self._index = index
        self._plan = store.header.plan(index)
        self._level = tiling.level
        chunks.create_plain_group(store.path / "pictures" / f"{index:06d}")
        chunk = chunk_of(tiling, self._plan.steps)
        self._planes = [
            self._created(self._plan.base, plane, chunk)
            for plane in (("mean", "max") if self._plan.base else ("mean",))
        ]
        self._counts = np.zeros(self._planes[0].shape[1:], np.float32)
        self._open: dict[tuple[int, int, int], tuple[list[Picture], int]] = {}
        self._lock = Lock()
        self._unclaimed: Counter[tuple[int, int]] = Counter()
        for tile in tiling.empty():
            for window, _ in tile.windows(self._level):
                for (row, col), (rows, cols) in self._touched(window):
                    self._unclaimed[row, col] += len(rows) * len(cols)

    @property
    def segment(self) -> int:
        """Steps in a chunk."""
        return self._planes[0].chunk[0]

    def write(self, tile: Tile, first_step: int, planes: Sequence[Picture]) -> None:
        """Take some steps of one tile; writes the chunks that they make whole."""
        for window, (down, across) in tile.windows(self._level):
            for (row, col), (rows, cols) in self._touched(window):
                top = down.start + rows.start - window[0].start
                left = across.start + cols.start - window[1].start
                parts = [p[:, top : top + len(rows), left : left + len(cols)] for p in planes]
                self._take((first_step, row, col), rows, cols, parts)

    def _touched(
        self, window: tuple[slice, slice]
    ) -> Iterator[tuple[tuple[int, int], tuple[range, range]]]:
        """Yield where each chunk that a window touches begins, and what it holds of it."""
        (high, broad), (rows, cols) = self._planes[0].chunk[1:], window
        for row in range(rows.start // high * high, rows.stop, high):
            for col in range(cols.start // broad * broad, cols.stop, broad):
                yield (
                    (row, col),
                    (
                        range(max(row, rows.start), min(row + high, rows.stop)),
                        range(max(col, cols.start), min(col + broad, cols.stop)),
                    ),
                )

    def _take(
        self, place: tuple[int, int, int], rows: range, cols: range, parts: Sequence[Picture]
    ) -> None:
        """Take what a tile holds of one chunk."""
        array = self._planes[0]
        shape = tuple(
            min(c, full - s) for c, full, s in zip(array.chunk, array.shape, place, strict=True)
        )
        if parts[0].shape == shape:
            self._write_chunk(place, parts)
            return
        with self._lock:
            missing = math.prod(shape) - len(parts[0]) * self._unclaimed[place[1], place[2]]
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

    def _write_chunk(self, place: tuple[int, int, int], planes: Sequence[Picture]) -> None:
        for array, values in zip(self._planes, planes, strict=True):
            array.write(place, values, chunks.write_new)

    def add_counts(self, tile: Tile, counts: Picture) -> None:
        """Note how many elements each texel of a tile stands for."""
        for there, here in tile.windows(self._level):
            self._counts[there] = counts[here]

    def finish(self) -> None:
        """Write the coarser levels; every tile has been drawn."""
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
            planes[0].write((steps.start, 0, 0), mean, chunks.write_new)
            planes[1].write((steps.start, 0, 0), largest, chunks.write_new)

    def _created(self, level: int, plane: str, chunk: tuple[int, int, int]) -> ChunkedArray:
        """Make the empty array of one level."""
        path = self._store.path / "pictures" / picture_name(self._index, level, plane)
        shape = self._plan.steps, *self._plan.size(level)
        return ChunkedArray(path, shape, chunk).create(chunks.write_new)
