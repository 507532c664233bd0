"""A call from any thread that arrives on the thread of the window."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pyqtgraph.Qt import QtCore


class Bridge(QtCore.QObject):  # type: ignore[misc]
    """Carries calls; many that are made before the first arrives become one.

    Attributes:
        closed: Whether calls that arrive from now on are dropped.
    """

    _called = QtCore.Signal()

    def __init__(self, arrived: Callable[[], object]) -> None:
        """Belong to this thread.

        Args:
            arrived: Called here, soon after `call` is called anywhere.
        """
        super().__init__()
        self.closed = False
        self._arrived = arrived
        self._under_way = False
        self._called.connect(self._arrive, QtCore.Qt.ConnectionType.QueuedConnection)

    def call(self) -> None:
        """Have `arrived` called soon."""
        if not self._under_way:
            self._under_way = True
            with suppress(RuntimeError):  # the program is ending and Qt is gone already
                self._called.emit()

    def _arrive(self) -> None:
        self._under_way = False
        if not self.closed:
            self._arrived()
