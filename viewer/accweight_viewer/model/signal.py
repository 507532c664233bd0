"""Signals, by which the model notifies panes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Signal(Generic[P]):
    """Calls all listeners, in the order of connection.

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
        """Call `listener` on every emission; return it, for `disconnect`."""
        self._listeners.append(listener)
        return listener

    def disconnect(self, listener: Callable[P, object]) -> None:
        """Stop calling `listener`; an unknown one is ignored."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def emit(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all listeners; a listener may connect or disconnect others."""
        for listener in tuple(self._listeners):
            listener(*args, **kwargs)
