"""Keys that fly wherever the focus is, unless text is being edited.

Tables and combo boxes would take letters for the start of a name, so the widget with the focus is
filtered: its keys reach the flight first. Releases do as well, so that no key stays held.
"""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.scene.fly_camera_view import AWAY, FlyCameraView
from accweight_viewer.widgets.shortcuts import is_typing

_PRESS, _RELEASE = QtCore.QEvent.Type.KeyPress, QtCore.QEvent.Type.KeyRelease


class FlyKeys(QtCore.QObject):  # type: ignore[misc]
    """Passes keys of the widget with the focus to a scene."""

    def __init__(self, window: QtWidgets.QWidget, scene: FlyCameraView) -> None:
        """Watch the focus of a window.

        Args:
            window: The window; it owns this.
            scene: The scene whose flight the keys control until another one has the focus.
        """
        super().__init__(window)
        self._window = window
        self._scene = scene
        self._watched: Any = None
        self._application: Any = QtWidgets.QApplication.instance()
        self._application.focusChanged.connect(self._focus_changed)

    def close(self) -> None:
        """Stop watching; a window may be closed twice."""
        if self._application is not None:
            self._application.focusChanged.disconnect(self._focus_changed)
            self._application = None
        self._watch(None)

    def _focus_changed(self, before: Any, now: Any) -> None:
        here = now is not None and now.window() is self._window
        if now is None and self._window.isActiveWindow() and self._scene.isVisible():
            self._scene.setFocus()  # a field that was left, or a pane that was hidden
            return
        if here and isinstance(now, FlyCameraView):
            self._scene = now
        if not here or is_typing(now):
            self._scene.flight.release_all()
        self._watch(now if here and not isinstance(now, FlyCameraView) else None)

    def _watch(self, widget: Any) -> None:
        if self._watched is not None:
            self._watched.removeEventFilter(self)
            self._watched.destroyed.disconnect(self._forget)
        self._watched = widget
        if widget is not None:
            widget.installEventFilter(self)
            widget.destroyed.connect(self._forget)

    def _forget(self, *_: object) -> None:
        self._watched = None

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802 - Qt's name
        """Let the scene have keys that fly."""
        kind = event.type()
        if kind == QtCore.QEvent.Type.FocusOut and event.reason() in AWAY:
            self._scene.flight.release_all()
        if kind not in (_PRESS, _RELEASE) or is_typing(watched):
            return False
        scene = self._scene
        return scene.fly_key_pressed(event) if kind == _PRESS else scene.fly_key_released(event)
