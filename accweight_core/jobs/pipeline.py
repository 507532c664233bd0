"""The pipeline: a run in, a stored analysis out.

Files -> blocks -> kernels -> store. Parameters are walked in network order; each is stored as
soon as it is complete, so that a stopped analysis continues where it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from accweight_core.analysis.analysis import Analysis
from accweight_core.dtypes import DTYPES
from accweight_core.errors import (
    MismatchError,
    StoreError,
    UnsupportedDtypeError,
)
from accweight_core.io.memory import memory_told
from accweight_core.io.page_cache import threads_for
from accweight_core.io.widening import working_dtype
from accweight_core.jobs.engines.choose import workers_for
from accweight_core.jobs.engines.workers import Notice
from accweight_core.jobs.work import Progress, Work
from accweight_core.naming import layers_of
from accweight_core.pictures.plan import plan_pictures
from accweight_core.remote import is_url, shown
from accweight_core.runs.opening import Source, WeightsByStep, as_run
from accweight_core.schema import DEFAULT_ROLES, MEASURED_ROLES, Checkpoint, Parameter, Role, Run
from accweight_core.store.analysis_store import Store
from accweight_core.store.beginning import check_replaceable, is_taken
from accweight_core.store.header import Header
from accweight_core.store.lock import locked
from accweight_core.store.replacing import tidy

PICTURE_SHARE = 16
"""Pictures take one byte for so many bytes of checkpoints unless asked otherwise: writing is
slow, and at this share pictures take about as long as the numbers."""

PICTURE_BYTES_RANGE = 64 << 20, 1 << 30
"""Least and most bytes of that default; below the least, runs keep every weight visible."""


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
) -> Analysis:
    """Measure how far every weight of a run has travelled.

    Args:
        run: The run, from `open_run`; or a source, which is opened without options.
        out: Folder to store the analysis in (NAME.accw). If it holds the unfinished analysis
            of the same run it is continued, a finished one is opened. None keeps the numbers
            in memory, without pictures.
        roles: Roles that count in layers, rankings and the maximum.
        threads: Threads that walk blocks; by default as many as there are processors, and more
            where bytes have to be waited for. Of a cluster that is begun here: processes; of an
            executor: how many workers it has.
        block_elements: Elements per block; chosen by size and threads by default. Changes no
            bit of the result.
        picture_budget_bytes: Bytes that the pictures may take; 0 stores none. By default a
            sixteenth of the bytes read, but at least 64 MiB and at most 1 GiB.
        strict: Make the first non-finite element an error instead of counting it.
        overwrite: Replace an analysis of something else at `out`. It stays as it is until the
            new one is complete; if that is stopped, the same call goes on with it.
        keep_state: Store what `append` needs to go on without the old checkpoints: 16 bytes
            per weight.
        memory_bytes: Memory that may be taken where parameters are read as a whole, since they
            are compressed or encoded: up to twelve times the size of each. By default what the
            machine, the container and the process have free.
        engine: Who walks: "threads" of this process, or "dask", a cluster.
        scheduler: Address of a dask scheduler (tcp://...); without one a cluster of processes of
            this machine is begun, and ended.
        executor: Any other executor to walk with; it stays open. Same bits, whoever walks.
        progress: Called now and then from this thread.
        notice: Called with lines worth telling, such as where the dashboard of a cluster is.

    Raises:
        MismatchError: If the run has fewer than two checkpoints or nothing to measure.
        StoreError: If `out` cannot be written.
        EngineError: If workers cannot be had, do not see the files, or have been lost.
        MemoryLimitError: If a parameter takes more memory than that.
    """
    run, chosen = as_run(run), tuple(Role(role) for role in roles)
    parameters = _measured(run, chosen)
    header = Header.of(run, parameters, chosen).with_packs()
    walking = threads or threads_for(run, parameters)
    work = Work(
        run, header, walking, block_elements, strict, progress,
        notice=notice, memory_bytes=memory_bytes,
    )  # fmt: skip
    if out is not None:
        budget = _picture_budget(header, picture_budget_bytes)
        bases = _picture_bases(header, budget)
        work.header = replace(header, picture_bases=bases, keeps_state=keep_state).with_packs()
        path = _local(out)
    with workers_for(engine, scheduler, executor, threads, notice) as work.workers:
        if out is None:
            return work.in_memory()
        with locked(path):
            tidy(path)
            replacing = overwrite and is_taken(path)
            if replacing:
                check_replaceable(path)
            return work.on_disk(path, replacing=replacing)


def _measured(run: Run, roles: Sequence[Role]) -> tuple[Parameter, ...]:
    """Return the parameters to measure, after a look at whether it can be done at all."""
    if len(run.checkpoints) < 2:
        raise MismatchError(
            f"{run.source}: a run needs at least two checkpoints to show change, "
            f"found {len(run.checkpoints)}"
        )
    wanted = {*MEASURED_ROLES, *roles} - {Role.OPTIMIZER}
    measured = tuple(p for p in run.parameters if p.role in wanted)
    if not any(p.role in roles for p in measured):
        raise MismatchError(
            f"{run.source}: no parameter has the role {' or '.join(roles)}; "
            f"roles found: {', '.join(sorted({p.role for p in run.parameters})) or 'none'}"
        )
    _check_dtypes(run, measured)
    return measured


def _check_dtypes(run: Run, parameters: Sequence[Parameter]) -> None:
    """Raise unless every parameter can be widened and subtracted in every checkpoint.

    Checkpoints are grouped by what training moves; a buffer that is asked for may differ.
    """
    if not all(_is_plain(parameters, checkpoint) for checkpoint in run.checkpoints):
        for parameter in parameters:
            for checkpoint in run.checkpoints:
                _check_tensor(parameter, checkpoint)


def _is_plain(parameters: Sequence[Parameter], checkpoint: Checkpoint) -> bool:
    """Tell whether nothing speaks against any parameter of a checkpoint, at a glance."""
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
    """Go on with a stored analysis, reading none of its old checkpoints.

    Checkpoints of `run` after the last step of the analysis are appended; others are passed
    over, whether or not they are the old ones. The result is that of analysing all together,
    bit for bit, but for pictures that become coarser to stay within the budget; none are left
    where it is 0.

    Args:
        run: The run, or its new part.
        out: An analysis that was made with `keep_state`.
        threads: As in `analyze`, like the options that follow.
        block_elements: See there.
        picture_budget_bytes: See there.
        strict: See there.
        memory_bytes: See there.
        engine: See there.
        scheduler: See there.
        executor: See there.
        progress: See there.
        notice: See there.

    Raises:
        StoreError: If the analysis is not there, unfinished, or without state.
        EngineError: As in `analyze`.
        MismatchError: If the run has no later step, or other parameters.
    """
    run, path = as_run(run), _local(out)
    with workers_for(engine, scheduler, executor, threads, notice) as workers, locked(path):
        tidy(path)
        earlier = Store.open(path)
        earlier.check_can_go_on()
        fresh = _appendable(run, earlier)
        new = Header.of(fresh, earlier.header.parameters, earlier.header.roles)
        header = replace(
            earlier.header,
            checkpoints=(*earlier.header.checkpoints, *new.checkpoints),
            notes=tuple(dict.fromkeys((*earlier.header.notes, *run.notes))),
            versions=new.versions,
            reader=", ".join(sorted({*earlier.header.reader.split(", "), *run.reader.split(", ")})),
            name_map=_joined_maps(path, earlier.header.name_map, run.name_map),
            complete=False,
            maximum=None,
        )
        if earlier.header.picture_bases:
            wanted = _picture_bases(header, _picture_budget(header, picture_budget_bytes))
            bases = tuple(map(max, wanted, earlier.header.picture_bases))  # none if none is wanted
            header = replace(header, picture_bases=bases)
        header = header.with_packs()
        threads = threads or threads_for(fresh, header.parameters)
        work = Work(
            fresh, header, threads, block_elements, strict, progress, earlier, workers, notice,
            memory_bytes,
        )  # fmt: skip
        return work.on_disk(path, replacing=True)


def _joined_maps(path: Path, earlier: Mapping[str, Any], later: Mapping[str, Any]) -> Any:
    """Return the map that old and new checkpoints are read with."""
    if earlier and later and earlier != later:
        raise MismatchError(
            f"{path}: the analysis was made with another map; append with that one, or analyse "
            "all checkpoints with the new one, to another output or with --overwrite"
        )
    return earlier or later


def _appendable(run: Run, earlier: Store) -> Run:
    """Return the part of a run that comes after an analysis, if it can be appended."""
    header, last = earlier.header, int(earlier.header.steps[-1])
    if not header.complete or not header.keeps_state:
        problem = "was made without --keep-state" if header.complete else "is not finished"
        raise StoreError(
            f"{earlier.path}: the analysis {problem}, so nothing can be appended; "
            "analyse all checkpoints, to another output or with --overwrite"
        )
    later = tuple(c for c in run.checkpoints if c.step > last)
    if not later:
        raise MismatchError(
            f"{run.source}: no checkpoint comes after step {last}, the last one analysed"
        )
    if run.name_map:
        run = _conformed_to(run, header)
        later = tuple(c for c in run.checkpoints if c.step > last)
    shapes = {p.name: p.shape for p in run.parameters}
    for parameter in header.parameters:
        if shapes.get(parameter.name) != parameter.shape:
            raise MismatchError(
                f"{run.source}: parameter {parameter.name!r} has shape "
                f"{shapes.get(parameter.name, 'missing')} but {parameter.shape} in {earlier.path}"
            )
    fresh = replace(run, checkpoints=later)
    _check_dtypes(fresh, header.parameters)
    return fresh


def _conformed_to(run: Run, header: Header) -> Run:
    """Return a run that a map was given for with its axes as an analysis has them."""
    from accweight_core.runs.renaming import conformed

    reference = {parameter.name: parameter for parameter in header.parameters}
    checkpoints = tuple(conformed(run.checkpoints, reference))
    layers = layers_of(checkpoints[0].tensors.values())
    return replace(run, checkpoints=checkpoints, layers=layers)


def _local(out: str | os.PathLike[str]) -> Path:
    """Return the folder of an analysis, which cannot be written to a URL."""
    if is_url(out):
        raise StoreError(f"{shown(out)}: an analysis is stored locally; give a folder, and copy it")
    return Path(out)


def _picture_budget(header: Header, asked: int | None) -> int:
    """Return the bytes that pictures may take."""
    if asked is not None:
        return asked
    per_checkpoint = sum(p.elements * DTYPES[p.dtype].size_bytes for p in header.parameters)
    least, most = PICTURE_BYTES_RANGE
    return min(max(per_checkpoint * len(header.checkpoints) // PICTURE_SHARE, least), most)


def _picture_bases(header: Header, budget: int) -> tuple[int, ...]:
    """Return the finest picture level to store per parameter; nothing for no budget."""
    if not budget:
        return ()
    plans = plan_pictures(header.layouts, len(header.checkpoints), budget)
    return tuple(plan.base for plan in plans)
