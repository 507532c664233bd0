"""Tasks: parts of a run that are small to send and long to compute.

A task is a part of one large parameter, or many whole parameters and packs of small ones. It ends
on chunk boundaries of the stored picture if possible, so that its worker writes whole chunks; where
a chunk takes much longer than a task, as in very coarse pictures, it ends within a chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from accweight_core.accumulate.cutting import Block, Stretches
from accweight_core.accumulate.pack import PackWalk
from accweight_core.accumulate.walk import ParameterWalk
from accweight_core.io.stamp import stamp_of
from accweight_core.pictures.plan import PicturePlan, chunk_of
from accweight_core.pictures.tile import Range, Tile
from accweight_core.pictures.tiling import BLOCK_ELEMENTS, Tiling, tiling_of
from accweight_core.remote import is_url
from accweight_core.schema import StoredTensor
from accweight_core.store.chunk_grid import ChunkGrid

PER_WORKER = 16
"""Tasks per worker in a run: enough that all workers finish at about the same time."""

USUAL_BYTES = 256 << 20
"""Bytes that a task reads if the number of workers is unknown."""

LEAST_BYTES = 32 << 20
"""Bytes from which sending a task, which takes milliseconds, is worth it."""

MOST_BYTES = 1 << 30
"""Most bytes of a task: what is read again if its worker is lost."""

MOST_TENSORS = 1 << 14
"""Most tensors, over all checkpoints, in a task: about 2 MB to send."""

Cut = tuple[Range, ...]
"""A block as it is sent: the ranges of a tile, or (first, end) pairs of elements."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all tasks of an analysis have in common.

    Attributes:
        token: A unique name.
        store: Folder of the store, absolute; None for an analysis in memory.
        earlier: Folder of the analysis to append to, if any.
        block_elements: Elements per block.
        versions: Library versions of the driver; other versions could change bits.
        memory_bytes: Memory budget of each worker process; by default its free memory.
    """

    token: str
    store: str | None
    earlier: str | None
    block_elements: int
    versions: tuple[tuple[str, str], ...]
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class File:
    """Identity of a file, to detect that a worker sees another one.

    Attributes:
        path: Its path, or its URL without secrets.
        size_bytes: Its length.
        changed_ns: Modification time of a remote file, or a number made from its ETag. 0 for a
            local file, because clocks of hosts may differ.
    """

    path: str
    size_bytes: int
    changed_ns: int

    @classmethod
    def at(cls, path: str) -> File:
        """Return the identity of a file as seen here.

        Raises:
            OSError: If it cannot be read.
        """
        stamp = stamp_of(path)
        return cls(path, stamp.size_bytes, stamp.changed_ns if is_url(path) else 0)


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of one parameter in a task.

    Attributes:
        index: Index of the parameter.
        tensors: The parameter in each checkpoint.
        cuts: The blocks to walk; None for all.
    """

    index: int
    tensors: tuple[StoredTensor, ...]
    cuts: tuple[Cut, ...] | None = None


