"""The clock of a window: it ticks while there is something to do; a still picture costs nothing.

While pictures are taken it stands still: time and camera move only when told to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyqtgraph.Qt import QtCore

TICK_MS = 14
"""Slightly less than a 60th of a second, because timers fire late, never early."""

LONGEST_TICK = 0.1
"""Most seconds that one tick advances, so that nothing jumps after a pause."""


class WindowClock:
    """Ticks until there is nothing left to do.

    Attributes:
        timer: What makes it tick.
        last_tick: When it ticked last, in seconds.
        standing: Whether time moves only when told to.
        ended: Whether it will not tick again.
    """

    def __init__(
        self, parent: QtCore.QObject, advance: Callable[[float, float], bool], *, standing: bool
    ) -> None:
        """Create the clock, at rest.

        Args:
            parent: Owner of the timer.
            advance: Called with now and the seconds since the last tick; returns whether another
                tick is needed.
            standing: Whether time moves only when told to.
        """
        self._advance = advance
        self.standing, self.ended = standing, False
        self.last_tick = time.perf_counter()
        self.timer = QtCore.QTimer(parent)
        self.timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(self.tick)

    def wake(self) -> None:
        """Tick again, unless time stands still."""
        if not self.standing and not self.ended and not self.timer.isActive():
            self.last_tick = time.perf_counter()
            self.timer.start(TICK_MS)

    def tick(self) -> None:
        """Advance by the time since the last tick, and rest if nothing is left to do."""
        now = time.perf_counter()
        seconds, self.last_tick = min(now - self.last_tick, LONGEST_TICK), now
        if not self._advance(now, seconds):
            self.timer.stop()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let time stand still, so that a picture or a movie can be taken."""
        before, self.standing = self.standing, True
        self.timer.stop()
        try:
            yield
        finally:
            self.standing = before
            self.wake()

    def end(self) -> None:
        """Stop for good."""
        self.ended = True
        self.timer.stop()
