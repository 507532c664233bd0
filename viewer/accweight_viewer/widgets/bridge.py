"""A call from any thread that is executed on the thread of the window."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pyqtgraph.Qt import QtCore


class Bridge(QtCore.QObject):  # type: ignore[misc]
    """Forwards calls; several calls before the first is executed become one.

    Attributes:
        closed: Whether further calls are dropped.
    """

    _called = QtCore.Signal()

    def __init__(self, arrived: Callable[[], object]) -> None:
        """Create it on the thread of the window.

        Args:
            arrived: Called on this thread, soon after `call` on any thread.
        """
        super().__init__()
        self.closed = False
        self._arrived = arrived
        self._under_way = False
        self._called.connect(self._arrive, QtCore.Qt.ConnectionType.QueuedConnection)

    def call(self) -> None:
        """Schedule a call of `arrived`."""
        if not self._under_way:
            self._under_way = True
            with suppress(RuntimeError):  # Qt is already destroyed at exit
                self._called.emit()

    def _arrive(self) -> None:
        self._under_way = False
        if not self.closed:
            self._arrived()
