"""Where the steps of a tracker go once they are measured: a store, and writers of TensorBoard.

What goes wrong there is reported, and costs that step in that place alone.
"""

from __future__ import annotations

from collections.abc import Callable

from accweight_core.analysis.shown import Shown
from accweight_core.errors import MismatchError
from accweight_core.live.measuring import Measuring
from accweight_core.live.recording import Recorder
from accweight_core.live.reports import Reports
from accweight_core.live.shard_pictures import drawn_by_all
from accweight_core.live.update_log import UpdateLog
from accweight_core.live.weights import Weights
from accweight_core.store.step_pictures import StepPictures


class Outlets:
    """The store and the logs of one tracker.

    Attributes:
        recorder: Writes the store; None without one.
        logs: What is logged, by writer.
    """

    def __init__(self, recorder: Recorder | None, reports: Reports) -> None:
        """Create it without logs.

        Args:
            recorder: Writes the store; None without one.
            reports: Takes what goes wrong.
        """
        self.recorder = recorder
        self.logs: list[UpdateLog] = []
        self._reports = reports

    def check_no_store(self, what: str) -> None:
        """Check that there is no store, as before what would make another run of the tracker.

        Args:
            what: What would become of the tracker, as "reset".

        Raises:
            MismatchError: If there is one.
        """
        if self.recorder is not None:
            raise MismatchError(
                f"a tracker with a store cannot be {what}, as the store holds one run of one "
                "tracker; create another tracker"
            )

    def are_of_a_copy(self) -> bool:
        """Tell whether a store is written by the process that this one was forked from."""
        return self.recorder is not None and self.recorder.is_copy()

    def check(self) -> None:
        """Raise if no step can be taken.

        Raises:
            StoreError: If the store has steps that the measurements do not continue.
        """
        if self.recorder is not None:
            self.recorder.check_continued()

    def is_compared(self, step: int) -> bool:
        """Tell whether the weights of a step are compared with those in the store."""
        continuing = self.recorder.continuing if self.recorder else None
        return continuing is not None and continuing.is_compared(step)

    def compare(self, weights: Weights, step: int) -> None:
        """Tell the user if weights are not those in the store, where `is_compared`.

        Raises:
            MismatchError: If a parameter is missing or has another shape.
        """
        if self.recorder is not None and self.recorder.continuing is not None:
            self.recorder.continuing.compare(weights, step)

    def add(self, measuring: Measuring, shown: Callable[[], Shown]) -> None:
        """Store and log the step that was measured last.

        Args:
            measuring: The measurements.
            shown: Returns what is logged of them.
        """
        self._record(self._drawn_by_all(measuring) if measuring.is_sharded else None)
        if self.logs:
            self._log(shown)

    def follow(self, measuring: Measuring) -> None:
        """Go on with other measurements, of a state that was loaded."""
        self.forget_logged()
        if self.recorder is not None:
            self.recorder.follow(measuring)

    def forget_logged(self) -> None:
        """Take what is logged next for a run of its own."""
        for log in self.logs:
            log.forget()

    def flush(self) -> None:
        """Wait until every step is in the store, or could not be written."""
        if self.recorder is not None:
            self.recorder.flush()

    def close(self) -> None:
        """Write what is not in the store yet, and release it."""
        if self.recorder is not None:
            self.recorder.close()

    def _drawn_by_all(self, measuring: Measuring) -> StepPictures | None:
        """Draw together with the processes that hold the other shards."""
        to_draw = self.recorder.to_draw if self.recorder else lambda: None
        try:
            return drawn_by_all(measuring, to_draw)
        except Exception as error:  # as of pictures that do not fit the memory
            self._reports.take(error, "the pictures of this step are left out")
            return None

    def _record(self, drawn: StepPictures | None) -> None:
        if self.recorder is None:
            return
        try:
            self.recorder.add(drawn)
            if self.recorder.continuing is not None:
                self.recorder.continuing.check_step()
        except Exception as error:  # as of pictures that do not fit the memory
            self._reports.take(error, "the store lacks this step, which is kept in memory")

    def _log(self, shown: Callable[[], Shown]) -> None:
        try:
            found = shown()
            for log in self.logs:
                log.log(found)
        except Exception as error:  # whatever a writer raises
            self._reports.take(error, "this update is not logged")
