"""Whether a job was started again from an earlier step, told by its checkpoints alone.

It was, if a checkpoint of a step that was measured, or of one before it, was written after the last
one that was measured, with other weights. Weights are compared by the sums of their squares, which
an analysis has of every step: so a file that was touched, copied or written again with the same
weights (training that repeats itself bit for bit) tells of nothing. It is read for that, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from accweight_core.analysis.analysis import Analysis
from accweight_core.jobs.pipeline import analyze
from accweight_core.jobs.same_run import folder_of, lies_in, with_names_of
from accweight_core.metrics.sums import SUMS
from accweight_core.schema import Checkpoint, Restart, Run, Stamp
from accweight_core.store.header import Header
from accweight_core.store.records import CheckpointRecord

RunOf = Callable[[tuple[Checkpoint, ...]], Run]
"""Returns the run of some checkpoints."""


class Repeated:
    """Which checkpoints were written again, remembering those that were read for that."""

    def __init__(self) -> None:
        self._as_measured: dict[str, Mapping[str, Stamp]] = {}

    def written_later(
        self, checkpoints: Iterable[Checkpoint], header: Header
    ) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that may tell that the job of an analysis was started again.

        Args:
            checkpoints: The checkpoints that are there, in step order.
            header: Header of the analysis.
        """
        later = written_later(checkpoints, header)
        return tuple(one for one in later if not self.is_as_measured(one))

    def is_as_measured(self, checkpoint: Checkpoint) -> bool:
        """Tell whether a checkpoint was found to have the weights that were measured."""
        return self._as_measured.get(checkpoint.path) == checkpoint.stamps

    def first(
        self, later: Iterable[Checkpoint], analysis: Analysis, run_of: RunOf
    ) -> Checkpoint | None:
        """Return the first checkpoint that has other weights than those measured at its step.

        Args:
            later: What `written_later` has returned.
            analysis: The analysis.
            run_of: Returns the run of some checkpoints.

        Raises:
            FormatError: If one cannot be read, or changed while it was read.
        """
        for one in later:
            if not is_as_measured(one, analysis, run_of):
                return one
            self._as_measured[one.path] = one.stamps
        return None

    def begun_with(
        self,
        checkpoints: Iterable[Checkpoint],
        restart: Restart,
        is_one_run: Callable[[tuple[Checkpoint, ...]], bool],
    ) -> tuple[Checkpoint, ...]:
        """Return what a job that was started again has written, up to its next start.

        The checkpoint that it went on from comes first, if it is still there: the latest one before
        the first step of the job, if it has the same parameters.

        Args:
            checkpoints: The checkpoints that are there, in step order.
            restart: What the job follows.
            is_one_run: Tells whether checkpoints have the same parameters.
        """
        own = _written_since(checkpoints, restart)

        def is_before(one: Checkpoint) -> bool:
            is_old = one.changed_ns <= restart.last_changed_ns or self.is_as_measured(one)
            return one.step < restart.first_step and is_old

        before = [one for one in checkpoints if is_before(one)][-1:]
        return (*before, *own) if own and is_one_run((*before, own[0])) else own


def written_later(checkpoints: Iterable[Checkpoint], header: Header) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of earlier steps that were written after the last one measured.

    Another file of a step that was measured is a copy, such as `last.pt`, and left out. Of steps
    that were not measured, files in other folders are.

    Args:
        checkpoints: The checkpoints that are there, in step order.
        header: Header of the analysis.
    """
    last = header.checkpoints[-1]
    later = [c for c in checkpoints if c.step <= last.step and c.changed_ns > last.changed_ns]
    if not later:
        return ()
    records = {record.step: record for record in header.checkpoints}
    folder = folder_of(header)

    def is_of_job(one: Checkpoint) -> bool:
        record, now = records.get(one.step), CheckpointRecord.of(one)
        return lies_in(folder, now) if record is None else record.path == now.path

    return tuple(one for one in later if is_of_job(one))


def is_as_measured(checkpoint: Checkpoint, analysis: Analysis, run_of: RunOf) -> bool:
    """Tell whether a checkpoint has the weights that were measured at its step; reads all of it.

    Where elements were not finite, their number is compared alone.

    Args:
        checkpoint: The checkpoint.
        analysis: A stored analysis.
        run_of: Returns the run of some checkpoints.

    Raises:
        FormatError: If it cannot be read, or changed while it was read.
    """
    header, store = analysis.header, analysis.store
    places = np.flatnonzero(header.steps == checkpoint.step)
    if store is None or not places.size:
        return False
    run = with_names_of(run_of((checkpoint,)), header)
    shapes = {parameter.name: parameter.shape for parameter in run.parameters}
    if any(shapes.get(one.name) != one.shape for one in header.parameters):
        return False
    twice = replace(run, checkpoints=run.checkpoints * 2)  # the sums of a later step, too
    found = analyze(twice, roles=header.roles)
    index = [found.header.parameter_index(one.name) for one in header.parameters]
    place = int(places[0])
    now = found.values[min(place, 1), index]
    then = store.totals_at(slice(place, place + 1))[0]
    square, nonfinite = SUMS.index("square"), SUMS.index("nonfinite")
    is_finite = then[:, nonfinite] == 0
    return np.array_equal(now[:, nonfinite], then[:, nonfinite]) and np.array_equal(
        now[is_finite, square], then[is_finite, square]
    )


def told(first: Checkpoint, header: Header) -> str:
    """Return what tells that a job was started again, in words.

    Args:
        first: The first checkpoint that it has written since.
        header: Header of the analysis of what it had done before.
    """
    return (
        f"step {first.step} was written after step {header.last_step}, so the job was probably "
        "restarted"
    )


def restart_after(analysis: Analysis, name: str, first: Checkpoint) -> Restart:
    """Return how a run follows an analysis.

    Args:
        analysis: The analysis.
        name: Name of its folder.
        first: The first checkpoint that was written after its last one.
    """
    last = analysis.header.checkpoints[-1]
    return Restart(name, last.step, last.changed_ns, first.step)


def after_last(
    checkpoints: Iterable[Checkpoint], header: Header, later: Iterable[Checkpoint] = ()
) -> tuple[Checkpoint, ...]:
    """Return the checkpoints that come after the last step, up to where the job was started again.

    Args:
        checkpoints: The checkpoints that are there, in step order.
        header: Header of the analysis; if its job was started again, what it had written before is
            left out.
        later: Those that tell, or may tell, that the job was started again since.
    """
    since = header.restart.last_changed_ns if header.restart else None
    until = min((one.changed_ns for one in later), default=None)
    return tuple(
        one
        for one in checkpoints
        if one.step > header.last_step
        and (since is None or one.changed_ns > since)
        and (until is None or one.changed_ns < until)
    )


def _written_since(checkpoints: Iterable[Checkpoint], restart: Restart) -> tuple[Checkpoint, ...]:
    """Return what a job that was started again has written, up to its next start."""
    own = [
        one
        for one in checkpoints
        if one.step >= restart.first_step and one.changed_ns > restart.last_changed_ns
    ]
    kept: list[Checkpoint] = []
    for one in sorted(own, key=lambda one: (one.changed_ns, one.step)):
        if kept and one.step < kept[-1].step:
            break
        kept.append(one)
    return tuple(kept)
