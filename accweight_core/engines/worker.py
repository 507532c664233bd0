"""What a worker does with a parcel: read, walk, draw and store, and hand back partial sums.

It walks block by block with the functions that threads of one process use, one block at a time:
workers take parcels side by side. Before anything else it looks whether it sees what the driver
sees: the folder of the store, the files, the same versions.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from accweight_core.accumulate.cutting import Stretches
from accweight_core.accumulate.folding import BlockSums, Folding, joined
from accweight_core.accumulate.walk import (
    ParameterWalk,
    grouped,
    one_thread_per_operation,
    planned,
    stretches_of,
    sums_of,
    sums_of_group,
    totals_of,
)
from accweight_core.chunks import PARTIAL
from accweight_core.engines.parcels import File, Job, Parcel, Portion, block_at
from accweight_core.engines.shared_store import PieceWriter, SharedStore, finish_picture
from accweight_core.errors import EngineError, FormatError
from accweight_core.header import Header, versions
from accweight_core.reading import OpenFiles, ahead_of
from accweight_core.store import Store
from accweight_core.totals import Totals
from accweight_core.work import walk_of

SIGN = f".job{PARTIAL}"
"""Ending of the file that is in the store as long as a job is on; swept if the driver dies."""


@dataclass(frozen=True, slots=True)
class Harvest:
    """What comes back of a parcel.

    Attributes:
        sums: Of each of its parameters: the totals, or the sums of the sub-blocks of a part.
        processor: What kind of processor they were computed on.
    """

    sums: dict[int, Totals | BlockSums]
    processor: str


def walk_parcel(parcel: Parcel) -> Harvest:
    """Walk a parcel; what is drawn of it is stored when this returns.

    Raises:
        EngineError: If this process does not see what it has to, or the job has been given up.
        FormatError: If a file is damaged.
    """
    job, portions = parcel.job, parcel.portions
    _check_versions(job)
    _check_files(parcel.files)
    with one_thread_per_operation():
        if portions[0].cuts is None:
            return Harvest(_whole(job, portions), processor())
        part = portions[0]
        return Harvest({part.index: _part(job, part, portions[0].cuts)}, processor())


def finish(job: Job, index: int) -> int:
    """Finish the picture of a parameter whose parcels have all been walked; return its number."""
    _check_versions(job)
    store, _ = stores_of(job)
    if store is not None:
        finish_picture(store, index)
    return index


def _part(job: Job, portion: Portion, cuts: Sequence[tuple[tuple[int, int], ...]]) -> BlockSums:
    """Walk a part of one parameter."""
    store, earlier = stores_of(job)
    drawn = store is not None and bool(store.header.picture_bases)
    plan = store.header.plan(portion.index) if store is not None and drawn else None
    blocks = [block_at(cut, plan) for cut in cuts]
    walk = walk_of(
        portion.index,
        portion.tensors,
        store,
        earlier,
        job.block_elements,
        drawn_by=partial(PieceWriter, first=blocks[0].stretches[0][0]),
    )
    walk = replace(walk, blocks=blocks)
    with OpenFiles(ahead=ahead_of(stretches_of([[walk]]))) as files:
        found = joined([_sums(job, files, walk, block) for block in blocks])
    walk.walked()
    return found


def _whole(job: Job, portions: Sequence[Portion]) -> dict[int, Totals | BlockSums]:
    """Walk whole parameters, small ones that are alike together."""
    store, earlier = stores_of(job)
    found: dict[int, Totals | BlockSums] = {}
    walks = []
    for index, tensors in ((portion.index, portion.tensors) for portion in portions):
        walk = walk_of(index, tensors, store, earlier, job.block_elements)
        walks.append(planned(replace(walk, done=partial(found.__setitem__, index))))
    groups = list(grouped(walks))
    with OpenFiles(ahead=ahead_of(stretches_of(groups))) as files:
        for group in groups:
            for walk, totals in zip(group, _totals(job, files, group), strict=True):
                walk.walked()
                walk.done(totals)
    return found


def _totals(job: Job, files: OpenFiles, group: Sequence[ParameterWalk]) -> Iterable[Totals]:
    """Return the totals of a few parameters that are alike, or of one."""
    if len(group) > 1:
        _check_on(job)
        return totals_of(group, sums_of_group(files, group))
    folding = Folding(len(group[0].tensors))
    for block in group[0].blocks:
        folding.take(_sums(job, files, group[0], block))
    return [folding.totals]


def _sums(job: Job, files: OpenFiles, walk: ParameterWalk, block: Stretches) -> BlockSums:
    _check_on(job)
    return sums_of(files, walk, block)


def sign_of(job: Job) -> Path | None:
    """Return the file in the store that is there as long as a job is on."""
    return Path(job.store) / f"{job.token}{SIGN}" if job.store else None


def _check_on(job: Job) -> None:
    """Raise if the driver has given the job up: from then on nothing may be written."""
    sign = sign_of(job)
    if sign is not None and not sign.exists():
        raise EngineError(f"{job.store}: the analysis has been given up by the one that began it")


@lru_cache(maxsize=4)
def stores_of(job: Job) -> tuple[SharedStore | None, Store | None]:
    """Return the store of a job, and the one to go on from, once per process."""
    sign = sign_of(job)
    if sign is None:
        return None, None
    if not sign.exists():
        raise EngineError(
            f"{sign.parent}: is not the folder that the analysis is written to, seen from "
            f"{socket.gethostname()}; the output, and checkpoints that are not at URLs, have to be "
            "in a folder that every worker sees under the same name"
        )
    header = Header.from_json(Store.check_is_analysis(sign.parent), str(sign.parent))
    earlier = Store.open(Path(job.earlier)) if job.earlier else None
    return SharedStore(sign.parent, header), earlier


@lru_cache(maxsize=4)
def _check_versions(job: Job) -> None:
    """Raise if other versions are installed here: bits would depend on who walks what."""
    here = versions()
    differing = [
        f"{name} {here.get(name, 'missing')} instead of {wanted}"
        for name, wanted in job.versions
        if here.get(name) != wanted
    ]
    if differing:
        raise EngineError(
            f"the worker on {socket.gethostname()} has {', '.join(differing)}; install on all "
            "workers what is installed where the analysis is started"
        )


def _check_files(files: Iterable[File]) -> None:
    """Raise if a file is not seen from here as the driver has seen it."""
    for file in files:
        if file in _CHECKED:
            continue
        here = socket.gethostname()
        try:
            seen = File.at(file.path)
        except OSError as error:
            raise EngineError(
                f"{file.path}: the worker on {here} does not see this checkpoint "
                f"({error.strerror or error}); it has to be in a folder that every worker sees "
                "under the same name, or at a URL that every worker may read"
            ) from None
        if seen != file:
            raise FormatError(
                file.path, f"has changed since it was described, seen by the worker on {here}"
            )
        _CHECKED.add(file)


_CHECKED: set[File] = set()


@lru_cache(maxsize=1)
def processor() -> str:
    """Return the kind of processor that sums are compiled for: its vectors order them."""
    from llvmlite.binding import get_host_cpu_name
    from numba import config

    return str(getattr(config, "CPU_NAME", None) or get_host_cpu_name())
