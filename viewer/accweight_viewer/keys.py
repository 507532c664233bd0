"""The keys of the window, and what Escape leads back from.

The keys that fly are in `scene.fly_keys`: they are held, not pressed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from accweight_viewer.help import WindowHelp
from accweight_viewer.model.session import Session
from accweight_viewer.panes.found_row import FoundRow
from accweight_viewer.panes.layer_table import LayerTable
from accweight_viewer.scene.fly_keys import FlyKeys
from accweight_viewer.scene.view import SceneView
from accweight_viewer.widgets.shortcuts import install


class KeyedWindow(Protocol):
    """What keys need of a window."""

    session: Session
    table: LayerTable
    scenes: list[SceneView]
    found: FoundRow
    help: WindowHelp

    def toggle_playing(self) -> None:
        """Start or stop playback."""

    def show_all(self) -> None:
        """Move the camera to show everything."""

    def show_selected(self) -> None:
        """Move the camera to the selected layer."""

    def restore_scene(self) -> bool:
        """Put the scenes back in their place; return whether they were not."""

    def leave_layer(self) -> None:
        """Move the camera back to where it was before it went to a layer."""

    def close(self) -> bool:
        """Close the window."""


class WindowKeys:
    """All keys of a window."""

    def __init__(self, window: KeyedWindow) -> None:
        """Install the keys.

        Args:
            window: The window, with all panes built.
        """
        self._window = window
        self.flying = FlyKeys(_widget(window), window.scenes[0])
        session, table = window.session, window.table
        actions: dict[str, Callable[[], object]] = {
            "Space": window.toggle_playing,
            "Left": lambda: session.move_to(session.cursor.position - 1),
            "Right": lambda: session.move_to(session.cursor.position + 1),
            "Shift+Left": lambda: session.move_to(0),
            "Shift+Right": lambda: session.move_to(session.cursor.last),
            "[": lambda: session.move_to(0),
            "]": lambda: session.move_to(session.cursor.last),
            "Home": window.show_all,
            "F": window.show_selected,
            ".": window.show_selected,
            "L": lambda: session.change(logarithmic=not session.settings.logarithmic),
            "T": lambda: session.change(
                theme="light" if session.settings.theme == "dark" else "dark"
            ),
            "G": lambda: window.found.toggle_graph(),
            "/": table.focus_search,
            "Ctrl+F": table.focus_search,
            "?": window.help.guide.toggle,
            "F1": window.help.guide.toggle,
            "Ctrl+Q": window.close,
            "Esc": self.back,
        }
        install(_widget(window), actions)

    def back(self) -> None:
        """Leave the guide or an enlarged picture, a field and a filter, or the front of a layer."""
        window, table = self._window, self._window.table
        if window.help.guide.leave() or window.found.graph.leave() or window.restore_scene():
            return
        was_filtering = table.search.hasFocus() or bool(table.search.text())
        table.show_all()
        window.scenes[0].setFocus()
        if not was_filtering:
            window.leave_layer()

    def close(self) -> None:
        """Stop watching the focus."""
        self.flying.close()


def _widget(window: Any) -> Any:
    """Return the window as the widget that it is as well."""
    return window
