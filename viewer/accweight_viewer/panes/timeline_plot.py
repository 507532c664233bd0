"""The plot of the timeline: static image, cursor, mouse."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_viewer.model.chart import Chart
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import number_text, step_text, tip_text
from accweight_viewer.panes.timeline_image import TimelineImage
from accweight_viewer.panes.timeline_places import Near, Surface
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import NOTCH, place_of

REACH = 5.0
"""Distance in pixels within which a double click selects a curve."""

HANDLE = 5.0
"""Half the width of the grip below the axis: a slider, not a curve."""

_LEFT_BUTTON = QtCore.Qt.MouseButton.LeftButton


class TimelinePlot(QtWidgets.QWidget):  # type: ignore[misc]
    """Curves over steps with a draggable cursor."""

    def __init__(self, session: Session, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self._theme = theme
        self._chart = Chart(session)
        self._image: TimelineImage | None = None
        self._pixmap: Any = None
        self._selected = session.layer
        self._drawn_x = -1.0
        self._hovered: int | None = None
        self._turned = 0
        self.setMouseTracking(True)
        self.setMinimumSize(240, 96)
        self.setAccessibleName("Timeline: curves of the layers over steps")

    # --- what is drawn --------------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.redraw()

    def reload(self) -> None:
        """Show other data."""
        self._chart = Chart(self._session)
        self.redraw()

    def redraw(self) -> None:
        """Draw the curves again."""
        self._image = self._pixmap = None
        self._selected = self._session.layer
        self.update()

    def show_selection(self) -> None:
        """Draw the curves again if the selected layer has changed."""
        if self._session.layer != self._selected:
            self.redraw()

    @property
    def image(self) -> TimelineImage:
        """The static image at the present size."""
        if self._image is None:
            surface = Surface(
                self._theme, self.font(), self.width(), self.height(), self.devicePixelRatioF()
            )
            self._image = TimelineImage(self._chart, self._session.layer, surface)
        return self._image

    def refresh_cursor(self) -> None:
        """Redraw the cursor if it has moved."""
        x = self.image.x_at(self._position())
        if abs(x - self._drawn_x) >= 0.25:
            self.update()

    def _position(self) -> float:
        cursor = self._session.cursor
        return cursor.position + cursor.phase

    def changeEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the curves again in another font."""
        super().changeEvent(event)
        if event.type() in (QtCore.QEvent.Type.FontChange, QtCore.QEvent.Type.StyleChange):
            self.redraw()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the curves again at another size."""
        super().resizeEvent(event)
        self.redraw()

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the static image, and the cursor on top."""
        image = self.image
        if self._pixmap is None or self._pixmap.devicePixelRatio() != self.devicePixelRatioF():
            self._pixmap = image.pixmap()
        painter = QtGui.QPainter(self)
        painter.drawPixmap(0, 0, self._pixmap)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        if self._hovered is not None:
            self._draw_hover(painter, image, self._hovered)
        self._draw_cursor(painter, image)
        painter.end()

    def _draw_hover(self, painter: Any, image: TimelineImage, position: int) -> None:
        x = round(image.x_at(position)) + 0.5
        colour = QtGui.QColor(self._theme.dim)
        colour.setAlphaF(0.5)
        painter.setPen(QtGui.QPen(colour, 1))
        area = image.area
        painter.drawLine(QtCore.QPointF(x, area.top()), QtCore.QPointF(x, area.bottom()))

    def _draw_cursor(self, painter: Any, image: TimelineImage) -> None:
        area, position = image.area, self._position()
        x = self._drawn_x = image.x_at(position)
        accent, panel = QtGui.QColor(self._theme.accent), QtGui.QColor(self._theme.panel)
        y = round(area.bottom()) + 0.5
        painter.setPen(QtGui.QPen(accent, 1.2))
        painter.drawLine(QtCore.QPointF(x, area.top() - 3), QtCore.QPointF(x, y))
        painter.setPen(QtGui.QPen(panel, 2))
        for stroke, height in image.points_at(position):
            painter.setBrush(stroke.colour)
            painter.drawEllipse(QtCore.QPointF(x, height), 4.0, 4.0)
        painter.setBrush(accent)
        right, left, top, foot = x + HANDLE, x - HANDLE, y + HANDLE, y + 2 * HANDLE
        grip = ((x, y - 1), (right, top), (right, foot), (left, foot), (left, top))
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in grip]))

    # --- the mouse ------------------------------------------------------------------------

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        """Go to the checkpoint under the mouse, and stop playback."""
        if event.button() == _LEFT_BUTTON:
            self._go_to(place_of(event))

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802
        """Drag the cursor, or show a tool tip."""
        place = place_of(event)
        if event.buttons() & _LEFT_BUTTON:
            self._go_to(place)
            return
        self._hover(self.image.position_near(place.x()))
        text = tip_text(self.hover_text(place.x(), place.y()))
        QtWidgets.QToolTip.showText(self.mapToGlobal(place.toPoint()), text, self)

    def mouseDoubleClickEvent(self, event: Any) -> None:  # noqa: N802
        """Select the layer whose curve is under the mouse."""
        place = place_of(event)
        near = self.image.nearest(place.x(), place.y(), REACH)
        if event.button() == _LEFT_BUTTON and near is not None:
            self._session.select_layer(near.name)

    def leaveEvent(self, event: Any) -> None:  # noqa: N802
        """Clear the mouse position."""
        super().leaveEvent(event)
        self._hover(None)

    def wheelEvent(self, event: Any) -> None:  # noqa: N802
        """Go step by step, forward on wheel up; small turns of touch pads add up."""
        turn = event.angleDelta()
        self._turned += turn.y() or turn.x()
        notches = int(self._turned / NOTCH)
        self._turned -= notches * NOTCH
        if notches:
            self._rest()
            self._session.move_to(self._session.cursor.position + notches)
        event.accept()

    def _go_to(self, place: Any) -> None:
        self._rest()
        self._hover(None)
        self._session.move_to(self.image.position_near(place.x()))

    def _rest(self) -> None:
        if self._session.cursor.playing:
            self._session.pause()

    def _hover(self, position: int | None) -> None:
        if position != self._hovered:
            self._hovered = position
            self.update()

    def hover_text(self, x: float, y: float) -> str:
        """Return the tool tip at a point: step, nearest curve, measures."""
        image, chart = self.image, self._chart
        position = image.position_near(x)
        lines = [f"step {step_text(int(chart.steps[position]))}"]
        near = image.nearest(x, y)
        if near is not None:
            lines.append(self._value_text(near, position))
        lines += [str(first) for first in chart.broken if first.step <= chart.steps[position]]
        for measure in chart.measures:
            shown = self._session.runs[measure.run]
            at = shown.position_at(int(chart.steps[position]))
            run = f" \N{MIDDLE DOT} {chart.run_names[measure.run]}" if chart.run_names[1:] else ""
            word = shown.header.checkpoints[at].nonfinite_measures.get(measure.name)
            value = word or number_text(float(measure.values[at]))
            lines.append(f"{measure.name}{run}  {value}")
        return "\n".join(lines)

    def _value_text(self, near: Near, position: int) -> str:
        chart = self._chart
        at = self._session.runs[near.run].position_at(int(chart.steps[position]))
        run = f" \N{MIDDLE DOT} {chart.run_names[near.run]}" if len(chart.run_names) > 1 else ""
        return (
            f"{near.name}{run}  {number_text(float(chart.curves[near.run].values[near.row, at]))}"
        )
