"""A training that a tracker follows: what the callbacks of all frameworks have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Final
from weakref import WeakSet

from accweight_core.live.recording import STATE_ELEMENTS
from accweight_core.live.reports import LOG
from accweight_core.live.schedule import Every, due_by
from accweight_core.live.shards import at_first
from accweight_core.live.tracker import ChangeTracker

State = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What `ChangeTracker.load_state_dict` takes."""

OTHER_ARGUMENTS: Final = frozenset({"step", "force"})
"""Arguments of `ChangeTracker.update` that a logged figure of the same name would clash with."""


_ALL: WeakSet[TrackedTraining] = WeakSet()
"""Trainings of this program; not all frameworks tell callbacks that one was interrupted."""


class TrackedTraining:
    """Creates the tracker when training begins, and hands it what is due.

    The tracker is not created before, as only then a process knows which of several it is.

    Attributes:
        tracker: The tracker; None before training.
        is_by_period: Whether updates are offered once per period, such as an epoch, and all taken.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | None,
        every: Every,
        period: str,
        options: Mapping[str, Any],
    ) -> None:
        """Create it.

        Args:
            store: As of `ChangeTracker`.
            every: The name of the period, or as of `ChangeTracker`.
            period: What the framework calls its natural period.
            options: Further options of `ChangeTracker`.

        Raises:
            ArgumentTypeError, ArgumentValueError: If `every` is neither.
        """
        self.tracker: ChangeTracker | None = None
        self.is_by_period = isinstance(every, str) and every == period
        self._store = store
        self._options = {"every": None if self.is_by_period else every, **options}
        due_by(self._options["every"])
        _ALL.add(self)

    def begin(self, step: int, state: State | None = None) -> None:
        """Create the tracker; where one callback sees training go on, the tracker goes on, too.

        Without a store, one that begins at an earlier step has a tracker of its own.

        Args:
            step: Step at which training begins; after 0, an existing store is continued.
            state: State of a tracker to continue from, if the store has none.

        Raises:
            StoreError: If the store exists and training begins at step 0, or cannot be written.
        """
        is_repeated = self.tracker is not None and not self.tracker.is_due(step + 1, force=True)
        if self.tracker is not None and (step > 0 if self._store else not is_repeated):
            return
        if is_repeated and self._store is None and not state:
            LOG.warning(
                "accweight: training begins again at step %d, and the callback has a new tracker, "
                "which forgets the training before",
                step,
            )
        for other in tuple(_ALL):
            other.release(self._store)
        self.tracker = ChangeTracker(self._store, **{"resume": step > 0, **self._options})
        if state:
            self.tracker.load_state_dict(state)

    def offer(
        self,
        step: int,
        model: Callable[[], Any],
        figures: Callable[[], Mapping[str, Any]] = dict,
        *,
        force: bool = False,
    ) -> None:
        """Have the tracker take a step if it is due; only then model and figures are asked for.

        After a period, the store has all steps before, so that a trainer that is killed then goes
        on from its last checkpoint without a gap.
        """
        if self.tracker is not None and self.tracker.is_due(step, force=force):
            if self.is_by_period:
                self.tracker.flush()
            logged = {name: value for name, value in figures().items() if _is_figure(name, value)}
            self.tracker.update(model(), step, force=True, **logged)

    def state(self) -> State | None:
        """Return the state of the tracker, for a checkpoint of which the first process writes one.

        Where processes hold shards it is the states of all, up to as many weights as a store would
        have it for, or with ``keep_state=True``; all have to call it, and others than the first one
        get nothing. Otherwise a store has it.
        """
        if self.tracker is None:
            return None
        if self.tracker.is_sharded:
            return self._states_of_all(self.tracker)
        return None if self._store is not None else self.tracker.state_dict()

    def _states_of_all(self, tracker: ChangeTracker) -> State | None:
        keep = self._options.get("keep_state")
        if not (tracker.elements <= STATE_ELEMENTS if keep is None else keep):
            return None
        return at_first(tracker.state_dict()) or None

    def flush(self) -> None:
        """Wait until the store has what was taken, as for a checkpoint that is gone on from."""
        if self.tracker is not None:
            self.tracker.flush()

    def release(self, store: str | os.PathLike[str] | None) -> None:
        """Close the tracker if it has a store that another training begins with."""
        if store is None or self._store is None:
            return
        if os.path.abspath(store) == os.path.abspath(self._store):
            self.close()

    def close(self) -> None:
        """Write what is not in the store yet, and release it."""
        if self.tracker is not None:
            self.tracker.close()


def _is_figure(name: str, value: Any) -> bool:
    """Tell whether something logged is one number, as a tensor or not."""
    if name in OTHER_ARGUMENTS or isinstance(value, bool):
        return False
    return isinstance(value, Real) or getattr(value, "shape", None) == ()
