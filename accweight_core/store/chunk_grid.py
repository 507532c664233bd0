"""The chunk grid of a picture: which chunks a tile overlaps, and how many texels fill each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from accweight_core.pictures.tile import Window
from accweight_core.pictures.tiling import Tiling

Place = tuple[int, int, int]
"""First step, row and column of a chunk."""


class ChunkGrid:
    """The chunks of the base level of one picture, and the texels that tiles fill in each."""

    def __init__(self, tiling: Tiling, chunk: tuple[int, ...], shape: tuple[int, ...]) -> None:
        """Create the grid.

        Args:
            tiling: How the parameter is divided into tiles.
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
        """Yield the first row and column of each chunk that a window overlaps, and the overlap."""
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
        """Return (steps, rows, columns) of the chunk at `place`, clipped at the edges."""
        return tuple(
            min(length, full - first)
            for length, full, first in zip(self._chunk, self._shape, place, strict=True)
        )

    def texels(self, row: int, col: int) -> int:
        """Return how many texels of a chunk the tiles fill at one step."""
        _, rows, cols = self.shape_at((0, row, col))
        return rows * cols - self._unclaimed[row, col]

    def steps(self) -> range:
        """Return the steps at which chunks begin."""
        return range(0, self._shape[0], self._chunk[0])
