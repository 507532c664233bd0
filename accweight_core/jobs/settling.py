"""Which checkpoints are complete while a job goes on writing: readable ones that do not change.

Nothing tells that a file is finished, so it is read once its stamps have been the same for a while.
A file that cannot be read is being written, unless nobody has changed it for a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from accweight_core.io.stamp import stamp_if_there
from accweight_core.naming import natural_key
from accweight_core.runs.search import Broken
from accweight_core.schema import Checkpoint, Stamp

UNREAD_S = 60.0
"""After so long without a change, a file that cannot be read is not being written any more."""


@dataclass(frozen=True)
class Complete:
    """What is complete among new checkpoints.

    Attributes:
        checkpoints: Those before the first one that is not, in step order.
        is_settling: Whether one can be read, but was changed or found a moment ago.
        again_s: When to look again, in seconds, even if nothing changes; None if that is useless.
    """

    checkpoints: tuple[Checkpoint, ...]
    is_settling: bool
    again_s: float | None


class Settling:
    """Remembers since when checkpoints are unchanged."""

    def __init__(
        self, settle_s: float, tell: Callable[[str], object], clock: Callable[[], float]
    ) -> None:
        """Remember nothing yet.

        Args:
            settle_s: Seconds for which a checkpoint has to be unchanged.
            tell: Called with what to tell the user, which may be the same again and again.
            clock: Returns seconds that never go back.
        """
        self._settle_s, self._tell, self._clock = settle_s, tell, clock
        self._unchanged: dict[str, tuple[Mapping[str, Stamp], float]] = {}

    def complete(self, fresh: Sequence[Checkpoint], broken: Sequence[Broken]) -> Complete:
        """Return the checkpoints that can be measured now.

        A file that is being written holds up those whose names come after its own: its step is not
        known, and may come before theirs.

        Args:
            fresh: New checkpoints that can be read, in step order.
            broken: Files that cannot be read.
        """
        settled = {checkpoint.path for checkpoint in fresh if self._is_settled(checkpoint)}
        is_settling = len(settled) < len(fresh)
        written = self.being_written(broken)
        in_the_way = min((natural_key(str(bad.path)) for bad in written), default=None)

        def is_ready(one: Checkpoint) -> bool:
            is_before = in_the_way is None or natural_key(one.path) < in_the_way
            return one.path in settled and is_before

        again_s = self._settle_s if is_settling else UNREAD_S if written else None
        return Complete(tuple(takewhile(is_ready, fresh)), is_settling, again_s)

    def are_settled(self, checkpoints: Iterable[Checkpoint]) -> bool:
        """Tell whether none of some checkpoints has changed for the settling time."""
        return all([self._is_settled(one) for one in checkpoints])  # each is seen now

    def _is_settled(self, checkpoint: Checkpoint) -> bool:
        now = self._clock()
        stamps, since = self._unchanged.get(checkpoint.path, (None, now))
        if stamps != checkpoint.stamps:
            since = now
        self._unchanged[checkpoint.path] = checkpoint.stamps, since
        return now - since >= self._settle_s

    def being_written(self, broken: Sequence[Broken]) -> list[Broken]:
        """Return the unreadable files that a job may be writing; tell the user of the others."""
        young = []
        for bad in broken:
            stamp = stamp_if_there(bad.path)
            if stamp is None:
                continue
            if time.time_ns() - stamp.changed_ns < UNREAD_S * 1e9:
                young.append(bad)
            else:
                self._tell(f"{bad.error}; left out unless it is completed")
        return young

    def forget(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Forget checkpoints that were measured."""
        for checkpoint in checkpoints:
            self._unchanged.pop(checkpoint.path, None)

    def begin_again(self) -> None:
        """Let all checkpoints settle anew, as one changed while it was read."""
        self._unchanged.clear()
