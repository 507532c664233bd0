"""Help within the window: its menu, the guide over everything, and a hint at the first start."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Protocol

from accweight_viewer.model.flight import Flight
from accweight_viewer.model.session import Session
from accweight_viewer.panes.guide import Guide, Hint
from accweight_viewer.preferences import Preferences
from accweight_viewer.scene.view import SceneView


class HelpedWindow(Protocol):
    """What help needs of a window."""

    session: Session
    flight: Flight
    scenes: list[SceneView]

    def add_pane(self, pane: Any) -> Any:
        """Add a pane to be ticked, themed, waited for and closed; return it."""


class WindowHelp:
    """The Help menu of a window, and what it shows.

    Attributes:
        guide: What keys and mouse do, and what bright means.
        hint: The hint in the first scene; None if somebody had flown before.
    """

    def __init__(self, window: HelpedWindow, menu: Any, preferences: Preferences | None) -> None:
        """Fill the menu; show a hint until somebody has flown.

        Args:
            window: The window, with all panes built.
            menu: Its Help menu.
            preferences: Where it is kept whether somebody has flown; None for no hint.
        """
        self.guide: Guide = window.add_pane(Guide(window.session, window))
        keys = menu.addAction("Keys, mouse and colours\t?")
        keys.triggered.connect(lambda *_: self.guide.toggle())
        menu.addAction(f"accweight {version('accweight')}").setEnabled(False)
        self.hint: Hint | None = None
        if preferences is not None and not preferences.has_flown:
            self.hint = Hint(window.flight, window.scenes[0])
            self.hint.gone.connect(preferences.keep_flown)