@dataclass(frozen=True, slots=True)
class PackSlice:
    """A pack of small parameters, which is walked and written as a unit.

    Attributes:
        number: Number of the pack.
        slices: Its members.
    """

    number: int
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker processes at a time.

    Attributes:
        job: The job it is part of.
        slices: Parameters, whole or in part.
        packs: Packs of parameters.
        files: Files of their bytes.
        size_bytes: Bytes to read.
    """

    job: Job
    slices: tuple[Slice, ...]
    packs: tuple[PackSlice, ...]
    files: tuple[File, ...]
    size_bytes: int


@dataclass(frozen=True)
class TaskParameter:
    """One parameter to send to workers.

    Attributes:
        index: Index of the parameter.
        walk: Its walk, for the list of blocks; not run in this process.
        tensors: The parameter in each checkpoint, in the form that is sent.
        files: Files of its bytes.
        plan: Plan of its picture, if one is drawn.
        at_once: Whether it cannot be cut.
    """

    index: int
    walk: ParameterWalk
    tensors: tuple[StoredTensor, ...]
    files: tuple[File, ...]
    plan: PicturePlan | None
    at_once: bool


@dataclass(frozen=True)
class TaskPack:
    """One pack of small parameters to send to workers.

    Attributes:
        walk: Its walk; not run in this process.
        tensors: Each member in every checkpoint, in the form that is sent.
        files: Files of their bytes.
    """

    walk: PackWalk
    tensors: tuple[tuple[StoredTensor, ...], ...]
    files: tuple[File, ...]


def task_bytes(size_bytes: int, workers: int) -> int:
    """Return the target size of the tasks of a run, in bytes to read."""
    if not workers:
        return USUAL_BYTES
    return min(max(size_bytes // (workers * PER_WORKER), LEAST_BYTES), MOST_BYTES)


def tasks_of(
    job: Job, sendable: Iterable[TaskParameter | TaskPack], size_bytes: int
) -> Iterator[Task]:
    """Yield the tasks of many parameters, each with about so many bytes to read.

    They are cut lazily: the blocks of a large model are never all in memory.
    """
    small: list[TaskParameter | TaskPack] = []
    for item in sendable:
        is_large = item.walk.size_bytes > size_bytes
        if is_large and isinstance(item, TaskParameter) and not item.at_once:
            yield from _parts(job, item, size_bytes)
            continue
        tensors = sum(map(_tensors, (*small, item)))
        if small and (_bytes(small) + item.walk.size_bytes > size_bytes or tensors > MOST_TENSORS):
            yield _together(job, small)
            small = []
        small.append(item)
    if small:
        yield _together(job, small)


def _bytes(items: Sequence[TaskParameter | TaskPack]) -> int:
    return sum(item.walk.size_bytes for item in items)


def _tensors(item: TaskParameter | TaskPack) -> int:
    """Return the number of tensors in a task for this item."""
    return len(item.tensors) if isinstance(item, TaskParameter) else sum(map(len, item.tensors))


def _together(job: Job, items: Sequence[TaskParameter | TaskPack]) -> Task:
    slices = tuple(Slice(i.index, i.tensors) for i in items if isinstance(i, TaskParameter))
    packs = tuple(
        PackSlice(i.walk.number, tuple(map(Slice, i.walk.indices, i.tensors)))
        for i in items
        if isinstance(i, TaskPack)
    )
    files = dict.fromkeys(file for item in items for file in item.files)
    return Task(job, slices, packs, tuple(files), _bytes(items))


def _parts(job: Job, item: TaskParameter, size_bytes: int) -> Iterator[Task]:
    """Yield the tasks of one large parameter."""
    groups = _groups(item, size_bytes)
    first = next(groups)
    second = next(groups, None)
    if second is None:
        yield _together(job, [item])
        return
    for blocks in (first, second, *groups):
        elements = sum(stop - start for block in blocks for start, stop in block.stretches)
        cuts = tuple(b.ranges if isinstance(b, Tile) else b.stretches for b in blocks)
        slice_ = Slice(item.index, item.tensors, cuts)
        size = elements * item.walk.bytes_per_element
        yield Task(job, (slice_,), (), item.files, size)


def _groups(item: TaskParameter, size_bytes: int) -> Iterator[list[Stretches]]:
    """Yield groups of blocks of a parameter, each the size of a task."""
    open_chunks = OpenChunks(item.plan) if item.plan else None
    if open_chunks and open_chunks.largest * item.walk.bytes_per_element > 2 * size_bytes:
        open_chunks = None  # a chunk is larger than a task
    group: list[Stretches] = []
    gathered = 0
    for block in item.walk.blocks:
        group.append(block)
        elements = sum(stop - start for start, stop in block.stretches)
        gathered += elements * item.walk.bytes_per_element
        if open_chunks is not None and isinstance(block, Tile):
            open_chunks.take(block)
        fits = open_chunks is None or open_chunks.all_whole
        if gathered >= size_bytes and (fits or gathered >= 2 * size_bytes):
            yield group
            group, gathered = [], 0
    if group:
        yield group


class OpenChunks:
    """The chunks of a picture that have been begun and are incomplete.

    Attributes:
        largest: Elements of a complete chunk.
    """

    def __init__(self, plan: PicturePlan) -> None:
        tiling = tiling_of(plan.layout, plan.base, BLOCK_ELEMENTS)
        chunk = chunk_of(tiling, plan.steps)
        self._grid = ChunkGrid(tiling, chunk, (plan.steps, *plan.size(plan.base)))
        self._level = plan.base
        self.largest = (chunk[1] * chunk[2]) << (2 * plan.base)
        self._missing: dict[tuple[int, int], int] = {}

    def take(self, tile: Tile) -> None:
        """Count the elements of a tile."""
        for window, _ in tile.windows(self._level):
            for place, (rows, cols) in self._grid.touched(window):
                missing = self._missing.get(place, self._grid.texels(*place))
                self._missing[place] = missing - len(rows) * len(cols)
                if not self._missing[place]:
                    del self._missing[place]

    @property
    def all_whole(self) -> bool:
        """Whether no chunk is incomplete."""
        return not self._missing


def block_at(cut: Cut, plan: PicturePlan | None) -> Stretches:
    """Return the block of a cut."""
    if plan is None:
        return Block(*cut[0])
    return Tiling(plan.layout, plan.base, ()).tile(cut)
