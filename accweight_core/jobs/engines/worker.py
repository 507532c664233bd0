"""Run a task on a worker: read, walk, draw, store, and return partial sums.

A worker walks one block at a time with the functions that threads of one process use; workers run
in parallel. First it checks that it sees what the driver sees: the folder of the store, the files,
the library versions.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from accweight_core.accumulate.cutting import Stretches
from accweight_core.accumulate.folding import BlockSums, Folding, joined
from accweight_core.accumulate.stepwise import Buffers
from accweight_core.accumulate.walk import (
    ParameterWalk,
    Walk,
    one_thread_per_operation,
    planned,
    sums_of,
)
from accweight_core.errors import EngineError, FormatError, reason_of
from accweight_core.io.memory import MemoryBudget
from accweight_core.io.reading import OpenFiles, ahead_of
from accweight_core.jobs.engines.shared_store import PieceWriter, SharedStore, finish_picture
from accweight_core.jobs.engines.tasks import File, Job, PackSlice, Slice, Task, block_at
from accweight_core.jobs.walks import pack_of, walk_of
from accweight_core.metrics.totals import Floats, Totals
from accweight_core.store.analysis_store import Store
from accweight_core.store.files import PARTIAL
from accweight_core.store.header import versions

if TYPE_CHECKING:
    from accweight_core.remote.prefetch import ReadAhead

ALIVE = f".job{PARTIAL}"
"""Suffix of a file that is in the store while the job runs; swept if the driver dies."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of a task.

    Attributes:
        sums: For each parameter, its totals, or the sums of the sub-blocks of a part.
        packs: For each pack, the totals of all members: (steps, members, sums).
        rounds_once: Whether the worker's processor has fused multiply-add.
    """

    sums: dict[int, Totals | BlockSums]
    packs: dict[int, Floats]
    rounds_once: bool


def run_task(task: Task) -> TaskResult:
    """Run a task; its pictures and its state are stored when this returns.

    Raises:
        EngineError: If this process does not see the store or the files, or the job has ended.
        FormatError: If a file is damaged.
    """
    from accweight_core.jit.step_loops import rounds_once  # with the compiled loops

    job, slices = task.job, task.slices
    _check_versions(job)
    _check_files(job, task.files)
    with one_thread_per_operation():
        if slices and slices[0].cuts is not None:
            sums = _part(job, slices[0], slices[0].cuts)
            return TaskResult({slices[0].index: sums}, {}, rounds_once())
        return TaskResult(*_whole(job, slices, task.packs), rounds_once())


def finish(job: Job, index: int) -> int:
    """Finish the picture of a parameter after its last task; return the parameter's index."""
    _check_versions(job)
    store, _ = stores_of(job)
    if store is not None:
        finish_picture(store, index)
    return index


def _part(job: Job, slice_: Slice, cuts: Sequence[tuple[tuple[int, int], ...]]) -> BlockSums:
    """Walk a part of one parameter."""
    (store, earlier), buffers = stores_of(job), Buffers()
    drawn = store is not None and bool(store.header.picture_bases)
    plan = store.header.plan(slice_.index) if store is not None and drawn else None
    blocks = [block_at(cut, plan) for cut in cuts]
    walk = walk_of(
        slice_.index,
        slice_.tensors,
        store,
        earlier,
        job.block_elements,
        drawn_by=partial(PieceWriter, first=blocks[0].stretches[0][0]),
    )
    walk = replace(walk, blocks=blocks)
    with OpenFiles(ahead=_ahead([walk])) as files:
        found = joined([_sums(job, files, buffers, walk, block) for block in blocks])
    walk.walked()
    if store is not None:
        store.flush_state()
    return found


