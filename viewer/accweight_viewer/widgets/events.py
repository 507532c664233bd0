"""What panes hear: signals of the model for as long as they live, and where the mouse is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec

from pyqtgraph.Qt import QtCore

from accweight_viewer.model.signal import Signal

P = ParamSpec("P")


def listen(pane: Any, signal: Signal[P], listener: Callable[P, object]) -> None:
    """Connect a listener until the pane is destroyed: the session may live longer."""
    signal.connect(listener)
    pane.destroyed.connect(lambda *_: signal.disconnect(listener))


def place_of(event: Any) -> Any:
    """Return where a mouse event happened, as QPointF; Qt 6 and wheels have another name for it."""
    return event.position() if hasattr(event, "position") else QtCore.QPointF(event.pos())
