"""Painting of a picture: texels, section lines and names, frames, the overview map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui

from accweight_core.analysis.finiteness import Mask
from accweight_core.colours.scale import Entries
from accweight_core.pictures.texel_map import Section
from accweight_viewer.model.viewport2d import Region, Viewport
from accweight_viewer.theme import Theme

Texel = tuple[int, int]

MAP_SIDE = 72
"""Longer side of the overview map, which is shown when the picture is zoomed."""

MAP_LEAST = 32
MAP_INSET = 8
LEAST_MARK = 9.0
"""Least size in pixels of the frame around the selected texel."""

LEAST_SEEN = 5.0
"""Least size in pixels of the frame in the overview map."""

LEAST_SECTION = 3.0
"""Least height in pixels of a named section; lines closer than that would hide the picture."""

LEAST_HEAD = 12.0
"""The same for the shorter side of an attention head."""

HEAD_ALPHA = 110
LABEL_GAP = 6


@dataclass
class RegionImage:
    """A region of the picture, as colour indices and as an image; where it is not finite."""

    region: Region
    entries: Entries
    pixels: Any
    broken: Mask | None = None


def pixels_of(entries: Entries, table: list[int]) -> Any:
    """Return an image of colour indices, with colours as 0xAARRGGBB by index."""
    rows, cols = entries.shape
    indexed = QtGui.QImage(
        np.ascontiguousarray(entries).tobytes(),
        cols,
        rows,
        cols,
        QtGui.QImage.Format.Format_Indexed8,
    )
    indexed.setColorTable(table)
    return indexed.convertToFormat(QtGui.QImage.Format.Format_ARGB32)


@dataclass(frozen=True)
class PictureGeometry:
    """The mapping from texels to pixels of a widget.

    Attributes:
        viewport: The visible part.
        area: The part of the widget for the picture.
    """

    viewport: Viewport
    area: Any

    def rect(self, col: float, row: float, cols: float, rows: float) -> Any:
        """Return the rectangle of some texels."""
        scale = self.viewport.scale
        x, y = self.viewport.to_area(col, row)
        return QtCore.QRectF(self.area.x() + x, self.area.y() + y, cols * scale, rows * scale)

    @property
    def picture(self) -> Any:
        """Visible rectangle of the whole picture."""
        rows, cols = self.viewport.picture
        return self.rect(0, 0, cols, rows).intersected(self.area)

    @property
    def map(self) -> Any:
        """Rectangle of the overview map; empty if the whole picture is visible."""
        rows, cols = self.viewport.picture
        longer = min(MAP_SIDE, 0.35 * min(self.area.width(), self.area.height()))
        if self.viewport.is_fitted or longer < MAP_LEAST:
            return QtCore.QRectF()
        side = longer / max(rows, cols)
        wide, high = max(cols * side, 6.0), max(rows * side, 6.0)
        corner = self.picture.bottomRight()
        return QtCore.QRectF(
            corner.x() - wide - MAP_INSET, corner.y() - high - MAP_INSET, wide, high
        )

    def in_picture(self, place: Any) -> tuple[float, float]:
        """Return (column, row) at a point of the widget; may be fractional."""
        return self.viewport.to_picture(place.x() - self.area.x(), place.y() - self.area.y())

    def texel_at(self, place: Any) -> Texel | None:
        """Return (row, column) of the texel at a point, or None outside the picture."""
        if not self.area.contains(place) or self.map.contains(place):
            return None
        return self.viewport.texel_at(place.x() - self.area.x(), place.y() - self.area.y())


class PicturePainter:
    """Paints one picture in the colours of a theme."""

    def __init__(self, painter: Any, geometry: PictureGeometry, theme: Theme) -> None:
        self._painter = painter
        self._geometry = geometry
        self._theme = theme

    def regions(self, regions: Iterable[RegionImage | None]) -> None:
        """Draw regions on top of each other, and the edge of the picture."""
        painter, geometry = self._painter, self._geometry
        painter.save()
        painter.setClipRect(geometry.picture)
        painter.fillRect(geometry.picture, QtGui.QColor(self._theme.mat))
        for drawn in regions:
            if drawn is not None:
                painter.drawImage(geometry.rect(*drawn.region.extent), drawn.pixels)
                self._hatch(drawn)
        painter.restore()
        self._box(geometry.picture.adjusted(-1, -1, 1, 1), self._theme.line)

    def _hatch(self, drawn: RegionImage) -> None:
        """Draw stripes over texels with a weight that is not finite."""
        if drawn.broken is None:
            return
        area, modes = self._geometry.area.toAlignedRect(), QtGui.QPainter.CompositionMode
        layer = QtGui.QImage(area.size(), QtGui.QImage.Format.Format_ARGB32_Premultiplied)
        layer.fill(QtCore.Qt.GlobalColor.transparent)
        painter = QtGui.QPainter(layer)
        painter.translate(-area.topLeft())
        place = self._geometry.rect(*drawn.region.extent)
        painter.drawImage(place, pixels_of(drawn.broken.astype(np.uint8), [0, 0xFFFFFFFF] * 128))
        painter.setCompositionMode(modes.CompositionMode_SourceIn)
        painter.fillRect(area, QtGui.QColor(self._theme.broken))
        painter.setCompositionMode(modes.CompositionMode_SourceAtop)
        pattern = QtCore.Qt.BrushStyle.BDiagPattern
        painter.fillRect(area, QtGui.QBrush(QtGui.QColor(self._theme.page), pattern))
        painter.end()
        self._painter.drawImage(area.topLeft(), layer)

    def sections(self, sections: Sequence[Section], gutter: float) -> None:
        """Draw lines between named sections, and their names left of the picture."""
        painter, geometry = self._painter, self._geometry
        line = painter.fontMetrics().height()
        for section in sections:
            seen = geometry.rect(section.col, section.row, section.cols, section.rows)
            seen = seen.intersected(geometry.picture)
            if seen.height() < LEAST_SECTION:
                continue
            if section.row and seen.top() > geometry.picture.top() + 1:
                y = round(seen.top())
                left = QtCore.QPointF(geometry.picture.left() - gutter / 2, y + 0.5)
                painter.setPen(QtGui.QPen(QtGui.QColor(self._theme.dim), 1))
                painter.drawLine(left, QtCore.QPointF(geometry.picture.right(), y + 0.5))
            if seen.height() >= line * 0.9:
                left = geometry.picture.left() - gutter
                box = QtCore.QRectF(left, seen.center().y() - line, gutter - LABEL_GAP, 2 * line)
                self._label(section.name, box)

    def heads(self, marks: Sequence[Section]) -> None:
        """Frame attention heads by thin lines where they are large enough."""
        pen = QtGui.QColor(self._theme.dim)
        pen.setAlpha(HEAD_ALPHA)
        for mark in marks:
            box = self._geometry.rect(mark.col, mark.row, mark.cols, mark.rows)
            seen = box.intersected(self._geometry.picture)
            if min(seen.width(), seen.height()) < LEAST_HEAD:
                continue
            left, top = round(box.left()), round(box.top())
            self._painter.save()
            self._painter.setClipRect(self._geometry.picture)
            self._painter.fillRect(QtCore.QRectF(left, top, box.width(), 1), pen)
            self._painter.fillRect(QtCore.QRectF(left, top, 1, box.height()), pen)
            self._painter.restore()

    def _label(self, text: str, box: Any) -> None:
        painter = self._painter
        fitting = painter.fontMetrics().elidedText(
            text, QtCore.Qt.TextElideMode.ElideRight, int(box.width())
        )
        painter.setPen(QtGui.QColor(self._theme.dim))
        align = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
        painter.drawText(box, align, fitting)

    def hovered(self, texel: Texel) -> None:
        """Frame the texel under the mouse."""
        row, col = texel
        self._clipped_box(self._geometry.rect(col, row, 1, 1), self._theme.ink, self._theme.page)

    def marked(self, texel: Texel) -> None:
        """Frame the selected texel, with a minimum size."""
        row, col = texel
        box = self._geometry.rect(col, row, 1, 1)
        grow = max(LEAST_MARK - box.width(), 0) / 2
        box = box.adjusted(-grow, -grow, grow, grow)
        self._clipped_box(box, self._theme.accent, self._theme.page, width=2)

    def _clipped_box(self, box: Any, colour: str, halo: str, *, width: int = 1) -> None:
        self._painter.save()
        self._painter.setClipRect(self._geometry.area.adjusted(-4, -4, 4, 4))
        outer = box.adjusted(-width, -width, width, width)
        self._box(outer.adjusted(-1, -1, 1, 1), halo, width=width + 2)
        self._box(outer, colour, width=width)
        self._painter.restore()

    def _box(self, box: Any, colour: str, *, width: int = 1) -> None:
        """Draw the inner edge of a rectangle, aligned to pixels."""
        left, top = round(box.left()), round(box.top())
        wide, high = round(box.right()) - left, round(box.bottom()) - top
        fill = QtGui.QColor(colour)
        for x, y, w, h in (
            (left, top, wide, width),
            (left, top + high - width, wide, width),
            (left, top + width, width, high - 2 * width),
            (left + wide - width, top + width, width, high - 2 * width),
        ):
            self._painter.fillRect(x, y, w, h, fill)

    def map(self, under: RegionImage | None) -> None:
        """Draw the overview map with a frame around the visible part."""
        place = self._geometry.map
        if place.isEmpty() or under is None:
            return
        painter, shares = self._painter, self._geometry.viewport.shares
        painter.fillRect(place.adjusted(-2, -2, 2, 2), QtGui.QColor(self._theme.page))
        painter.save()
        painter.setRenderHint(QtGui.QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(place, under.pixels)
        painter.restore()
        wide, high = place.width(), place.height()
        seen = QtCore.QRectF(
            place.x() + shares.left * wide,
            place.y() + shares.top * high,
            (shares.right - shares.left) * wide,
            (shares.bottom - shares.top) * high,
        )
        grow = max(LEAST_SEEN - min(seen.width(), seen.height()), 0) / 2
        self._box(place.adjusted(-3, -3, 3, 3), self._theme.line)
        seen = seen.adjusted(-grow, -grow, grow, grow)
        self._box(seen.adjusted(-1, -1, 1, 1), self._theme.page)
        self._box(seen, self._theme.accent)

    def message(self, text: str) -> None:
        """Draw a message in the centre."""
        self._painter.setPen(QtGui.QColor(self._theme.dim))
        flags = QtCore.Qt.AlignmentFlag.AlignCenter | QtCore.Qt.TextFlag.TextWordWrap
        self._painter.drawText(self._geometry.area, int(flags), text)
