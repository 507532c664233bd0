"""A 3D view with camera control by keys and mouse.

Keys fly; dragging with the left button orbits, with the right one looks around, with the middle one
pans; the wheel moves towards the point under the mouse. The subclass handles clicks.
"""

from __future__ import annotations

import numpy as np
from pyqtgraph.opengl import GLViewWidget
from pyqtgraph.Qt import QtCore, QtGui

from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.flight import Flight
from accweight_viewer.model.picking import met
from accweight_viewer.model.signal import Signal
from accweight_viewer.widgets.events import CLICK_PIXELS, NOTCH

KEYS = {
    QtCore.Qt.Key.Key_W: "forward",
    QtCore.Qt.Key.Key_S: "back",
    QtCore.Qt.Key.Key_A: "left",
    QtCore.Qt.Key.Key_D: "right",
    QtCore.Qt.Key.Key_E: "up",
    QtCore.Qt.Key.Key_Q: "down",
}
AWAY = (
    QtCore.Qt.FocusReason.PopupFocusReason,
    QtCore.Qt.FocusReason.MenuBarFocusReason,
    QtCore.Qt.FocusReason.ActiveWindowFocusReason,
)
"""Reasons of losing the focus after which releases of keys go elsewhere."""

LEFT, RIGHT, MIDDLE = (
    QtCore.Qt.MouseButton.LeftButton,
    QtCore.Qt.MouseButton.RightButton,
    QtCore.Qt.MouseButton.MiddleButton,
)


class FlyCameraView(GLViewWidget):  # type: ignore[misc]
    """A 3D view through the camera of a flight.

    Attributes:
        flight: The camera control.
        woken: Emitted when the next tick has work to do.
        dragging: Whether the mouse is dragging the camera.
    """

    def __init__(self, flight: Flight) -> None:
        super().__init__()
        self.flight = flight
        self.woken: Signal[[]] = Signal()
        self.dragging = False
        self._pressed: tuple[QtCore.QPointF, QtCore.Qt.MouseButton] | None = None
        self._at = QtCore.QPointF()
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setMinimumSize(240, 180)

    @property
    def places(self) -> Arrangement:
        """Positions of the plates."""
        raise NotImplementedError

    def clicked(self, x: float, y: float) -> None:
        """Handle a click."""

    def double_clicked(self, x: float, y: float) -> None:
        """Handle a double click."""

    def hovered_at(self, x: float, y: float) -> None:
        """Handle mouse movement without a button."""

    def drag_ended(self) -> None:
        """Handle the end of a drag."""

    def left(self) -> None:
        """Handle the mouse leaving the view."""

    def viewport_size(self) -> tuple[float, float]:
        """Return width and height in pixels, at least 1."""
        return max(self.width(), 1), max(self.height(), 1)

    def viewMatrix(self) -> QtGui.QMatrix4x4:  # noqa: N802 - pyqtgraph's name
        """Return the view matrix of the camera."""
        return QtGui.QMatrix4x4(*self.flight.camera.view().reshape(-1).tolist())

    def projectionMatrix(  # noqa: N802 - pyqtgraph's name
        self, region: object, viewport: object
    ) -> QtGui.QMatrix4x4:
        """Return the projection matrix of the camera."""
        width, height = self.viewport_size()
        matrix = self.flight.camera.projection(width / height)
        return QtGui.QMatrix4x4(*matrix.reshape(-1).tolist())

    def cameraPosition(self) -> QtGui.QVector3D:  # noqa: N802 - pyqtgraph's name
        """Return the position of the camera."""
        return QtGui.QVector3D(*self.flight.camera.pose.position)

    # --- mouse and keys -------------------------------------------------------------------

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Start a click or a drag."""
        self.setFocus()
        self._at = _position(event)
        self._pressed = self._at, event.button()
        self.dragging = False

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Drag the camera, or report the mouse position."""
        at = _position(event)
        if self._pressed is None:
            self.hovered_at(at.x(), at.y())
            return
        begin, button = self._pressed
        if not self.dragging and (at - begin).manhattanLength() < CLICK_PIXELS:
            return
        self.dragging = True
        right, down = at.x() - self._at.x(), at.y() - self._at.y()
        self._at = at
        places = self.places
        shift = event.modifiers() & QtCore.Qt.KeyboardModifier.ShiftModifier
        if button == MIDDLE or (button == LEFT and shift):
            self.flight.pan(right, down, self.height(), places)
        elif button == RIGHT:
            self.flight.look(right, down, places)
        else:
            self.flight.orbit(right, down, places)

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """End a drag, or report a click."""
        pressed, self._pressed = self._pressed, None
        if pressed is None or self.dragging:
            self.dragging = False
            self.drag_ended()
        elif event.button() == LEFT:
            at = _position(event)
            self.clicked(at.x(), at.y())

    def mouseDoubleClickEvent(self, event: QtGui.QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Report a double click."""
        if event.button() == LEFT:
            at = _position(event)
            self.double_clicked(at.x(), at.y())

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Move towards the point under the mouse, or away from it."""
        at = _position(event)
        camera = self.flight.camera
        direction = camera.ray(at.x(), at.y(), *self.viewport_size())
        origin = np.asarray(camera.pose.position)
        places = self.places
        hit = met(origin, direction, places, self.flight.focus_row)
        reach = (places.corners[hit[0], 2] - origin[2]) / direction[2] if hit else camera.pace * 2
        notches = event.angleDelta().y() / NOTCH
        self.flight.approach(origin + direction * reach, notches, places)

    def fly_key_pressed(self, event: QtGui.QKeyEvent) -> bool:
        """Start to fly if it is a key for that; return whether it is."""
        self.flight.fast = bool(event.modifiers() & QtCore.Qt.KeyboardModifier.ShiftModifier)
        direction = KEYS.get(event.key())
        others = QtCore.Qt.KeyboardModifier.ControlModifier | QtCore.Qt.KeyboardModifier.AltModifier
        if direction is None or event.modifiers() & others:
            return False
        if not event.isAutoRepeat():
            self.flight.press(direction)
            self.woken.emit()
        return True

    def fly_key_released(self, event: QtGui.QKeyEvent) -> bool:
        """Stop to fly if it is a key for that; return whether it is."""
        if event.key() == QtCore.Qt.Key.Key_Shift:
            self.flight.fast = False
        direction = KEYS.get(event.key())
        if direction is None:
            return False
        if not event.isAutoRepeat():
            self.flight.release(direction)
        return True

    def keyPressEvent(self, event: QtGui.QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Start to fly."""
        if not self.fly_key_pressed(event):
            event.ignore()

    def keyReleaseEvent(self, event: QtGui.QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Stop flying."""
        if not self.fly_key_released(event):
            event.ignore()

    def focusOutEvent(self, event: QtGui.QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Release all keys if their release events will be lost."""
        if event.reason() in AWAY:
            self.flight.release_all()
        super().focusOutEvent(event)

    def leaveEvent(self, event: QtCore.QEvent) -> None:  # noqa: N802 - Qt's name
        """Report that the mouse has left."""
        self.left()


def _position(event: QtGui.QMouseEvent | QtGui.QWheelEvent) -> QtCore.QPointF:
    """Return the position of an event in pixels of its widget."""
    return event.position() if hasattr(event, "position") else event.localPos()
