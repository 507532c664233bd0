"""The canvas of a picture window: texels, sections, selection, mouse and wheel.

It does not know about runs and files: it is given the size of a picture and its regions, and
reports the visible part and the texel under the mouse. A coarse picture of everything is below the
fine one of the visible part, so that panning and zooming always show something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.colours.scale import ENTRIES
from accweight_core.pictures.texel_map import Section
from accweight_viewer.model.picture_requests import Drawn
from accweight_viewer.model.viewport2d import Region, Shares, Viewport
from accweight_viewer.panes.picture_painting import (
    LABEL_GAP,
    PictureGeometry,
    PicturePainter,
    RegionImage,
    Texel,
    pixels_of,
)
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import CLICK_PIXELS, NOTCH, place_of

MARGIN = 8
ZOOM_PER_NOTCH = 1.3

HOVER_TEXEL = 6.0
"""Pixels per texel from which the texel under the mouse is framed."""

LABEL_MOST = 72

NO_PICTURE = "no picture of this step is stored"
"""What is told if a whole picture is unknown: a tracker may leave out those of some steps."""


class PictureView(QtWidgets.QWidget):  # type: ignore[misc]
    """A picture with zoom and pan.

    Attributes:
        changed: Emitted when the visible part changes, for any reason.
        view_changed: Emitted with the visible `Shares` when the user zooms or pans.
        hovered: Emitted with the (row, column) under the mouse, or None.
        clicked: Emitted with the clicked (row, column).
    """

    changed = QtCore.Signal()
    view_changed = QtCore.Signal(object)
    hovered = QtCore.Signal(object)
    clicked = QtCore.Signal(int, int)

    def __init__(self, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._table: list[int] = [0xFF000000] * 256
        self._sections: Sequence[Section] = ()
        self._marks: Sequence[Section] = ()
        self._under: RegionImage | None = None
        self._over: RegionImage | None = None
        self._message = ""
        self._is_blank = False
        self._loading = False
        self._marked: Texel | None = None
        self._hovered: Texel | None = None
        self._pressed: Any = None
        self._dragging = False
        self._viewport = Viewport.fitted((1, 1), (1.0, 1.0))
        self.setMouseTracking(True)
        self.setMinimumSize(160, 120)
        self.setCursor(QtCore.Qt.CursorShape.CrossCursor)

    # --- what is shown ---------------------------------------------------------------------

    @property
    def viewport(self) -> Viewport:
        """The visible part."""
        return self._viewport

    @property
    def message(self) -> str:
        """The message shown instead of a picture."""
        return self._message or (NO_PICTURE if self._is_blank else "")

    @property
    def region(self) -> Region | None:
        """The region shown."""
        return self._over.region if self._over is not None else None

    @property
    def loading(self) -> bool:
        """Whether the picture is marked as outdated."""
        return self._loading

    def show_picture(
        self,
        size: tuple[int, int],
        sections: Sequence[Section] = (),
        marks: Sequence[Section] = (),
        *,
        keep: bool = False,
    ) -> None:
        """Switch to another picture, which is empty at first.

        Args:
            size: (rows, columns) at level 0.
            sections: Its named sections.
            marks: Its attention heads.
            keep: Whether to keep the visible share.
        """
        shares = self._viewport.shares
        self._sections, self._marks = sections, marks
        self._under = self._over = self._hovered = None
        fitted = Viewport.fitted(size, self._area_size())
        self._viewport = fitted.showing(shares) if keep else fitted
        self._message, self._is_blank = "", False
        self.update()
        self.changed.emit()

    def show_message(self, text: str) -> None:
        """Show a message instead of a picture."""
        self._message = text
        self.update()

    def show_region(self, region: Region, drawn: Drawn, *, below: bool = False) -> None:
        """Show a region.

        Args:
            region: The region.
            drawn: What is drawn of it.
            below: Whether it is the coarse one below.
        """
        entries = drawn.entries
        image = RegionImage(region, entries, pixels_of(entries, self._table), drawn.broken)
        if below:
            self._under = image
            self._is_blank = entries.size > 0 and bool((entries == ENTRIES).all())
        else:
            self._over = image
        self.update()

    def set_colours(self, table: list[int], theme: Theme) -> None:
        """Set the colours, as 0xAARRGGBB by index."""
        self._table, self._theme = table, theme
        for drawn in (self._under, self._over):
            if drawn is not None:
                drawn.pixels = pixels_of(drawn.entries, table)
        self.update()

    def set_loading(self, loading: bool) -> None:
        """Mark the picture as outdated, or remove the mark."""
        if loading != self._loading:
            self._loading = loading
            self.update()

    def mark(self, texel: Texel | None) -> None:
        """Frame a texel as selected."""
        if texel != self._marked:
            self._marked = texel
            self.update()

    # --- places ----------------------------------------------------------------------------

    def texel_at(self, place: Any) -> Texel | None:
        """Return (row, column) of the texel at a point, or None outside the picture."""
        return self._geometry.texel_at(QtCore.QPointF(place))

    def position_of(self, row: int, col: int) -> Any:
        """Return the point at the centre of a texel."""
        return self._geometry.rect(col, row, 1, 1).center()

    @property
    def _geometry(self) -> PictureGeometry:
        return PictureGeometry(self._viewport, self._area())

    @property
    def _gutter(self) -> int:
        """Width of the labels on the left."""
        metrics = self.fontMetrics()
        widths = [metrics.horizontalAdvance(section.name) for section in self._sections]
        return min(max(widths), LABEL_MOST) + 2 * LABEL_GAP if widths else 0

    def _area(self) -> Any:
        """Return the part of the widget for the picture."""
        left = MARGIN + self._gutter
        wide, high = self.width() - left - MARGIN, self.height() - 2 * MARGIN
        return QtCore.QRectF(left, MARGIN, max(wide, 1), max(high, 1))

    def _area_size(self) -> tuple[float, float]:
        area = self._area()
        return area.width(), area.height()

    # --- moving ----------------------------------------------------------------------------

    def show_shares(self, shares: Shares) -> None:
        """Show a part of the picture without emitting `view_changed`."""
        self._move(self._viewport.showing(shares), by_user=False)

    def fit(self) -> None:
        """Show the whole picture."""
        self._move(Viewport.fitted(self._viewport.picture, self._area_size()))

    def _move(self, viewport: Viewport, *, by_user: bool = True) -> None:
        if viewport == self._viewport:
            return
        self._viewport = viewport
        self.update()
        self.changed.emit()
        if by_user:
            self.view_changed.emit(viewport.shares)

    def _hover(self, texel: Texel | None) -> None:
        if texel != self._hovered:
            self._hovered = texel
            self.hovered.emit(texel)
            self.update()

    # --- events ----------------------------------------------------------------------------

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Keep the visible part in the new size."""
        super().resizeEvent(event)
        self._move(self._viewport.resized(self._area_size()), by_user=False)

    def changeEvent(self, event: QtCore.QEvent) -> None:  # noqa: N802 - Qt's name
        """Adapt the width of the labels to another font."""
        super().changeEvent(event)
        if event.type() in (QtCore.QEvent.Type.FontChange, QtCore.QEvent.Type.StyleChange):
            self._move(self._viewport.resized(self._area_size()), by_user=False)

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Zoom around the mouse."""
        area, place = self._area(), place_of(event)
        factor = ZOOM_PER_NOTCH ** (event.angleDelta().y() / NOTCH)
        at = place.x() - area.x(), place.y() - area.y()
        self._move(self._viewport.zoomed(factor, at))
        self._hover(self.texel_at(QtCore.QPointF(place)))
        event.accept()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Start a click or a drag."""
        if event.button() != QtCore.Qt.MouseButton.LeftButton:
            return
        place = QtCore.QPointF(place_of(event))
        self._dragging = False
        self._pressed = place
        if self._geometry.map.contains(place):
            self._pressed = None
            self._go_on_map(place)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Pan, or report the texel under the mouse."""
        place = QtCore.QPointF(place_of(event))
        held = bool(event.buttons() & QtCore.Qt.MouseButton.LeftButton)
        if held and self._pressed is not None:
            moved = place - self._pressed
            if self._dragging or moved.manhattanLength() >= CLICK_PIXELS:
                self._dragging = True
                self._pressed = place
                self.setCursor(QtCore.Qt.CursorShape.ClosedHandCursor)
                self._move(self._viewport.panned(moved.x(), moved.y()))
        elif held and self._geometry.map.contains(place):
            self._go_on_map(place)
        self._hover(None if self._dragging else self.texel_at(place))

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Report a clicked texel."""
        if event.button() != QtCore.Qt.MouseButton.LeftButton:
            return
        pressed, dragged = self._pressed, self._dragging
        self._pressed, self._dragging = None, False
        self.setCursor(QtCore.Qt.CursorShape.CrossCursor)
        texel = self.texel_at(QtCore.QPointF(place_of(event)))
        if pressed is not None and not dragged and texel is not None:
            self.clicked.emit(*texel)

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Show the whole picture."""
        if event.button() == QtCore.Qt.MouseButton.LeftButton:
            self._pressed = None
            self.fit()

    def leaveEvent(self, event: QtCore.QEvent) -> None:  # noqa: N802 - Qt's name
        """Report that no texel is under the mouse."""
        self._hover(None)

    def _go_on_map(self, place: Any) -> None:
        """Centre the view on a point of the overview map."""
        rect, here = self._geometry.map, self._viewport
        rows, cols = here.picture
        x = (place.x() - rect.x()) / rect.width() * cols
        y = (place.y() - rect.y()) / rect.height() * rows
        self._move(here.panned((here.x - x) * here.scale, (here.y - y) * here.scale))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw everything."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(self._theme.page))
        picture = PicturePainter(painter, self._geometry, self._theme)
        if self.message:
            picture.message(self.message)
        else:
            self._paint(picture)
        if self._loading:
            painter.fillRect(QtCore.QRect(0, 0, self.width(), 2), QtGui.QColor(self._theme.accent))
        painter.end()

    def _paint(self, picture: PicturePainter) -> None:
        picture.regions((self._under, self._over))
        picture.heads(self._marks)
        picture.sections(self._sections, self._gutter)
        if self._marked is not None:
            picture.marked(self._marked)
        if self._hovered is not None and self._viewport.scale >= HOVER_TEXEL:
            picture.hovered(self._hovered)
        picture.map(self._under)
