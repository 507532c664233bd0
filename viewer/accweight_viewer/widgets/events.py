"""What panes hear: signals of the model for as long as they live, and where the mouse is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec

from pyqtgraph.Qt import QtCore

from accweight_viewer.model.signal import Signal

P = ParamSpec("P")

CLICK_PIXELS = 4
"""The mouse may move so far between press and release of a click."""

NOTCH = 120
"""Units of a wheel's turn that are one step."""


def listen(pane: Any, signal: Signal[P], listener: Callable[P, object]) -> None:
    """Connect a listener until the pane is destroyed: the session may live longer."""
    signal.connect(listener)
    pane.destroyed.connect(lambda *_: signal.disconnect(listener))


def place_of(event: Any) -> Any:
    """Return where a mouse event happened, as QPointF; Qt 6 and wheels have another name for it."""
    return event.position() if hasattr(event, "position") else QtCore.QPointF(event.pos())
