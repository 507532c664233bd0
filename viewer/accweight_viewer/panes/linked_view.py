"""Columns of unit pictures with links: drawing, and what is under the mouse."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.analysis.unit_network import ABOVE, BELOW
from accweight_core.errors import AccweightError
from accweight_core.text import plain
from accweight_viewer.model.linked_units import TITLE, LinkedPlaces, LinkedUnits
from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.panes.sheet_pane import image_of
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import listen, place_of

INSET = 10
WIDEST = 8.0
"""Pixels of the largest weight of all steps."""

THINNEST = 0.15
"""Pixels below which a link is not drawn."""

REACH = 4.0
"""Pixels beside a link within which it is pointed at."""

AWAY = 0.1
"""Opacity of the links of other units than the one that is pointed at."""


class LinkedView(QtWidgets.QWidget):  # type: ignore[misc]
    """The network.

    Attributes:
        units: What is shown.
        theme: The colours.
        failure: Why nothing is drawn; empty if nothing failed.
    """

    def __init__(self, units: LinkedUnits, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self.units, self.theme = units, theme
        self.failure = ""
        self.setMouseTracking(True)
        self.setMinimumSize(200, 80)
        self.setAccessibleName("Units of the network, with their weights as links")
        listen(self, units.session.selection_changed, self.update)
        listen(self, units.session.pointing_changed, self.update)

    @property
    def places(self) -> LinkedPlaces:
        """Where units and links are, from the inset on."""
        return self.units.places(self.width() - 2 * INSET, self.height() - 2 * INSET)

    # --- drawing --------------------------------------------------------------------------

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the network at the step."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(self.theme.page))
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.translate(INSET, INSET)
        try:
            pictures, places = self.units.pictures(), self.places
            self._draw_links(painter, places)
            self._draw_units(painter, places, pictures)
            self._draw_titles(painter, places)
            self.failure = ""
        except (AccweightError, OSError) as error:  # damaged
            self.failure = plain(str(error))
            painter.setPen(QtGui.QColor(self.theme.dim))
            wrap = QtCore.Qt.TextFlag.TextWordWrap | QtCore.Qt.AlignmentFlag.AlignCenter
            room = self.rect().adjusted(0, 0, -2 * INSET, -2 * INSET)
            painter.drawText(room, wrap, self.failure)
        painter.end()

    def _draw_links(self, painter: Any, places: LinkedPlaces) -> None:
        """Draw the widest first, so that thin ones are seen above them."""
        shares, lit, pointed = self.units.shares, self.units.lit, self.units.link
        painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
        for link in np.argsort(-np.abs(np.nan_to_num(shares)), kind="stable"):
            width = WIDEST * abs(float(shares[link]))
            path = _path_of(places.links[link])
            if path is None or not width >= THINNEST:
                continue
            if link == pointed:
                painter.setPen(QtGui.QPen(QtGui.QColor(self.theme.ink), width + 3))
                painter.drawPath(path)
            colour = QtGui.QColor(ABOVE if shares[link] > 0 else BELOW)
            colour.setAlphaF(0.85 if lit[link] else AWAY)
            pen = QtGui.QPen(colour, width)
            pen.setCapStyle(QtCore.Qt.PenCapStyle.FlatCap)
            painter.setPen(pen)
            painter.drawPath(path)

    def _draw_units(self, painter: Any, places: LinkedPlaces, pictures: list[Any]) -> None:
        result, pointed = len(pictures) - 1, self.units.unit
        selected, over = self.units.session.layer, self.units.session.pointed_at
        painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
        for unit, (left, top, side) in enumerate(places.units.tolist()):
            if not pictures or not np.isfinite(side):
                continue
            shown = pointed if unit == result and pointed is not None else unit
            box = QtCore.QRectF(left, top, side, side)
            painter.setRenderHint(
                QtGui.QPainter.RenderHint.SmoothPixmapTransform, side < pictures[shown].shape[0]
            )
            painter.drawImage(box, image_of(pictures[shown]))
            layer = self.units.layer_of(self.units.column_of(unit)) if unit != result else None
            colour, width = self.theme.frame, 1.0
            if layer is not None and layer == over:
                colour, width = self.theme.ink, 1.2
            if layer is not None and layer == selected:
                colour, width = self.theme.accent, 2.0
            if unit == pointed:
                colour, width = self.theme.ink, 3.0
            painter.setPen(QtGui.QPen(QtGui.QColor(colour), width))
            painter.drawRect(box)

    def _draw_titles(self, painter: Any, places: LinkedPlaces) -> None:
        network, metrics = self.units.network, painter.fontMetrics()
        if not network.names:
            return
        shown = network.names[-1 if self.units.unit is None else self.units.unit]
        called = self.units.session.short_names
        names = [called.get(name, name) for name, _ in network.columns]
        for column, ((left, width), name) in enumerate(
            zip(places.titles, (*names, shown), strict=True)
        ):
            layer = self.units.layer_of(column)
            marked = layer is not None and layer == self.units.session.layer
            painter.setPen(QtGui.QColor(self.theme.accent if marked else self.theme.dim))
            top = 0.0 if column < len(names) else places.units[-1][1] - TITLE
            text = metrics.elidedText(plain(name), QtCore.Qt.TextElideMode.ElideMiddle, int(width))
            painter.drawText(QtCore.QPointF(left, top + metrics.ascent()), text)

    # --- the mouse ------------------------------------------------------------------------

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802
        """Show the unit under the mouse large, or name the link and its weight."""
        place = place_of(event)
        self._point(place.x() - INSET, place.y() - INSET)
        text = tip_text(plain(self.units.text))
        QtWidgets.QToolTip.showText(self.mapToGlobal(place.toPoint()), text, self)

    def _point(self, x: float, y: float) -> None:
        units, places = self.units, self.places
        before = units.unit, units.link
        found = places.unit_at(x, y)
        result = len(places.units) - 1
        units.unit = None if found == result else found
        drawn = WIDEST * np.abs(units.shares)
        reach = np.where(drawn >= THINNEST, drawn / 2 + REACH, -np.inf)
        units.link = places.link_at(x, y, reach) if found is None else None
        if (units.unit, units.link) != before:
            units.session.point_at(units.pointed_layer)
            self.update()

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        """Select the layer of a unit, of a link, or of the name of a column."""
        place = place_of(event)
        x, y = place.x() - INSET, place.y() - INSET
        self._point(x, y)
        layer = self.units.pointed_layer
        if layer is None and y < TITLE:
            for column, (left, width) in enumerate(self.places.titles):
                layer = self.units.layer_of(column) if 0 <= x - left < width else layer
        if layer is not None and event.button() == QtCore.Qt.MouseButton.LeftButton:
            self.units.session.select_layer(layer)

    def leaveEvent(self, event: Any) -> None:  # noqa: N802
        """Point at nothing."""
        super().leaveEvent(event)
        self.units.unit = self.units.link = None
        self.units.session.point_at(None)
        self.update()


def _path_of(curve: Any) -> Any:
    """Return a cubic curve as a QPainterPath; None for one without a place."""
    if not np.isfinite(curve).all():
        return None
    path = QtGui.QPainterPath(QtCore.QPointF(*curve[0]))
    path.cubicTo(*(QtCore.QPointF(*point) for point in curve[1:]))
    return path
