"""The pipeline: from a run to a stored analysis.

Files -> blocks -> kernels -> store. Parameters are walked in network order; each is stored as soon
as it is complete, so that a stopped analysis can be continued.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from accweight_core.accumulate.observing import Observer
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.layer_graphs import keep_own_graph
from accweight_core.arguments import check_callable, check_count, checked_roles
from accweight_core.dtypes import DTYPES
from accweight_core.errors import (
    MismatchError,
    UnsupportedDtypeError,
)
from accweight_core.io.memory import memory_told
from accweight_core.io.page_cache import threads_for
from accweight_core.io.target import target_at
from accweight_core.io.widening import working_dtype
from accweight_core.jobs.engines.choose import workers_for
from accweight_core.jobs.engines.workers import Notice
from accweight_core.jobs.work import Progress, Work
from accweight_core.pictures.plan import plan_pictures
from accweight_core.runs.opening import Source, WeightsByStep, as_run
from accweight_core.schema import (
    DEFAULT_ROLES,
    MEASURED_ROLES,
    Checkpoint,
    Parameter,
    Role,
    Run,
)
from accweight_core.store.beginning import check_replaceable, is_taken
from accweight_core.store.growing import tidy_grown
from accweight_core.store.header import Header
from accweight_core.store.lock import locked
from accweight_core.store.replacing import tidy

PICTURE_SHARE = 16
"""Default size of pictures: one byte per so many bytes of checkpoints. Writing is slow, and at this
ratio pictures take about as long as the numbers."""

PICTURE_BYTES_RANGE = 64 << 20, 1 << 30
"""Least and most bytes of that default; up to the least, pictures keep one texel per weight."""


@memory_told("the analysis")
def analyze(
    run: Run | Source | WeightsByStep,
    out: str | os.PathLike[str] | None = None,
    *,
    roles: Iterable[Role | str] = DEFAULT_ROLES,
    threads: int | None = None,
    block_elements: int | None = None,
    picture_budget_bytes: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    keep_state: bool = False,
    memory_bytes: int | None = None,
    engine: str = "threads",
    scheduler: str | None = None,
    executor: Executor | None = None,
    progress: Progress = lambda done, total: None,
    notice: Notice = lambda line: None,
    observer: Observer | None = None,
) -> Analysis:
    """Measure how far every weight of a run has travelled.

    Args:
        run: The run, from `open_run`; or a source, which is opened without options.
        out: Folder to store the analysis in (NAME.accw). An unfinished analysis of the same run is
            continued, a finished one is opened. None keeps the numbers in memory, without
            pictures.
        roles: Roles in layers, rankings and the maximum.
        threads: Threads that walk blocks; by default one per processor, and more for remote
            files. With a cluster started here: its processes; with an executor: its workers.
            With fewer than processors, one more thread pools and writes pictures.
        block_elements: Elements per block; chosen by size and threads by default. Changes no
            bit of the result.
        picture_budget_bytes: Most bytes of all pictures; 0 stores none. By default a sixteenth
            of the bytes read, but at least 64 MiB and at most 1 GiB.
        strict: Raise if an element is not finite, instead of counting it; the error names the
            earliest step, and the first parameter in network order there.
        overwrite: Replace an analysis of another run at `out`. It is kept until the new one is
            complete; if that is stopped, the same call continues it.
        keep_state: Store the state that `append` needs to go on without the old checkpoints:
            16 bytes per weight. Then one checkpoint is enough to begin with.
        memory_bytes: Memory for parameters that are read as a whole because they are compressed
            or encoded: up to fourteen times the size of each. By default what the machine, the
            container and the process have free.
        engine: "threads" of this process, or "dask", a cluster.
        scheduler: Address of a dask scheduler (tcp://...); by default a cluster is started on
            this machine and stopped at the end.
        executor: Any other executor; it is not shut down. Changes no bit of the result.
        progress: Called from this thread as the walk advances.
        notice: Called with messages for the user, such as the address of a cluster's dashboard.
        observer: Sees the weights of blocks at all steps while threads of this process walk them,
            as `accweight_core.accumulate.grams.Grams` does.

    Raises:
        MismatchError: If the run has fewer than two checkpoints or nothing to measure.
        StoreError: If `out` cannot be written.
        EngineError: If workers are unavailable, do not see the files, or are lost.
        MemoryLimitError: If a parameter takes more memory than that.
        ArgumentTypeError, ArgumentValueError: If another argument is not of its kind.
    """
    check_numbers(threads, block_elements, picture_budget_bytes, memory_bytes)
    check_calls(progress, notice)
    run, chosen = as_run(run), checked_roles(roles)
    path = None if out is None else target_at(out, "an analysis")
    parameters, notes = _measured(run, chosen, 1 if keep_state and path is not None else 2)
    run = replace(run, notes=(*run.notes, *notes)) if notes else run
    header = Header.of(run, parameters, chosen).with_packs()
    if path is not None:
        header = _to_store(header, picture_budget_bytes, keeps_state=keep_state)
    walking = threads or threads_for(run, parameters)
    work = Work(
        run, header, walking, block_elements, strict, progress,
        notice=notice, memory_bytes=memory_bytes, observer=observer,
    )  # fmt: skip
    with workers_for(engine, scheduler, executor, threads, notice) as work.workers:
        return work.in_memory() if path is None else _stored(work, path, overwrite=overwrite)


def _to_store(header: Header, asked_bytes: int | None, *, keeps_state: bool) -> Header:
    """Return the header of an analysis that is stored, with its pictures and its state."""
    bases = picture_bases(header, picture_budget(header, asked_bytes))
    return replace(header, picture_bases=bases, keeps_state=keeps_state).with_packs()


def _stored(work: Work, path: Path, *, overwrite: bool) -> Analysis:
    """Return the analysis at a path, where no one else may write meanwhile."""
    with locked(path):
        tidy(path)
        tidy_grown(path)
        replacing = overwrite and is_taken(path)
        if replacing:
            check_replaceable(path)
        analysis = work.on_disk(path, replacing=replacing)
        keep_own_graph(path, analysis.header)
        return analysis


def check_numbers(threads: Any, block_elements: Any, picture_bytes: Any, memory: Any) -> None:
    """Raise ArgumentTypeError or ArgumentValueError unless these are numbers, or None."""
    check_count(threads, "threads")
    check_count(block_elements, "block_elements")
    check_count(picture_bytes, "picture_budget_bytes", least=0)
    check_count(memory, "memory_bytes")


def check_calls(progress: Any, notice: Any) -> None:
    """Raise ArgumentTypeError unless both can be called."""
    check_callable(progress, "progress")
    check_callable(notice, "notice")


def _measured(
    run: Run, roles: Sequence[Role], least: int
) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """Return the parameters to measure, after checking that the run can be analysed.

    Buffers of integers (counters, indices, masks) are left out; a note on them is returned too.

    Args:
        run: The run.
        roles: Roles in layers, of which there has to be a parameter.
        least: Fewest checkpoints.
    """
    if len(run.checkpoints) < least:
        way = "".join(f"; {note}" for note in run.notes if "aw.open_run(" in note)
        raise MismatchError(
            f"{run.source}: a run needs at least two checkpoints to show change, "
            f"found {len(run.checkpoints)}{way}"
        )
    wanted = {*MEASURED_ROLES, *roles} - {Role.OPTIMIZER}
    wished = [p for p in run.parameters if p.role in wanted]
    counters = [p.name for p in wished if _is_counter(p)]
    measured = tuple(p for p in wished if not _is_counter(p))
    if not any(p.role in roles for p in measured):
        raise MismatchError(
            f"{run.source}: no parameter has the role {' or '.join(roles)}; "
            f"roles found: {', '.join(sorted({p.role for p in run.parameters})) or 'none'}"
            + (f"; {_left_out(counters)}" if counters else "")
        )
    check_dtypes(run, measured)
    return measured, (_left_out(counters),) if counters else ()


def _is_counter(parameter: Parameter) -> bool:
    """Tell a buffer of integers (a counter, indices, a mask) from quantised weights."""
    known = DTYPES.get(parameter.dtype)
    return parameter.role is Role.BUFFER and known is not None and not known.widened


def _left_out(counters: Sequence[str]) -> str:
    more = f" and {len(counters) - 1} more" if len(counters) > 1 else ""
    return f"left out {counters[0]!r}{more}: whole numbers (counters, indices, masks), not weights"


def check_dtypes(run: Run, parameters: Sequence[Parameter]) -> None:
    """Raise unless every parameter can be widened and subtracted in every checkpoint.

    Grouping checks trained parameters only; a buffer that `roles` asks for may differ.
    """
    if not all(_is_plain(parameters, checkpoint) for checkpoint in run.checkpoints):
        for parameter in parameters:
            for checkpoint in run.checkpoints:
                _check_tensor(parameter, checkpoint)


def _is_plain(parameters: Sequence[Parameter], checkpoint: Checkpoint) -> bool:
    """Tell whether all parameters of a checkpoint are as expected, by a quick check."""
    try:
        tensors = [checkpoint.tensors[parameter.name] for parameter in parameters]
    except KeyError:
        return False
    if [tensor.values.shape for tensor in tensors] != [parameter.shape for parameter in parameters]:
        return False
    kinds = {(tensor.values.dtype, tensor.refusal) for tensor in tensors}
    return all(dtype in DTYPES and DTYPES[dtype].widened and not no for dtype, no in kinds)


def _check_tensor(parameter: Parameter, checkpoint: Checkpoint) -> None:
    tensor = checkpoint.tensors.get(parameter.name)
    if tensor is None or tensor.shape != parameter.shape:
        raise MismatchError(
            f"{checkpoint.path}: parameter {parameter.name!r} is "
            f"{'missing' if tensor is None else tensor.shape} at step {checkpoint.step} "
            f"but {parameter.shape} in the first checkpoint; leave it out with "
            f"--skip '{parameter.name}'"
        )
    try:
        working_dtype(tensor)
    except UnsupportedDtypeError as error:
        raise UnsupportedDtypeError(f"{checkpoint.path}: {error}") from None


def picture_budget(header: Header, asked: int | None) -> int:
    """Return the byte budget of pictures."""
    if asked is not None:
        return asked
    per_checkpoint = sum(p.elements * DTYPES[p.dtype].size_bytes for p in header.parameters)
    least, most = PICTURE_BYTES_RANGE
    return min(max(per_checkpoint * len(header.checkpoints) // PICTURE_SHARE, least), most)


def picture_bases(header: Header, budget: int) -> tuple[int, ...]:
    """Return the finest stored picture level per parameter; empty for a budget of 0."""
    if not budget:
        return ()
    plans = plan_pictures(header.layouts, len(header.checkpoints), budget)
    return tuple(plan.base for plan in plans)
