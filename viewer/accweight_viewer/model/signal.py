"""The one way in which the model tells panes that something changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Signal(Generic[P]):
    """Calls every listener, in the order in which they were connected.

    >>> heard = []
    >>> moved: Signal[[int]] = Signal()
    >>> _ = moved.connect(heard.append)
    >>> moved.emit(3)
    >>> heard
    [3]
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[P, object]] = []

    def connect(self, listener: Callable[P, object]) -> Callable[P, object]:
        """Call `listener` from now on; returns it, for `disconnect`."""
        self._listeners.append(listener)
        return listener

    def disconnect(self, listener: Callable[P, object]) -> None:
        """Stop calling `listener`; one that never listened is no mistake."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Tell everyone; a listener may connect or disconnect others meanwhile."""
        for listener in tuple(self._listeners):
            listener(*args, **kwargs)
