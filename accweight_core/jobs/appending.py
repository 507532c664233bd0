"""Append: analyse later checkpoints and add them to a stored analysis as a segment.

Many checkpoints are walked together, parameter by parameter, as `analyze` does, from the state
after the last step. The old steps are neither read nor written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from accweight_core.analysis.analysis import Analysis
from accweight_core.errors import MismatchError, StoreError
from accweight_core.io.memory import memory_told
from accweight_core.io.page_cache import threads_for
from accweight_core.io.target import target_at
from accweight_core.jobs.engines.choose import workers_for
from accweight_core.jobs.engines.workers import Notice
from accweight_core.jobs.growing import GrowingAnalysis
from accweight_core.jobs.pipeline import (
    check_calls,
    check_dtypes,
    check_numbers,
    picture_bases,
    picture_budget,
)
from accweight_core.jobs.restarts import Repeated, after_last, told
from accweight_core.jobs.same_run import (
    check_parameters,
    check_same_run,
    nothing_new,
    with_names_of,
)
from accweight_core.jobs.work import Progress, Work
from accweight_core.runs.opening import Source, WeightsByStep, as_run
from accweight_core.runs.revisions import moved_since
from accweight_core.runs.surveying import Place
from accweight_core.schema import Checkpoint, Run, type_changes
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Header


@memory_told("the analysis")
def append(
    run: Run | Source | WeightsByStep,
    out: str | os.PathLike[str],
    *,
    threads: int | None = None,
    block_elements: int | None = None,
    picture_budget_bytes: int | None = None,
    strict: bool = False,
    memory_bytes: int | None = None,
    engine: str = "threads",
    scheduler: str | None = None,
    executor: Executor | None = None,
    progress: Progress = lambda done, total: None,
    notice: Notice = lambda line: None,
) -> Analysis:
    """Append checkpoints to a stored analysis, without reading its old checkpoints.

    Checkpoints of `run` after the last step of the analysis are appended; all others are ignored.
    If there are none, that is said by `notice`, and nothing is changed.
    The result is that of analysing all checkpoints together, bit for bit, except that pictures may
    become coarser to fit the budget; with a budget of 0 they are removed. Only new files are
    written; of what is there, the list of steps alone is read. (A network whose matrices all
    have fewer than 256 weights is the exception: restarts show in weights of several steps, so
    sums of all steps and a few old checkpoints are read, if they are still there.) Whatever stops
    it, the old steps stay, and the same call goes on.

    Args:
        run: The run, or its new part.
        out: An analysis made with `keep_state`.
        threads: As in `analyze`.
        block_elements: As in `analyze`.
        picture_budget_bytes: As in `analyze`.
        strict: As in `analyze`.
        memory_bytes: As in `analyze`.
        engine: As in `analyze`.
        scheduler: As in `analyze`.
        executor: As in `analyze`.
        progress: As in `analyze`.
        notice: As in `analyze`.

    Raises:
        StoreError: If the analysis is missing, unfinished, or without state.
        EngineError: As in `analyze`.
        MismatchError: If the run is another one: it has other parameters, or neither later
            checkpoints nor any of those that were analysed; or a step that was analysed has other
            weights by now, as its job was started again.
        ArgumentTypeError, ArgumentValueError: If another argument is not of its kind.
    """
    check_numbers(threads, block_elements, picture_budget_bytes, memory_bytes)
    check_calls(progress, notice)
    path = target_at(out, "an analysis")
    run = run if isinstance(run, Run) else as_run(run, partial(analysed_before, path))
    with (
        workers_for(engine, scheduler, executor, threads, notice) as workers,
        GrowingAnalysis.open(path) as growing,
    ):
        earlier = growing.store
        if growing.was_unfinished and run.checkpoints[-1].step <= earlier.header.last_step:
            return growing.analysis()  # killed just before it was done
        run = _with_its_names(run, earlier)
        moved = _moved(run, earlier.header)
        for note in moved:
            notice(note)
        last = earlier.header.last_step
        later = after_last(run.checkpoints, earlier.header)
        if not later:
            check_same_run(run, earlier.header, earlier.path)
        restart = _restart(run, growing.analysis(), is_refused=bool(later))
        if restart:
            notice(restart)
        if not later:
            notice(nothing_new(last))
            return growing.analysis()
        fresh = _appendable(run, later, earlier)
        run = replace(run, notes=(*run.notes, *moved))
        header = _extended(earlier.header, run, fresh, path)
        alone = growing.header_of_added(header, _bases(header, picture_budget_bytes))
        threads = threads or threads_for(fresh, header.parameters)
        work = Work(
            fresh, alone, threads, block_elements, strict, progress, earlier, workers, notice,
            memory_bytes,
        )  # fmt: skip
        growing.add_run(work, header)
        return growing.analysis()


def _restart(run: Run, analysis: Analysis, *, is_refused: bool) -> str:
    """Return what is said if the job was probably started again from an earlier step; else nothing.

    Args:
        run: The run.
        analysis: The analysis.
        is_refused: Whether there are later steps. If one that was measured has other weights now,
            they do not go on from those measured.

    Raises:
        MismatchError: If that is so.
    """
    repeated, header = Repeated(), analysis.header
    later = repeated.written_later(run.checkpoints, header)
    first = repeated.first(later, analysis, lambda some: replace(run, checkpoints=some))
    if first is None:
        return ""
    text = (
        f"{told(first, header)}; {analysis.path} stays as it was measured. accweight watch begins "
        "another analysis beside it, or analyse what the job has written since, to another output"
    )
    if is_refused and first.step in header.steps:
        raise MismatchError(f"{run.source}: {text}")
    return text


def _extended(earlier: Header, run: Run, fresh: Run, path: Path) -> Header:
    """Return the header of an analysis with further checkpoints, before they are measured."""
    names = [parameter.name for parameter in earlier.parameters]
    new = Header.of(fresh, earlier.parameters, earlier.roles)
    return replace(
        earlier,
        checkpoints=(*earlier.checkpoints, *new.checkpoints),
        notes=tuple(dict.fromkeys((*earlier.notes, *run.notes))),
        versions=new.versions,
        reader=", ".join(sorted({*earlier.reader.split(", "), *run.reader.split(", ")})),
        name_map=_joined_maps(path, earlier.name_map, run.name_map),
        type_changes=(
            *earlier.type_changes,
            *type_changes(fresh.checkpoints, names, earlier.last_types),
        ),
    )


def _moved(run: Run, earlier: Header) -> list[str]:
    """Return a note for each revision that names another commit than when it was analysed."""
    return moved_since(
        ((record.step_source, record.path) for record in earlier.checkpoints),
        {checkpoint.step_source: checkpoint.path for checkpoint in run.checkpoints},
    )


def _bases(header: Header, picture_budget_bytes: int | None) -> tuple[int, ...]:
    """Return the finest level of the added pictures per parameter: as before, or coarser."""
    before = header.picture_bases
    if not before:
        return ()
    wanted = picture_bases(header, picture_budget(header, picture_budget_bytes))
    return tuple(map(max, wanted, before))  # empty for a budget of 0


def analysed_before(out: str | os.PathLike[str]) -> tuple[Place, ...]:
    """Return where the checkpoints of a stored analysis lie; nothing if it cannot be opened.

    They tell the series that a source of several series goes on with.
    """
    try:
        records = Store.open(target_at(out, "an analysis")).header.checkpoints
        return tuple(Place(record.path, record.copy) for record in records)
    except StoreError:  # raised again when the analysis is continued, after tidying up
        return ()


def _joined_maps(path: Path, earlier: Mapping[str, Any], later: Mapping[str, Any]) -> Any:
    """Return the map for old and new checkpoints."""
    if earlier and later and earlier != later:
        raise MismatchError(
            f"{path}: the analysis was made with another map; append with that one, or analyse "
            "all checkpoints with the new one, to another output or with --overwrite"
        )
    return earlier or later


def _with_its_names(run: Run, earlier: Store) -> Run:
    """Return a run with the names of an analysis, if that can be continued at all."""
    if not earlier.header.keeps_state:
        raise StoreError(
            f"{earlier.path}: the analysis was made without --keep-state, so nothing can be "
            "appended; analyse all checkpoints, to another output or with --overwrite"
        )
    return with_names_of(run, earlier.header)


def _appendable(run: Run, later: tuple[Checkpoint, ...], earlier: Store) -> Run:
    """Return the later checkpoints of a run, if they can be appended to an analysis."""
    header = earlier.header
    if not earlier.holds_state:
        raise StoreError(
            f"{earlier.path}: the state after step {header.last_step} was left out, as training "
            "was faster than writing; nothing can be appended before a later step has one"
        )
    check_parameters(run, later, header, earlier.path)
    fresh = replace(run, checkpoints=later)
    check_dtypes(fresh, header.parameters)
    return fresh
