"""Position in time among the checkpoints, and playback."""

from __future__ import annotations

from dataclasses import dataclass

REST_SECONDS = 0.8
"""Pause on the last checkpoint in a loop, so that the final state can be seen."""


@dataclass
class TimeCursor:
    """A position that advances during playback.

    Attributes:
        count: Number of checkpoints.
        position: Index of the checkpoint shown, from 0.
        phase: Progress towards the next one, from 0 to 1; 0 when stopped.
        playing: Whether playback runs.
    """

    count: int
    position: int = 0
    phase: float = 0.0
    playing: bool = False
    _rested: float = 0.0

    @property
    def last(self) -> int:
        """The last position."""
        return max(self.count - 1, 0)

    def move_to(self, position: int) -> bool:
        """Go to a position, within limits; return whether it changed."""
        before = self.position
        self.position = min(max(position, 0), self.last)
        self.phase = self._rested = 0.0
        return self.position != before

    def play(self) -> None:
        """Start playback; from the beginning if it is at the end."""
        if self.position >= self.last:
            self.move_to(0)
        self.playing = self.count > 1

    def pause(self) -> None:
        """Stop at the current checkpoint."""
        self.playing = False
        self.phase = self._rested = 0.0

    def advance(self, seconds: float, *, speed: float, loop: bool) -> bool:
        """Advance in time; return whether the position changed.

        Args:
            seconds: Elapsed time.
            speed: Checkpoints per second.
            loop: Whether to restart at the end.
        """
        if not self.playing:
            return False
        before = self.position
        if self.position >= self.last:
            self._rest(seconds, loop)
            return self.position != before
        self.phase += seconds * speed
        moved = int(self.phase)
        self.position = min(self.position + moved, self.last)
        self.phase = 0.0 if self.position >= self.last else self.phase - moved
        return self.position != before

    def _rest(self, seconds: float, loop: bool) -> None:
        self.phase = 0.0
        self._rested += seconds
        if not loop:
            self.pause()
        elif self._rested >= REST_SECONDS:
            self.move_to(0)
