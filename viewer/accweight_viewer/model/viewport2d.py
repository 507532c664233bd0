"""The visible part of a flat picture: zoom, pan, and the texels to read.

A viewport is immutable: every move returns a new one within its limits, so that the picture can
neither leave the area nor be distorted. Picture coordinates are in texels of level 0, screen
coordinates in logical pixels of the picture's area.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

MOST_TEXELS = 5 << 18
"""Most texels read for one picture: more than most screens have pixels."""

LARGEST_TEXEL = 80.0
"""Most pixels per texel when zooming in."""

LARGEST_FITTED = 48.0
"""Most pixels per texel when a small picture is fitted to the window."""

ALIGNMENT = 64
"""Regions start and end at multiples of this many texels, so that small moves read nothing."""


class Shares(NamedTuple):
    """The visible part of a picture, as shares from 0 to 1 across and down."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE = Shares(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Viewport:
    """The mapping from a picture to an area of the screen.

    Attributes:
        picture: (rows, columns) at level 0.
        area: (width, height) in pixels.
        x: Column at the centre of the area; may be fractional.
        y: Row at the centre of the area.
        scale: Pixels per texel.
    """

    picture: tuple[int, int]
    area: tuple[float, float]
    x: float
    y: float
    scale: float

    @classmethod
    def fitted(cls, picture: tuple[int, int], area: tuple[float, float]) -> Self:
        """Return the view of the whole picture."""
        rows, cols = picture
        return cls(picture, area, cols / 2, rows / 2, _fitting(picture, area))

    @property
    def is_fitted(self) -> bool:
        """Whether the whole picture is visible."""
        return self.scale <= _fitting(self.picture, self.area) * (1 + 1e-9)

    @property
    def shares(self) -> Shares:
        """The visible part."""
        rows, cols = self.picture
        left, top = self.to_picture(0, 0)
        right, bottom = self.to_picture(*self.area)
        return Shares(
            max(left / cols, 0.0),
            max(top / rows, 0.0),
            min(right / cols, 1.0),
            min(bottom / rows, 1.0),
        )

    def showing(self, shares: Shares) -> Self:
        """Return the closest view that shows all of a part; the whole picture is fitted."""
        if shares == WHOLE:
            return type(self).fitted(self.picture, self.area)
        rows, cols = self.picture
        wide = max((shares.right - shares.left) * cols, 1e-9)
        high = max((shares.bottom - shares.top) * rows, 1e-9)
        moved = replace(
            self,
            x=(shares.left + shares.right) / 2 * cols,
            y=(shares.top + shares.bottom) / 2 * rows,
            scale=min(self.area[0] / wide, self.area[1] / high),
        )
        return moved._kept()

    def resized(self, area: tuple[float, float]) -> Self:
        """Return the view of the same place in another area; a fitted view stays fitted."""
        if self.is_fitted:
            return type(self).fitted(self.picture, area)
        return replace(self, area=area)._kept()

    def zoomed(self, factor: float, at: tuple[float, float]) -> Self:
        """Return a zoomed view; the given point of the area stays fixed if possible."""
        scale = self._allowed(self.scale * factor)
        x, y = self.to_picture(*at)
        off_x, off_y = at[0] - self.area[0] / 2, at[1] - self.area[1] / 2
        return replace(self, x=x - off_x / scale, y=y - off_y / scale, scale=scale)._kept()

    def panned(self, right: float, down: float) -> Self:
        """Return the view after moving the picture by some pixels."""
        return replace(self, x=self.x - right / self.scale, y=self.y - down / self.scale)._kept()

    def to_picture(self, x: float, y: float) -> tuple[float, float]:
        """Return (column, row) at a point of the area; may be fractional."""
        return (
            self.x + (x - self.area[0] / 2) / self.scale,
            self.y + (y - self.area[1] / 2) / self.scale,
        )

    def to_area(self, col: float, row: float) -> tuple[float, float]:
        """Return (x, y) in the area of a position in the picture."""
        return (
            self.area[0] / 2 + (col - self.x) * self.scale,
            self.area[1] / 2 + (row - self.y) * self.scale,
        )

    def texel_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Return (row, column) of the texel at a point, or None outside the picture."""
        across, down = self.to_picture(x, y)
        row, col = math.floor(down), math.floor(across)
        inside = 0 <= row < self.picture[0] and 0 <= col < self.picture[1]
        return (row, col) if inside else None

    def _allowed(self, scale: float) -> float:
        least = _fitting(self.picture, self.area)
        return min(max(scale, least), max(LARGEST_TEXEL, least))

    def _kept(self) -> Self:
        """Return the nearest view within the limits: no margin where more picture is available."""
        scale = self._allowed(self.scale)
        rows, cols = self.picture
        half_wide, half_high = (side / scale / 2 for side in self.area)
        x = cols / 2 if 2 * half_wide >= cols else min(max(self.x, half_wide), cols - half_wide)
        y = rows / 2 if 2 * half_high >= rows else min(max(self.y, half_high), rows - half_high)
        return replace(self, x=x, y=y, scale=scale)


def _fitting(picture: tuple[int, int], area: tuple[float, float]) -> float:
    """Return the pixels per texel that fit a picture into an area."""
    rows, cols = picture
    return max(min(area[0] / cols, area[1] / rows, LARGEST_FITTED), 1e-6)


class Region(NamedTuple):
    """Some texels of one level; rows and columns are those of that level."""

    level: int
    row: int
    row_end: int
    col: int
    col_end: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns to read."""
        return slice(self.row, self.row_end), slice(self.col, self.col_end)

    @property
    def texels(self) -> int:
        """Number of texels."""
        return (self.row_end - self.row) * (self.col_end - self.col)

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in texels of level 0.

        At coarse levels the last texels extend beyond the picture.
        """
        side = 1 << self.level
        wide, high = self.col_end - self.col, self.row_end - self.row
        return self.col * side, self.row * side, wide * side, high * side


def whole_region(picture: tuple[int, int], level: int) -> Region:
    """Return all texels of a level."""
    return Region(level, 0, -(-picture[0] >> level), 0, -(-picture[1] >> level))


def seen_region(view: Viewport, levels: range, pixel_ratio: float = 1.0) -> Region:
    """Return the region to read for a view, at the resolution of the screen.

    Args:
        view: The view.
        levels: Stored levels, finest first; each has half the resolution of the one before.
        pixel_ratio: Device pixels per logical pixel.

    Returns:
        A region of the finest level whose texels are at least one device pixel wide, or of the
        finest one with at most `MOST_TEXELS` visible texels.
    """
    wanted = math.ceil(-math.log2(view.scale * pixel_ratio) - 0.01)
    level = min(max(wanted, levels[0]), levels[-1])
    region = _aligned(view, level)
    while region.texels > MOST_TEXELS and region.level < levels[-1]:
        region = _aligned(view, region.level + 1)
    return region


def _aligned(view: Viewport, level: int) -> Region:
    rows, cols = (-(-side >> level) for side in view.picture)
    shares = view.shares
    spans = [
        (shares.top * view.picture[0], shares.bottom * view.picture[0], rows),
        (shares.left * view.picture[1], shares.right * view.picture[1], cols),
    ]
    (row, row_end), (col, col_end) = (
        _span(first / (1 << level), last / (1 << level), length) for first, last, length in spans
    )
    return Region(level, row, row_end, col, col_end)


def _span(first: float, last: float, length: int) -> tuple[int, int]:
    start = math.floor(first) // ALIGNMENT * ALIGNMENT
    stop = -(-math.ceil(last) // ALIGNMENT) * ALIGNMENT
    return min(start, max(length - 1, 0)), min(max(stop, start + 1), length)
