"""Track the change of a model while it trains, on the device of its weights.

The tracker keeps errors away from training. What it asks: `schedule` which updates are taken,
`given` what is in them, `measuring` for their numbers, and `outlets` to store and log them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from threading import RLock
from typing import Any, Literal, get_args

from accweight_core.analysis.findings import counted
from accweight_core.arguments import check_count, checked_choice, checked_roles, checked_step
from accweight_core.errors import ArgumentTypeError, NonFiniteError
from accweight_core.io.target import target_at
from accweight_core.live.given import Given
from accweight_core.live.measuring import Measuring
from accweight_core.live.outlets import Outlets
from accweight_core.live.recording import Recorder
from accweight_core.live.reports import Errors, Reports
from accweight_core.live.results import Results
from accweight_core.live.rooms import StateIn, room_for
from accweight_core.live.schedule import Every, Schedule
from accweight_core.live.shard_states import put_together
from accweight_core.live.shards import rank
from accweight_core.live.uncompiled import uncompiled
from accweight_core.live.update_log import UpdateLog
from accweight_core.live.weights import weights_of
from accweight_core.schema import DEFAULT_ROLES, Role
from accweight_core.store.beside import name_of

Precision = Literal["float64", "compensated"]

LEFT_OUT = "this update is left out, and training goes on"
STOPPED = "tracking has stopped, and training goes on"


class ChangeTracker(Results):
    """Accumulates the change of every weight, with one `update` per step.

    >>> import numpy as np
    >>> tracker = ChangeTracker()
    >>> for step in range(3):
    ...     _ = tracker.update({"fc.weight": np.full((2, 2), step / 4)}, step=step)
    >>> float(tracker.analysis().ranking()["mean"][0])
    0.5

    Args:
        store: Folder of an analysis (NAME.accw) that every step is written to in the
            background, with pictures. If the disk is slower than training, pictures are left
            out, never numbers. None keeps the numbers in memory.
        every: Which updates are taken; all others return at once. A number n takes the first
            update at or after each multiple of n; ``"log"`` those of the steps 1, 2, 5, 10,
            20, 50, ...; a collection of steps those; a function is asked with each step. The
            first update is always taken. By default every one is.
        resume: Continue an existing store; otherwise that is an error. Updates of steps that it
            holds are skipped. It continues from the state in the store, or else from
            `load_state_dict`.
        keep_state: Whether the state is stored with every step: 16 bytes per weight at first,
            12 with every step. By default up to 4 million weights.
        state_in: Where the state of a model on a CPU is kept, 16 bytes per float32 weight.
            ``"memory"``; or ``"files"`` without a name beside the store, which are mapped into
            memory and written out when it is short; ``"auto"`` has W_0 and W_(t-1) in such
            files, and A_t in memory, if there is a store and the state exceeds 64 MiB.
        picture_budget_bytes: Most bytes of all pictures; 0 stores none. By default a sixteenth
            of the bytes of all weights seen, but at least 64 MiB and at most 1 GiB; pictures
            become coarser as steps are added.
        each_rank: Where several processes train together, track in each of them, as where they
            hold different parts of a model; then `merge` the trackers. By default the first
            one tracks a model that each has whole, and the others return at once. Shards
            (FSDP) are measured by all: these must be updated with the same steps everywhere.
        errors: ``"report"`` logs what goes wrong in an update (logger ``accweight``), once per
            kind, and lets training go on: invalid weights are left out, and after a failure
            within a measurement the tracker takes no more. ``"raise"`` raises.
        strict: Raise at the first non-finite element instead of counting it, whatever `errors`
            says; every update then waits for the device.
        roles: Roles in layers, rankings and the maximum.
        precision: Precision of A_t and of the sums of a sub-block: ``"float64"`` has the same
            bits as the walk over files; ``"compensated"`` keeps two float32 per weight, which
            do not stagnate either, for devices where float64 is slow or missing
            (``docs/accuracy.md``). Metrics then agree to about 1e-6.

    Raises:
        ArgumentTypeError, ArgumentValueError: If an argument is not of its kind.
        StoreError: If the store exists and is not to be continued, or cannot be.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | None = None,
        *,
        every: Every = None,
        each_rank: bool = False,
        resume: bool = False,
        keep_state: bool | None = None,
        state_in: StateIn = "auto",
        picture_budget_bytes: int | None = None,
        errors: Errors = "report",
        strict: bool = False,
        roles: tuple[Role, ...] = DEFAULT_ROLES,
        precision: Precision = "float64",
    ) -> None:
        """Create it without weights; the first `update` sets the reference."""
        check_count(picture_budget_bytes, "picture_budget_bytes", least=0)
        checked_choice(state_in, get_args(StateIn), "state_in")
        checked_choice(precision, get_args(Precision), "precision")
        checked_choice(errors, get_args(Errors), "errors")
        self._has_stopped = False
        self._lock = RLock()  # for programs that update from several threads
        path = target_at(store, "an analysis") if store is not None else None
        reports = Reports(errors)
        self._begun = partial(
            Measuring,
            checked_roles(roles),
            strict=strict,
            compensated=precision == "compensated",
            name=name_of(path) if path else "live",
            room=partial(room_for, state_in, path.parent if path else None, reports),
        )
        schedule = Schedule(every)
        super().__init__(self._begun(), reports)
        self._given = Given(reports, each_rank=each_rank)
        recorder = None
        if path is not None and (each_rank or rank() == 0):  # others keep the state of shards there
            recorder = Recorder(
                path,
                self._measuring,
                reports,
                resume=resume,
                keep_state=keep_state,
                picture_budget_bytes=picture_budget_bytes,
            )
        self._outlets = Outlets(recorder, reports)
        schedule.begin(self._measuring.steps)
        self._schedule = schedule

    def __repr__(self) -> str:
        """Return how much it has tracked so far, and where it is stored."""
        steps, recorder = self._measuring.steps, self._outlets.recorder
        span = f", {steps[0]} to {steps[-1]}" if steps[1:] else ""
        known = f"{counted(len(steps), 'update')}{span}, {self.elements:,} weights"
        stopped = ", stopped" if self._measuring.is_broken else ""
        return f"<ChangeTracker: {known}{stopped}; in {recorder.path if recorder else 'memory'}>"

    def __reduce__(self) -> Any:
        """Raise, as for `torch.save`, `copy`, or a worker that is started anew.

        Raises:
            ArgumentTypeError: Always; it says what can be saved.
        """
        raise ArgumentTypeError(
            "a ChangeTracker cannot be copied or pickled, as its store has one writer; save its "
            "state_dict(), and keep it out of data sets that workers are given"
        )

    def __enter__(self) -> ChangeTracker:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the store."""
        self.close()

    def flush(self) -> None:
        """Wait until every step taken is in the store, or could not be written."""
        self._outlets.flush()

    def close(self) -> None:
        """Write what is not on disk yet, and release the store; the tracker can go on.

        It happens by itself when the program ends.
        """
        self._outlets.close()

    @uncompiled
    def update(
        self,
        model: Any,
        /,
        step: int | None = None,
        loss: Any = None,
        accuracy: Any = None,
        *,
        force: bool = False,
        **measures: Any,
    ) -> ChangeTracker:
        """Add the weights of one step; they are neither kept nor modified.

        Args:
            model: A torch module, its ``state_dict()``, a Keras model, a model of Flax or its
                state, an algorithm of Stable-Baselines3, or a mapping of name to tensor or array.
            step: A step larger than the one taken before; by default one more than at the last
                call, from 0.
            loss: Training figure of this step: a number, or a tensor of one element, which is
                fetched later. Figures of updates that are not taken are not kept.
            accuracy: Likewise.
            force: Take this update even if `every` leaves it out, as at the end of training.
            measures: Further figures by name.

        Returns:
            Self.

        Raises:
            NonFiniteError: If an element is not finite and the tracker is strict.
            StepOrderError: If `step` is not larger than the last one taken. This and what follows
                are raised with ``errors="raise"`` only.
            MismatchError: If a parameter is missing or has another shape.
            ArgumentTypeError: If the model or a figure is of an unknown type.
        """
        if self._has_stopped:
            return self
        try:
            with self._lock:
                at = self._schedule.step_of(step)
                if self._outlets.is_compared(at):
                    self._outlets.compare(weights_of(model, f"at step {at}"), at)
                if self._schedule.is_due(at, self._measuring.steps, force=force):
                    self._take(model, at, {"loss": loss, "accuracy": accuracy, **measures})
        except NonFiniteError:
            raise
        except Exception as error:  # training must go on, whatever a framework or device raises
            self._reports.take(error, self._consequence())
        return self

    def is_due(self, step: int, *, force: bool = False) -> bool:
        """Tell whether `update` would take this step, so that a loop gathers nothing in vain.

        It costs microseconds. A function given as `every` is asked; give ``force=True`` to
        `update` afterwards, so that it is not asked twice.

        Args:
            step: Step of the update. If it is not larger than the last one taken, the answer is
                False, but for a step that is compared with the store where training goes on.
            force: As of `update`.
        """
        steps = self._measuring.steps
        if self._has_stopped or (steps and step <= steps[-1]):
            return not self._has_stopped and self._outlets.is_compared(step)
        try:
            return self._schedule.is_due(step, steps, force=force)
        except Exception as error:  # whatever a function of the user raises
            self._reports.take(error, LEFT_OUT)
            return False

    def reset(self) -> ChangeTracker:
        """Forget everything; the next update is the reference. Options stay. Returns self.

        Raises:
            MismatchError: If it has a store, which holds one run.
        """
        self._outlets.check_no_store("reset")
        self._measuring = self._begun()
        self._schedule.begin()
        self._has_stopped = False
        self._outlets.forget_logged()
        return self

    def merge(self, other: Any) -> ChangeTracker:
        """Add the parameters of another tracker, of another part of the same model.

        For models whose parts train in different processes: send the `state_dict` of each to one
        process, load it into a tracker there, and merge them. Numbers are those of one tracker of
        all parts, bit for bit. `other` stays as it is.

        Args:
            other: A tracker that took the same steps, of other parameters.

        Returns:
            Self.

        Raises:
            MismatchError: If the steps differ, or a parameter is in both.
            ArgumentTypeError, ArgumentValueError: If it is no tracker, or of another precision.
        """
        if not isinstance(other, ChangeTracker):
            raise ArgumentTypeError(f"expected a ChangeTracker, got {type(other).__name__}")
        self._outlets.check_no_store("merged")
        self._measuring.merge(other._measuring)
        self._schedule.following = max(self._schedule.following, other._schedule.following)
        self._outlets.forget_logged()
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return everything measured and kept, as plain numbers, text and tensors on the host.

        Of a model that is sharded, it is that of the part of this process: each saves its own.
        Save it with the model's own: ``torch.save`` writes it, and ``torch.load`` reads it with
        ``weights_only=True``. It takes as much memory as the tracker itself.
        """
        with self._lock:
            return {**self._measuring.saved(), "next": self._schedule.following}

    def load_state_dict(
        self, state: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> ChangeTracker:
        """Continue from a `state_dict`, with the numbers of training that was never interrupted.

        On the same kind of device these are the same bits. What was measured before is forgotten.

        Args:
            state: The state. Where processes hold shards of a model, each loads its own, all at
                the same time; or each loads a list of those of all processes, from which any
                other number of processes can continue.

        Returns:
            Self.

        Raises:
            ArgumentTypeError: If it is no state of a tracker.
            ArgumentValueError: If it is damaged, of a newer version, of another precision, or the
                part of another process.
            MismatchError: If the states of processes that hold shards end at different steps.
        """
        if isinstance(state, Sequence) and not isinstance(state, (str, bytes)):
            state = put_together(state)
        measuring = self._begun()
        measuring.load(state)
        self._schedule.go_on(measuring.steps, checked_step(state.get("next", 0)))
        self._measuring, self._has_stopped = measuring, False
        self._outlets.follow(measuring)
        return self

    def log_to(
        self,
        writer: Any,
        *,
        metrics: Sequence[str] = (),
        histograms: bool = True,
        pictures: bool = True,
    ) -> ChangeTracker:
        """Log every update from now on to a TensorBoard writer; each then waits for the device.

        Args:
            writer: A `SummaryWriter` of torch.utils.tensorboard or tensorboardX; it is not closed.
            metrics: Metrics to log; by default all.
            histograms: Also log how far the weights of each layer moved since the update before,
                if that was logged, too; this keeps 8 more bytes per weight, on the host, for layers
                of at most 4 million weights.
            pictures: Also log pictures of the layers, after 1, 2, 4, 8, ... updates.

        Returns:
            Self.

        Raises:
            ArgumentTypeError: If the writer lacks a method of a `SummaryWriter`.
            UnknownNameError: If there is no such metric.
        """
        log = UpdateLog(writer, metrics=metrics, histograms=histograms, pictures=pictures)
        self._outlets.logs.append(log)
        return self

    def _consequence(self) -> str:
        return STOPPED if self._has_stopped else LEFT_OUT

    def _take(self, model: Any, step: int, measures: Mapping[str, Any]) -> None:
        # in a copy, threads of torch would never answer
        weights = None if self._outlets.are_of_a_copy() else self._given.weights(model, step)
        if weights is None:
            self._has_stopped = True
            return
        figures = self._given.figures(measures)
        try:
            self._measuring.measure(weights, step, figures, self._outlets.check)
        finally:
            self._has_stopped = self._measuring.is_broken
        self._given.measured(weights, step)
        self._outlets.add(self._measuring, self._shown)
