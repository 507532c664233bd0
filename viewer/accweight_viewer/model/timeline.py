"""Where in time the viewer is: a position among the checkpoints, resting or playing."""

from __future__ import annotations

from dataclasses import dataclass

REST_SECONDS = 0.8
"""A loop rests on the last checkpoint, or its final state could not be seen."""


@dataclass
class TimeCursor:
    """A position that moves with time.

    Attributes:
        count: Number of checkpoints.
        position: The one that is shown, from 0.
        phase: How far the next one has come, from 0 to 1; 0 at rest.
        playing: Whether time moves.
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
        """Go to a position, or as near as there is one; tells whether that is another."""
        before = self.position
        self.position = min(max(position, 0), self.last)
        self.phase = self._rested = 0.0
        return self.position != before

    def play(self) -> None:
        """Let time move; from the beginning if it was at the end."""
        if self.position >= self.last:
            self.move_to(0)
        self.playing = self.count > 1

    def pause(self) -> None:
        """Stop on the checkpoint that is shown."""
        self.playing = False
        self.phase = self._rested = 0.0

    def advance(self, seconds: float, *, speed: float, loop: bool) -> bool:
        """Let time pass; tells whether the position is another.

        Args:
            seconds: Time that has passed.
            speed: Checkpoints per second.
            loop: Whether to begin anew at the end.
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
