"""Signal connections that end with a pane, and mouse events."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, ParamSpec

from pyqtgraph.Qt import QtCore

from accweight_viewer.model.signal import Signal

P = ParamSpec("P")

CLICK_PIXELS = 4
"""Most pixels between press and release of a click."""

NOTCH = 120
"""Units of wheel rotation per step."""


def listen(pane: Any, signal: Signal[P], listener: Callable[P, object]) -> None:
    """Connect a listener until the pane is destroyed, which may be before the session is."""
    signal.connect(listener)
    # pane and session may be collected in one cycle, where the signal is an empty shell already;
    # a weak reference to it is gone by then
    held = weakref.ref(signal)

    def end(*_: Any) -> None:
        alive = held()
        if alive is not None:
            alive.disconnect(listener)

    pane.destroyed.connect(end)


def place_of(event: Any) -> Any:
    """Return the position of a mouse event as QPointF, for Qt 5 and 6 and wheel events."""
    return event.position() if hasattr(event, "position") else QtCore.QPointF(event.pos())