def _whole(
    job: Job, slices: Sequence[Slice], packs: Sequence[PackSlice]
) -> tuple[dict[int, Totals | BlockSums], dict[int, Floats]]:
    """Walk whole parameters, and packs of small ones."""
    (store, earlier), buffers = stores_of(job), Buffers()
    walks = [
        planned(walk_of(slice_.index, slice_.tensors, store, earlier, job.block_elements))
        for slice_ in slices
    ]
    pack_walks = [
        pack_of(
            pack.number,
            [slice_.index for slice_ in pack.slices],
            [slice_.tensors for slice_ in pack.slices],
            store,
            earlier,
        )
        for pack in packs
    ]
    found: dict[int, Totals | BlockSums] = {}
    packed: dict[int, Floats] = {}
    with OpenFiles(ahead=_ahead([*walks, *pack_walks])) as files:
        for walk in walks:
            if isinstance(walk, ParameterWalk):
                found[walk.index] = _totals(job, files, buffers, walk)
        for pack_walk in pack_walks:
            _check_on(job)
            packed[pack_walk.number] = pack_walk.walk(files, buffers)
    if store is not None:
        store.flush_state()
    return found, packed


def _totals(job: Job, files: OpenFiles, buffers: Buffers, walk: ParameterWalk) -> Totals:
    """Walk a whole parameter."""
    folding = Folding(len(walk.tensors))
    for block in walk.blocks:
        folding.take(_sums(job, files, buffers, walk, block))
    walk.walked()
    return folding.totals


def _sums(
    job: Job, files: OpenFiles, buffers: Buffers, walk: ParameterWalk, block: Stretches
) -> BlockSums:
    _check_on(job)
    with _memory(job).taking(walk.whole_bytes, walk.name):
        return sums_of(files, buffers, walk, block)


@lru_cache(maxsize=4)
def _memory(job: Job) -> MemoryBudget:
    """Return the memory budget that the tasks of a job share in this process."""
    return MemoryBudget(job.memory_bytes)


def _ahead(walks: Sequence[Walk]) -> ReadAhead | None:
    """Return the prefetcher of remote files, in the order of the walks; None if all are local."""
    return ahead_of(s for walk in walks if walk.is_remote for s in walk.stretches())


def alive_file_of(job: Job) -> Path | None:
    """Return the file in the store that exists while the job runs."""
    return Path(job.store) / f"{job.token}{ALIVE}" if job.store else None


def _check_on(job: Job) -> None:
    """Raise if the driver has ended the job: nothing may be written any more."""
    alive_file = alive_file_of(job)
    if alive_file is not None and not alive_file.exists():
        raise EngineError(f"{job.store}: the process that started the analysis has stopped it")


@lru_cache(maxsize=4)
def stores_of(job: Job) -> tuple[SharedStore | None, Store | None]:
    """Return the store of a job and the one to append to; opened once per process."""
    alive_file = alive_file_of(job)
    if alive_file is None:
        return None, None
    if not alive_file.exists():
        raise EngineError(
            f"{alive_file.parent}: not the output folder of the analysis, as seen from "
            f"{socket.gethostname()}; the output, and checkpoints that are not at URLs, must be "
            "in a folder that every worker sees under the same name"
        )
    header = Store.begun_at(alive_file.parent).header
    earlier = Store.open(Path(job.earlier)) if job.earlier else None
    return SharedStore(alive_file.parent, header), earlier


@lru_cache(maxsize=4)
def _check_versions(job: Job) -> None:
    """Raise if other library versions are installed here: bits could depend on the worker.

    Files are walked without torch, so it may be missing on either side.
    """
    here = versions()
    differing = [
        f"{name} {here.get(name, 'missing')} instead of {wanted}"
        for name, wanted in job.versions
        if here.get(name) != wanted and (name in here or name != "torch")
    ]
    if differing:
        raise EngineError(
            f"the worker on {socket.gethostname()} has {', '.join(differing)}; install on all "
            "workers what is installed where the analysis is started"
        )


@lru_cache(maxsize=4)
def _checked_files(job: Job) -> set[File]:
    """Return the set of files that have been checked for a job."""
    return set()


def _check_files(job: Job, files: Iterable[File]) -> None:
    """Raise if a file differs here from what the driver has seen; checked once per job."""
    checked = _checked_files(job)
    for file in files:
        if file in checked:
            continue
        here = socket.gethostname()
        try:
            seen = File.at(file.path)
        except OSError as error:
            raise EngineError(
                f"{file.path}: the worker on {here} does not see this checkpoint "
                f"({reason_of(error)}); it must be in a folder that every worker sees "
                "under the same name, or at a URL that every worker may read"
            ) from None
        if seen != file:
            raise FormatError(
                file.path, f"has changed since it was described, as seen by the worker on {here}"
            )
        checked.add(file)
