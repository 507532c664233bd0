"""The plane of points: drawing, pointing, and the line that is drawn around some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.text import plain
from accweight_viewer.model.scatter import Places, Scatter, brief_axis
from accweight_viewer.panes.formatting import number_text, tip_text
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import CLICK_PIXELS, place_of

INSET = 12
AXES = 18
"""Pixels for the names of the axes, of things that are shown by two quantities."""

REACH = 9
"""Pixels within which a point is pointed at."""

COVER = 0.02
"""Share of the plane that points cover, if none hides another."""

RADII = 1.8, 5.0
"""Least and largest radius of a point in pixels."""

LEAST_ALONE = 3.0
"""Least radius of a point that is no sample: there are fewer, and each is looked at."""

EDGE = 1.0
"""Pixels between the box of a name and the edge of the pane."""

MOST_NAMED = 20
"""Classes whose names stand among their points."""

LEFT = QtCore.Qt.MouseButton.LeftButton


class ScatterView(QtWidgets.QWidget):  # type: ignore[misc]
    """Points in the plane.

    Attributes:
        scatter: What is shown.
        chosen: Emitted when other points are chosen.
    """

    chosen = QtCore.Signal()

    def __init__(self, scatter: Scatter, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self.scatter = scatter
        self._theme = theme
        self._lasso: list[Any] = []
        self.setMouseTracking(True)
        self.setMinimumSize(140, 80)
        self.setCursor(QtCore.Qt.CursorShape.CrossCursor)
        self.setAccessibleName("Samples as points")

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.update()

    def renew(self) -> None:
        """Draw the points where they are now."""
        self.update()

    # --- places ---------------------------------------------------------------------------

    def _half(self) -> float:
        inset = INSET + (AXES if self.scatter.axes else 0)
        return float(max(min(self.width(), self.height()) / 2 - inset, 1.0))

    def pixels_of(self, places: Places) -> Places:
        """Return places as pixels."""
        middle = np.array([self.width(), self.height()]) / 2
        found: Places = middle + places * np.array([1, -1]) * self._half()
        return found

    def _place_at(self, point: Any) -> tuple[float, float]:
        half = self._half()
        return (point.x() - self.width() / 2) / half, (self.height() / 2 - point.y()) / half

    # --- drawing --------------------------------------------------------------------------

    def colour_of(self, index: int) -> Any:
        """Return the colour of a class."""
        return QtGui.QColor(self._theme.classes[index % len(self._theme.classes)])

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw points, names of classes, and the line."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(self._theme.page))
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        at = self.pixels_of(self.scatter.places())
        if self.scatter.axes:
            self._draw_axes(painter)
        self._draw_points(painter, at)
        if not self.scatter.axes:
            self._draw_names(painter, at)
        pointed = self.scatter.pointed_at
        if pointed is not None and pointed < len(at) and np.isfinite(at[pointed]).all():
            painter.setBrush(QtCore.Qt.BrushStyle.NoBrush)
            painter.setPen(QtGui.QPen(QtGui.QColor(self._theme.ink), 1.6))
            radius = self._radius() + 3.5
            painter.drawEllipse(QtCore.QPointF(*at[pointed]), radius, radius)
        if len(self._lasso) > 1:
            accent = QtGui.QColor(self._theme.accent)
            painter.setPen(QtGui.QPen(accent, 1.4, QtCore.Qt.PenStyle.DashLine))
            accent.setAlphaF(0.12)
            painter.setBrush(accent)
            painter.drawPolygon(QtGui.QPolygonF(self._lasso))
        painter.end()

    def _draw_axes(self, painter: Any) -> None:
        """Draw a box around what can be seen, with the ends and names of both axes."""
        places, ends = self.scatter.box
        (left, bottom), (right, top) = self.pixels_of(places)
        painter.setPen(QtGui.QColor(self._theme.line))
        painter.drawRect(QtCore.QRectF(left, top, right - left, bottom - top))
        painter.setPen(QtGui.QColor(self._theme.dim))
        room = QtCore.QRectF(0, 2, right - left, AXES)
        for axis, (name, turn) in enumerate(zip(self.scatter.axes, (0, -90), strict=True)):
            painter.save()
            painter.translate(left, bottom)
            painter.rotate(turn)
            if axis:
                painter.translate(0, -AXES - 4)
            metrics = painter.fontMetrics()
            low, high = (number_text(value) for value in ends[:, axis])
            taken = 2 * max(map(metrics.horizontalAdvance, (low, high))) + 16
            least = int(room.width() - taken)
            full = plain(name) if metrics.horizontalAdvance(plain(name)) <= least else ""
            end = QtCore.Qt.TextElideMode.ElideRight
            told = full or metrics.elidedText(plain(brief_axis(name)), end, least)
            flags = QtCore.Qt.AlignmentFlag
            for text, side in (
                (low, flags.AlignLeft),
                (told, flags.AlignHCenter),
                (high, flags.AlignRight),
            ):
                painter.drawText(room, side | flags.AlignVCenter, text)
            painter.restore()

    def _radius(self) -> float:
        each = COVER * (2 * self._half()) ** 2 / max(self.scatter.count, 1)
        least = LEAST_ALONE if self.scatter.axes else RADII[0]
        return float(np.clip(np.sqrt(each / np.pi), least, RADII[1]))

    def _draw_points(self, painter: Any, at: Places) -> None:
        scatter, ratio = self.scatter, self.devicePixelRatioF()
        classes = scatter.classes if len(scatter.classes) else np.zeros(len(at), np.int64)
        known = np.isfinite(at).all(axis=1)
        chosen = np.ones(len(at), bool)
        if len(scatter.chosen_points):
            chosen[:] = False
            chosen[scatter.chosen_points] = True
        radius = self._radius()
        for faint in (True, False):  # those that are chosen above the others
            for number in np.unique(classes):
                shown = np.flatnonzero(known & (classes == number) & (chosen != faint))
                stamp = self._stamp(int(number), radius, ratio, faint=faint)
                side = stamp.width() / ratio / 2
                for x, y in at[shown]:
                    painter.drawPixmap(QtCore.QPointF(x - side, y - side), stamp)

    def _stamp(self, number: int, radius: float, ratio: float, *, faint: bool) -> Any:
        """Return the mark of a class as a picture: another form for every ten classes."""
        side = int(np.ceil(radius * 2.8)) + 2
        stamp = QtGui.QPixmap(round(side * ratio), round(side * ratio))
        stamp.setDevicePixelRatio(ratio)
        stamp.fill(QtCore.Qt.GlobalColor.transparent)
        colour = QtGui.QColor(self._theme.frame) if faint else self.colour_of(number)
        colour.setAlphaF(0.35 if faint else 0.92)
        pen = QtGui.QPainter(stamp)
        pen.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        draw_mark(pen, number // len(self._theme.classes), side / 2, side / 2, radius, colour)
        pen.end()
        return stamp

    def _draw_names(self, painter: Any, at: Places) -> None:
        names, classes = self.scatter.class_names, self.scatter.classes
        if not names or len(names) > MOST_NAMED:
            return
        font = painter.font()
        font.setBold(True)
        painter.setFont(font)
        metrics = painter.fontMetrics()
        for number, name in enumerate(names):
            own = at[classes == number]
            own = own[np.isfinite(own).all(axis=1)]
            if not len(own):
                continue
            x, y = np.median(own, axis=0)
            text = metrics.elidedText(plain(name), QtCore.Qt.TextElideMode.ElideRight, 90)
            wide, high = metrics.horizontalAdvance(text) + 10, metrics.height() + 2
            box = self.box_of_name(x, y, wide, high)
            ground = QtGui.QColor(self._theme.page)
            ground.setAlphaF(0.82)
            painter.setBrush(ground)
            painter.setPen(QtGui.QPen(self.colour_of(number), 1.5))
            painter.drawRoundedRect(box, high / 2, high / 2)
            painter.setPen(QtGui.QColor(self._theme.ink))
            painter.drawText(box, QtCore.Qt.AlignmentFlag.AlignCenter, text)

    def box_of_name(self, x: float, y: float, wide: float, high: float) -> Any:
        """Return the box around a place, in pixels, moved so that it is wholly in the pane."""
        left = max(min(x - wide / 2, self.width() - wide - EDGE), EDGE)
        top = max(min(y - high / 2, self.height() - high - EDGE), EDGE)
        return QtCore.QRectF(left, top, wide, high)

    # --- the mouse ------------------------------------------------------------------------

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        """Begin a line around points."""
        if event.button() == LEFT:
            self._lasso = [place_of(event)]

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the line on, or name the point under the mouse."""
        place = place_of(event)
        if event.buttons() & LEFT and self._lasso:
            self._lasso.append(place)
            self.update()
            return
        x, y = self._place_at(place)
        found = self.scatter.nearest(x, y, REACH / self._half())
        if found != self.scatter.pointed_at:
            self.scatter.pointed_at = found
            self.chosen.emit()
        text = "" if found is None else tip_text(self.scatter.text_of(found))
        QtWidgets.QToolTip.showText(self.mapToGlobal(place.toPoint()), text, self)

    def mouseReleaseEvent(self, event: Any) -> None:  # noqa: N802
        """Choose the points inside the line; a click chooses one point, or none."""
        if event.button() != LEFT or not self._lasso:
            return
        line, self._lasso = self._lasso, []
        far = max(abs(p.x() - line[0].x()) + abs(p.y() - line[0].y()) for p in line)
        if far > CLICK_PIXELS and len(line) > 2:
            self.scatter.choose_inside(np.array([self._place_at(point) for point in line]))
        else:
            x, y = self._place_at(line[0])
            found = self.scatter.nearest(x, y, REACH / self._half())
            one: npt.NDArray[np.int64] = np.array([] if found is None else [found], np.int64)
            self.scatter.choose_points(one)
        self.chosen.emit()

    def leaveEvent(self, event: Any) -> None:  # noqa: N802
        """Point at nothing."""
        super().leaveEvent(event)
        self.scatter.pointed_at = None
        self.chosen.emit()


def draw_mark(painter: Any, form: int, x: float, y: float, radius: float, colour: Any) -> None:
    """Draw a disc, a square, a triangle or a diamond."""
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    if form % 4 == 0:
        painter.drawEllipse(QtCore.QPointF(x, y), radius, radius)
        return
    forms = {
        1: [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
        2: [(0, -1.2), (1.1, 0.8), (-1.1, 0.8)],
        3: [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
    }
    corners = [QtCore.QPointF(x + radius * dx, y + radius * dy) for dx, dy in forms[form % 4]]
    painter.drawPolygon(QtGui.QPolygonF(corners))
