"""A loader whose values arrive on the thread of the window."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from pyqtgraph.Qt import QtCore

from accweight_viewer.model.loading import Loader

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Background(Generic[Key, Value]):
    """One thread that reads, the newest wish first.

    Attributes:
        loader: The loader itself.
    """

    def __init__(self, read: Callable[[Key], Value], arrived: Callable[[], object]) -> None:
        """Start.

        Args:
            read: Reads one value, called on another thread.
            arrived: Called on this thread whenever values or failures wait.
        """
        self._bridge: Any = _Bridge(arrived)
        self.loader: Loader[Key, Value] = Loader(read, self._bridge.call)

    def values(self) -> Iterator[tuple[Key, Value]]:
        """Yield what has arrived."""
        while (found := self.loader.take()) is not None:
            yield found

    @property
    def idle(self) -> bool:
        """Whether nothing is wished for, under way, or waiting."""
        return self.loader.idle

    def close(self) -> None:
        """Stop, after what is being read now; nothing arrives any more."""
        self._bridge.closed = True
        self.loader.close()


class _Bridge(QtCore.QObject):  # type: ignore[misc]
    """Carries a call from any thread to the one that it was made on."""

    _called = QtCore.Signal()

    def __init__(self, arrived: Callable[[], object]) -> None:
        super().__init__()
        self.closed = False
        self._arrived = arrived
        self._called.connect(self._receive, QtCore.Qt.ConnectionType.QueuedConnection)

    def call(self) -> None:
        """Have `arrived` called soon; on any thread."""
        with suppress(RuntimeError):  # the program is ending and Qt is gone already
            self._called.emit()

    def _receive(self) -> None:
        if not self.closed:
            self._arrived()
