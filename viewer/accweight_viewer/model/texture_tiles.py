"""Level of detail: which tiles of which pictures to draw for a camera.

Every picture is cut into tiles of 64 x 64 texels at each stored level: the coarsest level is one
tile, and each tile has up to four children with the same area at twice the resolution. A tile is
refined while its texels are larger on the screen than necessary and its children are loaded;
missing children are requested, most visible first. So the number of tiles depends on the size of
the window, not on that of the network.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.camera import FIELD_OF_VIEW, Camera
from accweight_viewer.model.plates import Plate

TILE = 64
"""Side of a tile; the coarsest level of every picture fits one tile."""

SHARP_PIXELS = 1.5
"""Size of texels, in pixels, up to which they are not refined."""

MOST_TILES = 1500
"""Most tiles drawn at a time; a window of two million pixels needs about half of that."""


class TextureTile(NamedTuple):
    """A tile of one level of one picture; row and column are in tiles."""

    plate: int
    level: int
    row: int
    col: int

    @property
    def parent(self) -> TextureTile:
        """The tile with the same area at half the resolution."""
        return TextureTile(self.plate, self.level + 1, self.row // 2, self.col // 2)

    def window(self, plate: Plate) -> tuple[slice, slice]:
        """Return its rows and columns in its level."""
        rows, cols = level_size(plate, self.level)
        return (
            slice(self.row * TILE, min((self.row + 1) * TILE, rows)),
            slice(self.col * TILE, min((self.col + 1) * TILE, cols)),
        )

    def extent(self, plate: Plate) -> tuple[float, float, float, float]:
        """Return top, bottom, left and right as shares of the plate."""
        rows, cols = level_size(plate, 0)
        side = TILE << self.level
        top, left = self.row * side, self.col * side
        bottom, right = min(top + side, rows), min(left + side, cols)
        return top / rows, bottom / rows, left / cols, right / cols


@dataclass(frozen=True)
class TilePlan:
    """The tiles to draw, and those to load.

    Attributes:
        drawn: Loaded tiles that cover what is loaded, without overlap.
        kept: Those, and loaded tiles that are needed but not drawn: refined ones, where the next
            plan starts, and ones that will be drawn once their neighbours are loaded.
        requested: Tiles to load, most visible first.
    """

    drawn: tuple[TextureTile, ...]
    kept: tuple[TextureTile, ...]
    requested: tuple[TextureTile, ...]


def level_size(plate: Plate, level: int) -> tuple[int, int]:
    """Return (rows, columns) of a level; (1, 1) for a plate without a stored picture."""
    return plate.plan.size(level)


def root(plate: Plate) -> TextureTile:
    """Return the tile of the whole picture."""
    return TextureTile(plate.number, plate.coarsest, 0, 0)


def children(tile: TextureTile, plate: Plate) -> list[TextureTile]:
    """Return the tiles with the same area at twice the resolution; none at the finest level."""
    if tile.level <= plate.finest:
        return []
    rows, cols = level_size(plate, tile.level - 1)
    return [
        TextureTile(tile.plate, tile.level - 1, row, col)
        for row in (2 * tile.row, 2 * tile.row + 1)
        for col in (2 * tile.col, 2 * tile.col + 1)
        if row * TILE < rows and col * TILE < cols
    ]


def planned(
    plates: Sequence[Plate],
    places: Arrangement,
    camera: Camera,
    viewport: tuple[float, float],
    loaded: Container[TextureTile],
    cells: int,
) -> TilePlan:
    """Return the tiles to draw and to load.

    Args:
        plates: Plates; those that are not ready have no tiles.
        places: Positions of the plates.
        camera: The camera.
        viewport: Width and height in pixels.
        loaded: Tiles in memory.
        cells: Capacity in tiles. Kept and requested tiles never exceed it: needed tiles would
            otherwise evict each other forever.
    """
    view = _View(camera, viewport)
    ready = [root(plate) for plate in plates if plate.ready]
    roots = view.most_visible(ready, cells, plates, places)
    front = [tile for tile in roots if tile in loaded]
    drawn: list[TextureTile] = []
    kept = list(front)
    requested: list[tuple[float, TextureTile]] = [
        (math.inf, tile) for tile in roots if tile not in loaded
    ]
    room, free = MOST_TILES - len(roots), cells - len(roots)
    while front:
        sizes = view.texel_pixels(front, plates, places)
        refined: list[TextureTile] = []
        for tile, pixels in sorted(zip(front, sizes, strict=True), key=lambda pair: -pair[1]):
            below = children(tile, plates[tile.plate]) if pixels > SHARP_PIXELS else []
            if not below or min(room, free) < len(below):
                drawn.append(tile)
                continue
            room, free = room - len(below) + 1, free - len(below)
            there = [child for child in below if child in loaded]
            kept += there
            if len(there) == len(below):
                refined += below
            else:
                drawn.append(tile)
                requested += [(pixels, child) for child in below if child not in loaded]
        front = refined
    requested.sort(key=lambda request: -request[0])
    return TilePlan(tuple(drawn), tuple(kept), tuple(tile for _, tile in requested))


class _View:
    """The visible part of the world, as plain numbers for many tiles at once."""

    def __init__(self, camera: Camera, viewport: tuple[float, float]) -> None:
        width, height = viewport
        self._focal = height / 2 / math.tan(FIELD_OF_VIEW / 2)
        self._position = np.asarray(camera.pose.position)
        self._axes = np.stack(camera.pose.axes)
        reach_y = math.tan(FIELD_OF_VIEW / 2)
        reach_x = reach_y * width / max(height, 1)
        self._slopes = (
            (reach_x, 1 / math.hypot(1, reach_x)),
            (reach_y, 1 / math.hypot(1, reach_y)),
        )

    def most_visible(
        self, tiles: list[TextureTile], most: int, plates: Sequence[Plate], places: Arrangement
    ) -> list[TextureTile]:
        """Return at most that many tiles: those with the largest texels, in their order."""
        if len(tiles) <= most:
            return tiles
        sizes = self.texel_pixels(tiles, plates, places)
        chosen = sorted(range(len(tiles)), key=lambda at: -sizes[at])[:most]
        return [tiles[at] for at in sorted(chosen)]

    def texel_pixels(
        self, tiles: Sequence[TextureTile], plates: Sequence[Plate], places: Arrangement
    ) -> list[float]:
        """Return the width in pixels of the texels of each tile; 0 if it is not visible."""
        numbers = [tile.plate for tile in tiles]
        extents = np.array([tile.extent(plates[tile.plate]) for tile in tiles])
        sizes, corners = places.sizes[numbers], places.corners[numbers]
        left, right = (corners[:, 0] + extents[:, side] * sizes[:, 0] for side in (2, 3))
        top, bottom = (corners[:, 1] - extents[:, side] * sizes[:, 1] for side in (0, 1))
        middle = np.stack([(left + right) / 2, (top + bottom) / 2, corners[:, 2]], axis=1)
        radius = np.hypot(right - left, top - bottom) / 2
        away = (middle - self._position) @ self._axes.T
        seen = away[:, 2] + radius > 0
        for across, (slope, cosine) in zip((0, 1), self._slopes, strict=True):
            outside = (np.abs(away[:, across]) - slope * away[:, 2]) * cosine
            seen &= outside < radius
        # the nearest point of the tile, which is perpendicular to z
        x, y, z = self._position
        gap = np.stack(
            [x - np.clip(x, left, right), y - np.clip(y, bottom, top), z - corners[:, 2]]
        )
        distance = np.maximum(np.sqrt((gap * gap).sum(axis=0)), 1e-6)
        levels = np.array([1 << tile.level for tile in tiles], float)
        texels = np.array([level_size(plates[number], 0) for number in numbers], float)
        widest = np.maximum(sizes[:, 0] / texels[:, 1], sizes[:, 1] / texels[:, 0]) * levels
        pixels: list[float] = np.where(seen, widest / distance * self._focal, 0.0).tolist()
        return pixels
