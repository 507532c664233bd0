"""The grid of chunks of a picture: which chunks a tile touches, and how much makes each whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from accweight_core.pictures.tile import Window
from accweight_core.pictures.tiling import Tiling

Place = tuple[int, int, int]
"""First step, row and column of a chunk."""


class ChunkGrid:
    """How the base level of one picture is cut into chunks, and what tiles fill of them."""

    def __init__(self, tiling: Tiling, chunk: tuple[int, ...], shape: tuple[int, ...]) -> None:
        """Take the grid as it is.

        Args:
            tiling: How the parameter is cut into tiles.
            chunk: (steps, rows, columns) of a chunk.
            shape: (steps, rows, columns) of the picture.
        """
        self._chunk = chunk
        self._shape = shape
        self._unclaimed: Counter[tuple[int, int]] = Counter()
        for tile in tiling.empty():
            for window, _ in tile.windows(tiling.level):
                for place, (rows, cols) in self.touched(window):
                    self._unclaimed[place] += len(rows) * len(cols)

    def touched(self, window: Window) -> Iterator[tuple[tuple[int, int], tuple[range, range]]]:
        """Yield where each chunk that a window touches begins, and what it holds of it."""
        (high, broad), (rows, cols) = self._chunk[1:], window
        for row in range(rows.start // high * high, rows.stop, high):
            for col in range(cols.start // broad * broad, cols.stop, broad):
                yield (
                    (row, col),
                    (
                        range(max(row, rows.start), min(row + high, rows.stop)),
                        range(max(col, cols.start), min(col + broad, cols.stop)),
                    ),
                )

    def shape_at(self, place: Place) -> tuple[int, ...]:
        """Return (steps, rows, columns) of the chunk that begins there, cut off at the edges."""
        return tuple(
            min(length, full - first)
            for length, full, first in zip(self._chunk, self._shape, place, strict=True)
        )

    def texels(self, row: int, col: int) -> int:
        """Return how many texels, at one step, tiles bring to the chunk that begins there."""
        _, rows, cols = self.shape_at((0, row, col))
        return rows * cols - self._unclaimed[row, col]

    def steps(self) -> range:
        """Return the steps at which chunks begin."""
        return range(0, self._shape[0], self._chunk[0])
