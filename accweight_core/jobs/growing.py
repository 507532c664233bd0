"""A stored analysis that grows: steps are added by one writer, readers see whole steps.

A step is added as files of its own; of those before it, the list alone is read. A process may be
killed at any moment: the last whole step stays, and whoever opens the analysis next goes on from
there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType

from accweight_core.accumulate.cutting import Block
from accweight_core.accumulate.stepwise import Carry
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.growth import added_metrics, extended
from accweight_core.analysis.sources import Stored
from accweight_core.analysis.summary import completed, metric_arrays
from accweight_core.errors import StepOrderError, StoreError
from accweight_core.io.stamp import stamps_of
from accweight_core.io.target import target_at
from accweight_core.jobs.work import Work
from accweight_core.metrics.table import Floats
from accweight_core.schema import TypeChange
from accweight_core.store.analysis_store import Store
from accweight_core.store.beginning import begin_beside, create, is_taken
from accweight_core.store.beside import beside, real_place
from accweight_core.store.groups import create_group
from accweight_core.store.growing import (
    digest_of,
    publish,
    segment_document,
    tidy_grown,
    write_document,
)
from accweight_core.store.header import Header, versions
from accweight_core.store.lock import locked, told_in_one_line
from accweight_core.store.merging import merge_due
from accweight_core.store.part import Part
from accweight_core.store.records import CheckpointRecord, NonFinite
from accweight_core.store.replacing import discard, tidy
from accweight_core.store.state import STATE
from accweight_core.store.step_pictures import StepPictures


@dataclass(frozen=True)
class MeasuredStep:
    """One step that was measured elsewhere, as by a tracker while a model trains.

    Attributes:
        checkpoint: Its checkpoint.
        totals: (parameters, sums) float64.
        carry: Returns the state of a parameter by its index; needed if the state is stored.
        pictures: Its pictures, needed if pictures are stored; levels may differ from those before.
        has_no_state: Whether the state is left out on purpose; nothing can be appended until a
            later step has it.
        type_changes: Which element types change at this step.
    """

    checkpoint: CheckpointRecord
    totals: Floats
    carry: Callable[[int], Carry] | None = None
    pictures: StepPictures | None = None
    has_no_state: bool = False
    type_changes: tuple[TypeChange, ...] = ()


class GrowingAnalysis:
    """An analysis that this process adds steps to; it holds the lock until it is closed.

    Attributes:
        store: The analysis as it is now.
        was_unfinished: Whether opening it has put steps in place that a killed writer had left.
    """

    def __init__(self, store: Store, lock: ExitStack, *, was_unfinished: bool = False) -> None:
        """Use `open` or `begin`."""
        self.store = store
        self.was_unfinished = was_unfinished
        self._lock = lock

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> GrowingAnalysis:
        """Open a finished analysis, to add steps.

        Raises:
            StoreError: If there is none, another process writes it, or this version cannot go on.
        """
        target = target_at(path, "an analysis")
        with ExitStack() as held:
            held.enter_context(locked(target))
            tidy(target)
            found, was_unfinished = tidy_grown(target)
            store = found or Store.open(target)  # which tells why there is none
            if not store.header.complete:
                raise StoreError(
                    f"{target}: the analysis is not finished, so nothing can be appended; "
                    "analyse all checkpoints, to another output or with --overwrite"
                )
            store.check_can_go_on()
            store = merge_due(store)
            return cls(store, held.pop_all(), was_unfinished=was_unfinished)

    @classmethod
    def begin(
        cls, path: str | os.PathLike[str], header: Header, first: MeasuredStep
    ) -> GrowingAnalysis:
        """Create an analysis of one step, to add further ones.

        Args:
            path: Folder of the analysis.
            header: Header without checkpoints: source, reader, parameters, roles, and which
                pictures and whether the state are stored.
            first: The reference step.

        Raises:
            StoreError: If the path exists, or cannot be written.
        """
        target = target_at(path, "an analysis")
        header = replace(header, checkpoints=(first.checkpoint,)).with_packs()
        with ExitStack() as held:
            held.enter_context(locked(target))
            tidy(target)
            if is_taken(target):
                raise StoreError(f"{target}: exists already; nothing is overwritten")
            if target.exists():
                target.rmdir()
            values = first.totals[None]
            discard(target, beside(target, "next"))  # of a writer that was killed, or had no room
            draft = create(beside(target, "next"), header, draft=beside(target, "draft"))
            _write_arrays(draft, first, lambda index: STATE)
            metrics = {name: [found] for name, found in metric_arrays(header, values).items()}
            draft.finish(completed(header, values), metrics)
            draft.path.rename(real_place(target))
            return cls(Store.open(target), held.pop_all())

    def __enter__(self) -> GrowingAnalysis:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Release the lock."""
        return self._lock.__exit__(kind, error, trace)

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def analysis(self) -> Analysis:
        """Return the analysis up to the last step."""
        return Analysis(Stored(self.store))

    def add_step(self, step: MeasuredStep) -> None:
        """Add one step.

        Raises:
            StepOrderError: If it is not after the last one.
            StoreError: If it cannot be written; the analysis is then as before.
        """
        earlier, last = self.store.header, self.store.header.last_step
        if step.checkpoint.step <= last:
            raise StepOrderError(f"step {step.checkpoint.step} came after step {last}")
        header = replace(
            earlier,
            checkpoints=(*earlier.checkpoints, step.checkpoint),
            versions=versions(),
            type_changes=(*earlier.type_changes, *step.type_changes),
        )
        bases = step.pictures.bases if step.pictures else None
        alone = self.header_of_added(header, bases)
        with told_in_one_line(self.store.path):
            draft = Part(beside(self.store.path, "next"), alone)
            discard(self.store.path, draft.path)
            create_group(draft.path)
            draft.create_totals()
            if alone.picture_bases:
                create_group(draft.path / "pictures")
            _write_arrays(draft, step, self.store.state_names)
            draft.write_metrics(added_metrics(self.store, draft))
            self._publish(draft, *extended(self.store, header, draft, ()))

    def add_run(self, work: Work, header: Header) -> None:
        """Measure checkpoints, parameter by parameter, and add them in one segment.

        If this is stopped, the same call goes on.

        Args:
            work: The walk of these checkpoints; its header is from `header_of_added`.
            header: The header of the analysis with these checkpoints.
        """
        checkpoints = work.run.checkpoints
        draft = begin_beside(self.store.path, work.header, stamps_of(checkpoints), work.notice)
        if not draft.header.complete:
            work.walk_into(draft)
        after, nonfinite = extended(self.store, header, draft, checkpoints)
        if not draft.header.complete:
            alone = replace(work.header, maximum=after.maximum)
            draft.finish(alone, added_metrics(self.store, draft))
        self._publish(draft, after, nonfinite)

    def header_of_added(
        self, header: Header, picture_bases: tuple[int, ...] | None = None
    ) -> Header:
        """Return the header of added steps alone, before they are measured.

        Args:
            header: The header of the analysis with these steps.
            picture_bases: Finest level of their pictures per parameter; by default as before.
        """
        before = len(self.store.header.checkpoints)
        return replace(
            header,
            checkpoints=header.checkpoints[before:],
            picture_bases=header.picture_bases if picture_bases is None else picture_bases,
            notes=(),
            warnings=(),
            maximum=None,
            complete=False,
            type_changes=(),
            follows=digest_of(self.store.last_totals),
        ).with_packs()

    def _publish(self, draft: Part, after: Header, nonfinite: Sequence[NonFinite]) -> None:
        """Put complete steps in place, and merge what is due."""
        document = segment_document(self.store.header, after, draft.header, nonfinite)
        write_document(draft.path, document)
        self.store = publish(self.store, draft.path, document)
        self.store = merge_due(self.store)


def _write_arrays(
    part: Part, step: MeasuredStep, state_names: Callable[[int], Sequence[str]]
) -> None:
    """Write the pictures, the state and the totals of one step."""
    header = part.header
    if header.picture_bases:
        if step.pictures is None:
            raise StoreError(f"{part.path}: pictures are stored, so a step needs its pictures")
        step.pictures.write(part)
    if header.keeps_state and not step.has_no_state:
        if step.carry is None:
            raise StoreError(f"{part.path}: the state is stored, so a step needs its state")
        for index, parameter in enumerate(header.parameters):
            if parameter.elements:
                block = Block(0, parameter.elements)
                part.write_state(index, block, step.carry(index), state_names(index))
    part.finish_parameters(range(len(header.parameters)), step.totals[None])
    part.flush()
