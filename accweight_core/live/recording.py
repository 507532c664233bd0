"""Record a model that trains in a stored analysis, and continue one that was stopped."""

from __future__ import annotations

import atexit
import os
import weakref
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from accweight_core.accumulate.cutting import Block
from accweight_core.accumulate.stepwise import Carry
from accweight_core.analysis.findings import counted
from accweight_core.errors import MismatchError, StoreError
from accweight_core.io.target import target_at
from accweight_core.jobs.growing import GrowingAnalysis
from accweight_core.jobs.pipeline import picture_bases, picture_budget
from accweight_core.live.continuing import Continuing
from accweight_core.live.measuring import Measuring
from accweight_core.live.reports import Reports
from accweight_core.live.shard_pictures import STEP, header_of_step
from accweight_core.live.shards import rank
from accweight_core.live.states import WeightState
from accweight_core.live.writing import BackgroundWriter, Draw, WaitingStep
from accweight_core.schema import Parameter
from accweight_core.store.analysis_store import Store
from accweight_core.store.beginning import is_taken
from accweight_core.store.header import Header
from accweight_core.store.lock import locked
from accweight_core.store.records import LIVE
from accweight_core.store.state import State
from accweight_core.store.step_pictures import StepPictures, draw_step

PLANNED_STEPS = 16
"""Pictures are planned for this many steps at first, then for twice as many whenever there are."""

STATE_ELEMENTS = 1 << 22
"""Weights up to which the state is stored with every step unless asked otherwise: 48 MiB."""

STATE_BYTES = 16
"""Bytes of the state of a float32 weight while it waits: W_0, W_t, A_t."""


