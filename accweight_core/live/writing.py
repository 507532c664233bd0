"""Write steps to a stored analysis in the background, so that training never waits for a disk.

Steps wait in order. Of those that wait, a few keep their pictures and state; the others keep their
numbers alone, which are never given up: if the disk is full, they wait until there is room.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Condition, Thread

from accweight_core.accumulate.stepwise import Carry
from accweight_core.jobs.growing import GrowingAnalysis, MeasuredStep
from accweight_core.metrics.table import Floats
from accweight_core.schema import TypeChange
from accweight_core.store.header import Header
from accweight_core.store.records import CheckpointRecord
from accweight_core.store.step_pictures import StepPictures, undrawn_step

MOST_DRAWN = 3
"""Steps that may wait with their pictures and their state in any case, the last one among them."""

WAITING_BYTES = 32 << 20
"""Pictures and states of further ones: so that steps of a small network, which take less time than
a file, do not lose theirs."""

Draw = Callable[[], StepPictures]
"""Draws the pictures of a step."""


@dataclass(frozen=True)
class WaitingStep:
    """A step to be written.

    Attributes:
        place: Its position among the steps.
        header: Header of this step alone, with any checkpoint.
        draw: Its pictures; None if they are left out.
        carry: State of every parameter after it; None if it is left out.
        size_bytes: About what both take in memory.
    """

    place: int
    header: Header
    draw: Draw | None = None
    carry: list[Carry] | None = None
    size_bytes: int = 0


class BackgroundWriter:
    """Adds steps to one analysis, in a thread of its own.

    Attributes:
        error: Why the step that is next could not be written; None if all is well.
        left_out: Number of steps whose pictures were left out.
        measured: Returns the record and the sums of the step at a position, and which element types
            changed there.
    """

    def __init__(
        self,
        path: Path,
        measured: Callable[[int], tuple[CheckpointRecord, Floats, tuple[TypeChange, ...]]],
        growing: GrowingAnalysis | None,
    ) -> None:
        """Create it without steps.

        Args:
            path: Folder of the analysis.
            measured: As the attribute.
            growing: The analysis, if it exists already.
        """
        self.error: Exception | None = None
        self.left_out = 0
        self._path = path
        self.measured = measured
        self._growing = growing
        self._is_begun = growing is not None
        self._waiting: deque[WaitingStep] = deque()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._is_closing = self._is_left = False
        self._tried = 0
        self._process = os.getpid()

    def put(self, step: WaitingStep) -> None:
        """Have a step written; returns at once."""
        with self._changed:
            self._waiting.append(step)
            self._thin()
            if self._thread is None:
                self._is_closing, self._tried = False, 0
                self._thread = Thread(target=self._run, name="accweight writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _thin(self) -> None:
        """If too much waits with pictures and state, leave out those of the last step but one.

        The last one keeps them, since training may end with it, and the first may be being written.
        """
        whole = [
            i for i, s in enumerate(self._waiting) if s.draw is not None or s.carry is not None
        ]
        waiting_bytes = sum(self._waiting[i].size_bytes for i in whole)
        if len(whole) > MOST_DRAWN and waiting_bytes > WAITING_BYTES:
            step = self._waiting[whole[-2]]
            self.left_out += step.draw is not None
            self._waiting[whole[-2]] = replace(step, draw=None, carry=None)

    def release_later(self) -> None:
        """Write what waits and release the analysis, without being waited for."""
        if self.is_copy:
            return
        with self._changed:
            self._is_left = self._is_closing = True
            self._changed.notify_all()
        if self._thread is None:
            self._release()

    @property
    def is_copy(self) -> bool:
        """Whether this process was forked from the one that writes, and has no thread."""
        return os.getpid() != self._process

    def flush(self) -> None:
        """Wait until nothing waits, or what waits could not be written."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) <= self._tried)

    def close(self) -> int:
        """Write what waits, and release the analysis; return how many steps could not be written.

        These stay; another call, or a later step, tries again.
        """
        if self.is_copy:
            return 0
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        elif self._waiting:
            self._write_all()
        self._release()
        return len(self._waiting)

    def _release(self) -> None:
        if self._growing is not None and not self._waiting:
            self._growing.close()
            self._growing = None

    def _run(self) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(self._has_work)
                is_last = self._is_closing
            self._write_all()
            with self._changed:
                self._tried = len(self._waiting)
                self._changed.notify_all()
        if self._is_left:
            self._release()

    def _has_work(self) -> bool:
        """Tell whether there are new steps; those that failed are tried again with them."""
        return len(self._waiting) > self._tried or self._is_closing

    def _write_all(self) -> None:
        """Write what waits, until there is nothing left or a step cannot be written."""
        try:
            while self._waiting:
                self._write(self._waiting[0])
                with self._changed:
                    self._waiting.popleft()
            self.error = None
        except Exception as error:  # reported by the tracker, where the user sees it
            self.error = error

    def _write(self, step: WaitingStep) -> None:
        record, totals, changes = self.measured(step.place)
        pictures = step.draw() if step.draw else undrawn_step(step.header)
        carry = None if step.carry is None else step.carry.__getitem__
        measured = MeasuredStep(
            record,
            totals,
            carry=carry,
            pictures=pictures,
            has_no_state=carry is None,
            type_changes=changes,
        )
        if self._growing is None and self._is_begun:  # it was released by `close`
            self._growing = GrowingAnalysis.open(self._path)
        if self._growing is None:
            self._growing = GrowingAnalysis.begin(self._path, step.header, measured)
            self._is_begun = True
        else:
            self._growing.add_step(measured)