class Recorder:
    """Writes the steps of a run to its store.

    Attributes:
        path: Folder of the analysis.
        continuing: Compares the training that goes on with the state in the store, if it has one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        measuring: Measuring,
        reports: Reports,
        *,
        resume: bool,
        keep_state: bool | None,
        picture_budget_bytes: int | None,
    ) -> None:
        """Create it, and take over an existing store.

        Args:
            path: Folder of the analysis.
            measuring: The measurements of the run; continued from the store if it has a state.
            reports: Takes what goes wrong.
            resume: Whether an existing analysis is continued; otherwise it is an error.
            keep_state: Whether the state is stored with every step; by default up to
                `STATE_ELEMENTS`.
            picture_budget_bytes: Most bytes of all pictures, as of `analyze`.

        Raises:
            StoreError: If the path exists and is not to be continued, or is written by another
                process, or is not an analysis of training, or cannot be written.
        """
        self.path: Path = target_at(path, "an analysis")
        self._measuring = measuring
        self._reports = reports
        self._keeps_state = keep_state
        self._budget = picture_budget_bytes
        self._before: Header | None = None
        self._last: int | None = None
        self._repeated: list[int] | None = None
        self.continuing: Continuing | None = None
        growing = None
        if is_taken(self.path):
            if Store.document_at(self.path) is None:
                raise StoreError(
                    f"{self.path}: is there already, and no analysis; choose another name, such as "
                    "run.accw"
                )
            if not resume:
                raise StoreError(
                    f"{self.path}: exists already; resume=True continues it, another name begins "
                    "a new one"
                )
            growing = GrowingAnalysis.open(self.path)
            self._before = self._continue(growing)
            self._last = int(self._before.steps[-1])
            if measuring.steps:
                self.continuing = Continuing(self.path, measuring, reports)
        else:
            with locked(self.path):  # whether it can be written is told before training
                pass
        self._alone: Header | None = None
        self._step_bytes = 0
        self._planned = 0
        self._writer = BackgroundWriter(self.path, measuring.record, growing)
        atexit.register(_closed, weakref.ref(self))
        # a tracker that nobody has any more, as after a cell of a notebook was run again
        weakref.finalize(self, self._writer.release_later).atexit = False

    def follow(self, measuring: Measuring) -> None:
        """Go on with the measurements of a state that was loaded."""
        self._measuring, self._repeated, self.continuing = measuring, None, None
        self._writer.measured = measuring.record
        self._alone = None

    def to_draw(self) -> Header | None:
        """Return the header of the last step, with pictures, if it is to be stored.

        Raises:
            MismatchError: If the store is of another model.
        """
        header = self._header(len(self._measuring.steps)) if self._new_places() else None
        return header if header and header.picture_bases else None

    def add(self, drawn: StepPictures | None = None) -> None:
        """Have every measured step written that is not stored yet.

        Args:
            drawn: The pictures of the last step, where they are not drawn from the measurements of
                this process alone.

        Raises:
            MismatchError: If the store is of another model.
        """
        self._tell()
        if self.is_copy():
            return
        steps, places = self._measuring.steps, self._new_places()
        if not places:
            return
        self._check_repeated(steps[: places[0]])
        header = self._header(len(steps))
        for place in places:
            is_last = place == len(steps) - 1
            step = self._step(place, header, drawn) if is_last else WaitingStep(place, header)
            self._writer.put(step)
            self._last = steps[place]
        if self._writer.left_out:
            self._reports.tell(
                "thinned",
                f"{self.path}: writing is slower than training, so that the pictures of some steps "
                "are left out; their numbers are not",
            )

    def _new_places(self) -> list[int]:
        """Return the positions of the steps that are not stored yet."""
        steps, last = self._measuring.steps, self._last
        return list(range(0 if last is None else bisect_right(steps, last), len(steps)))

    def _step(self, place: int, header: Header, drawn: StepPictures | None) -> WaitingStep:
        """Return the last step with its pictures and the state."""
        if self._measuring.is_sharded:  # this process has neither all of A_t nor of the state
            draw = None if drawn is None else lambda: drawn
            return WaitingStep(place, header, draw, size_bytes=self._step_bytes)
        draw = self._draw(header) if header.picture_bases else None
        carry = self._carry() if header.keeps_state else None
        return WaitingStep(place, header, draw, carry, self._step_bytes)

    def check_continued(self) -> None:
        """Raise if the store has steps that the measurements do not continue.

        Raises:
            StoreError: If its state is neither stored nor loaded.
        """
        if self._before is not None and not self._measuring.steps:
            raise StoreError(
                f"{self.path}: holds the steps up to {self._last}, but not the state that later "
                "ones continue from; load_state_dict() the tracker's own first, or delete the "
                "store if training begins anew"
            )

    def _check_repeated(self, taken: Sequence[int]) -> None:
        """Raise unless the steps that the store has without a state were all measured again.

        Raises:
            StoreError: If training has gone on from a later step than that of the state.
        """
        repeated, self._repeated = self._repeated, None
        if repeated is not None and list(taken) != repeated:
            self._repeated = repeated
            raise StoreError(
                f"{self.path}: holds the steps up to {repeated[-1]}, but the state that later ones "
                "continue from is of an earlier one; go on from an earlier checkpoint, or "
                "load_state_dict() the tracker's own first"
            )

    def flush(self) -> None:
        """Wait until everything measured is on disk, or could not be written."""
        if self.is_copy():
            return
        self._writer.flush()
        self._tell()

    def close(self) -> None:
        """Write what waits, and release the store."""
        left = self._writer.close()
        self._tell()
        if left:
            self._reports.tell(
                ("left", left),
                f"{self.path}: {counted(left, 'step')} could not be written; mend that and call "
                "close() again, or save() the run elsewhere",
            )

    def is_copy(self) -> bool:
        """Tell whether this process is a copy of the one that writes, and say so once."""
        if self._writer.is_copy:
            self._reports.tell(
                "copy",
                f"{self.path}: process {os.getpid()} was forked from the one that writes, and "
                "writes nothing; update the tracker where it was created",
            )
        return self._writer.is_copy

    def _tell(self) -> None:
        error = self._writer.error
        if error is not None:
            self._reports.take(error, "training goes on, and so do the numbers, in memory for now")

    def _continue(self, growing: GrowingAnalysis) -> Header:
        """Continue the measurements from a stored analysis if it has a state; return its header."""
        store, header = growing.store, growing.store.header
        try:
            if any(record.format != LIVE for record in header.checkpoints):
                raise StoreError(
                    f"{self.path}: holds an analysis of checkpoints, which a tracker cannot "
                    "continue; choose another name"
                )
            steps = store.newest_state if header.keeps_state else None
            if steps is not None:  # later steps without a state are measured again, and skipped
                state = store.state_of(steps)
                states = {p.name: _read(state, i, p) for i, p in enumerate(header.parameters)}
                taken = header.up_to(steps)
                self._repeated = header.steps.tolist() if steps < len(header.steps) else None
                self._measuring.resume(taken, store.totals_at(slice(0, steps)), states)
        except BaseException:
            growing.close()
            raise
        return header

    def _check_parameters(self) -> None:
        if self._before is None:
            return
        stored = [(p.name, p.shape) for p in self._before.parameters]
        ours = [(p.name, p.shape) for p in self._measuring.parameters.values()]
        if stored != ours:
            raise MismatchError(f"{self.path}: holds the training of another model; choose another")

    def _header(self, steps: int) -> Header:
        """Return the header of a step alone, with levels of pictures that suit so many steps.

        Raises:
            MismatchError: If the store is of another model.
        """
        self._check_parameters()
        if self._alone is None or steps > self._planned:
            self._planned = max(PLANNED_STEPS, 1 << (steps - 1).bit_length())
            header = self._measuring.header()
            planned = replace(header, checkpoints=(STEP,) * self._planned)
            kept = replace(header, keeps_state=self._is_state_kept(header))
            self._alone = header_of_step(kept, self._levels(planned))
            self._step_bytes = _size_bytes(self._alone)
        return self._alone

    def _levels(self, planned: Header) -> tuple[int, ...]:
        """Return the finest level of each picture: those of earlier steps, or coarser ones."""
        if self._measuring.is_sharded and rank():
            return ()  # the first process alone has pictures of shards
        wanted = picture_bases(planned, picture_budget(planned, self._budget))
        before = self._alone or self._before
        if before is None:
            return wanted
        return tuple(map(max, wanted, before.picture_bases)) if before.picture_bases else ()

    def _is_state_kept(self, header: Header) -> bool:
        if self._before is not None:
            return self._before.keeps_state
        if self._measuring.compensated or self._measuring.is_sharded:
            return False
        elements = sum(parameter.elements for parameter in header.parameters)
        return elements <= STATE_ELEMENTS if self._keeps_state is None else self._keeps_state

    def _draw(self, header: Header) -> Draw:
        """Draw the last step now on a CPU; elsewhere, copy it there and draw it later."""
        names, paths = list(self._measuring.parameters), self._measuring.paths()
        if self._measuring.on_cpu:
            drawn = draw_step(header, lambda index, *inside: paths.read(names[index], *inside))
            return lambda: drawn
        copied = paths.copied()
        return lambda: draw_step(header, lambda i, *inside: copied.read(names[i], *inside))

    def _carry(self) -> list[Carry]:
        """Return the state of all parameters, as a stored analysis has it."""
        found = []
        for name in self._measuring.parameters:
            state = self._measuring.state(name)
            parts = state.reference, state.previous, state.total
            reference, previous, total = (part.numpy() for part in parts)
            found.append((reference, previous, total))
        return found


def _size_bytes(header: Header) -> int:
    """Return about how many bytes a step takes while it waits: pictures, and state or A_t."""
    elements = sum(parameter.elements for parameter in header.parameters)
    pictures = (header.plan(i).size_bytes for i, p in enumerate(header.parameters) if p.elements)
    return STATE_BYTES * elements + (sum(pictures) if header.picture_bases else 0)


def _read(state: State, index: int, parameter: Parameter) -> WeightState:
    if not parameter.elements:
        empty = torch.empty(0)
        return WeightState(empty, empty, empty.double())
    reference, previous, total = state.read(index, Block(0, parameter.elements))
    return WeightState(*(torch.from_numpy(part.copy()) for part in (reference, previous, total)))


def _closed(recorder: weakref.ref[Recorder]) -> None:
    """Close a recorder that is still there when the program ends."""
    found = recorder()
    if found is not None:
        found.close()
