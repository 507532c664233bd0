"""The block walk: one block of one parameter through all checkpoints, then the next block.

The three states of a block (reference, previous, total) stay in the processor's cache while
its bytes stream in, each byte of each checkpoint is read once, and memory does not depend on
the size of the model or the number of checkpoints. Blocks know nothing of each other, so
threads take them side by side; results are folded in order.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from accweight_core.accumulate.folding import BlockSums, Folding, Sums
from accweight_core.dtypes import DTYPES
from accweight_core.errors import NonFiniteError
from accweight_core.fused import measure_step, squares, start_block
from accweight_core.kernels import (
    SUMS,
    BlockState,
    Partition,
    Scratch,
    partition,
)
from accweight_core.reading import (
    OpenFiles,
    Stretch,
    ahead_of,
    is_readable_in_blocks,
    is_remote,
    neighbours,
    read_stretches,
    read_together,
    working_dtype,
)
from accweight_core.schema import Checkpoint, StoredTensor
from accweight_core.tiling import evened
from accweight_core.totals import Totals

if TYPE_CHECKING:
    from accweight_core.remote.ahead import ReadAhead

PIECE_ELEMENTS = 1 << 16
"""Elements per call of the kernel, so that its scratch stays in the second-level cache."""

SMALL_ELEMENTS = 1 << 12
"""Elements up to which parameters of one size are walked together."""

Carry = tuple[Tensor, Tensor, Tensor]
"""Reference, previous value and cumulative change of a block, flat; NaN in the reference where
an element has never been finite. All that is needed to walk on from there."""

Watcher = Callable[[int, int, Tensor], None]
"""Called as ``watcher(step_index, first_element, total)`` with A_t of a stretch, float64."""


class Stretches(Protocol):
    """Elements of a parameter that are walked together."""

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """First element and end of each stretch; both are sub-block boundaries."""


@dataclass(frozen=True)
class Block:
    """One stretch of a parameter that starts and ends at sub-block boundaries."""

    start: int
    stop: int

    @property
    def stretches(self) -> tuple[tuple[int, int], ...]:
        """The stretch itself."""
        return ((self.start, self.stop),)


def blocks_of(shape: tuple[int, ...], block_elements: int) -> Iterator[Block]:
    """Yield the blocks of a parameter of which no picture is drawn.

    Args:
        shape: Its shape.
        block_elements: Elements a block should have.
    """
    elements, cut = math.prod(shape), partition(shape)
    unit = cut.segment if cut.segment <= block_elements else cut.sub_block
    for segment in range(0, elements, cut.segment if unit == cut.sub_block else max(elements, 1)):
        end = min(segment + cut.segment, elements) if unit == cut.sub_block else elements
        length = unit * evened(-(-(end - segment) // unit), block_elements // unit)
        for start in range(segment, end, length):
            yield Block(start, min(start + length, end))


def pieces_of(
    cut: Partition, start: int, stop: int, dtype: torch.dtype = torch.float32
) -> Iterator[tuple[int, int, int]]:
    """Yield (first element, rows, columns) of the kernel calls that cover a stretch.

    Rows are sub-blocks; the shorter sub-block that ends a segment comes on its own. So does
    every sub-block of complex numbers, whose modulus may round another way at the end of a
    vector than in its middle.
    """
    most = 1 if dtype.is_complex else max(1, PIECE_ELEMENTS // cut.sub_block)
    while start < stop:
        end = min(stop, (start // cut.segment + 1) * cut.segment)
        whole = (end - start) // cut.sub_block
        for first in range(0, whole, most):
            yield start + first * cut.sub_block, min(most, whole - first), cut.sub_block
        if tail := (end - start) % cut.sub_block:
            yield end - tail, 1, tail
        start = end


def walk_block(
    files: OpenFiles,
    tensors: Sequence[StoredTensor],
    block: Stretches,
    *,
    watcher: Watcher | None = None,
    carry: Carry | None = None,
    keep: Callable[[Carry], None] | None = None,
    dtype: torch.dtype | None = None,
) -> BlockSums:
    """Walk one block of one parameter through its checkpoints.

    Args:
        files: Where to read through.
        tensors: The parameter in each checkpoint, in step order.
        block: What of it to walk.
        watcher: Sees A_t of every piece after every step.
        carry: Where an earlier walk of the block ended; the first tensor is then a step like
            the others. None to begin with the first tensor as the reference.
        keep: Called with where this walk has ended.
        dtype: In which to subtract; the widest of the tensors by default.
    """
    dtype = dtype or common_dtype(tensors)
    cut, size = partition(tensors[0].shape), 0
    pieces: list[tuple[int, int, int, int]] = []
    for start, stop in block.stretches:
        pieces += [(size + f - start, f, r, c) for f, r, c in pieces_of(cut, start, stop, dtype)]
        size += stop - start
    elements = [columns for _, _, rows, columns in pieces for _ in range(rows)]
    values = np.empty((len(tensors), len(elements), len(SUMS)))
    buffers = [torch.empty(size, dtype=dtype) for _ in range(3)]
    scratch = Scratch()
    states = [_resumed(carry, *piece) for piece in pieces] if carry else []
    for step, tensor in enumerate(tensors):
        begins = step == 0 and carry is None
        buffer = buffers[0] if begins else buffers[1 + step % 2]
        read_stretches(files, tensor, block.stretches, buffer)
        row = 0
        for number, (at, first, rows, columns) in enumerate(pieces):
            current = buffer[at : at + rows * columns].view(rows, columns)
            if begins:
                state, sums = start_block(current)
                states.append(state)
            else:
                state = states[number]
                sums = measure_step(state, current, scratch)
                state.previous = current
            values[step, row : row + rows] = sums.numpy()
            row += rows
            if watcher:
                watcher(step, first, state.total)
    if keep:
        keep(_carried(states))
    return BlockSums(block.stretches, elements, values)


def walk_alike(
    files: OpenFiles,
    parameters: Sequence[Sequence[StoredTensor]],
    watchers: Sequence[Watcher | None],
) -> Sums:
    """Walk several small parameters of one size at once, one row of the kernel each.

    Rows know nothing of each other, so the bits are those of `walk_block`.

    Args:
        files: Where to read through.
        parameters: Each of them in every checkpoint; none longer than a sub-block.
        watchers: Of each.

    Returns:
        (steps, parameters, len(SUMS)).
    """
    dtype, elements = common_dtype(parameters[0]), parameters[0][0].values.elements
    buffers = [torch.empty((len(parameters), elements), dtype=dtype) for _ in range(3)]
    values, scratch = np.empty((len(parameters[0]), len(parameters), len(SUMS))), Scratch()
    state: BlockState | None = None
    for step, tensors in enumerate(zip(*parameters, strict=True)):
        current = buffers[1 + step % 2 if step else 0]
        read_together(files, tensors, current)
        if state is None:
            state, sums = start_block(current)
        else:
            sums = measure_step(state, current, scratch)
            state.previous = current
        values[step] = sums.numpy()
        for row, watcher in enumerate(watchers):
            if watcher:
                watcher(step, 0, state.total[row])
    return values


def _resumed(carry: Carry, at: int, first: int, rows: int, columns: int) -> BlockState:
    """Return the state of one piece where an earlier walk of its block ended."""
    reference, previous, total = (
        part[at : at + rows * columns].view(rows, columns).clone() for part in carry
    )
    unseen = torch.isnan(reference)
    if not bool(unseen.any()):
        return BlockState(reference, squares(reference), previous, total)
    reference.masked_fill_(unseen, 0)
    return BlockState(reference, squares(reference), previous, total, unseen)


def _carried(states: Sequence[BlockState]) -> Carry:
    """Return where the walk of a block has ended."""
    references = [
        s.reference if s.unseen is None else s.reference.masked_fill(s.unseen, torch.nan)
        for s in states
    ]
    parts = references, [s.previous for s in states], [s.total for s in states]
    reference, previous, total = (torch.cat([t.reshape(-1) for t in part]) for part in parts)
    return reference, previous, total


def common_dtype(tensors: Sequence[StoredTensor]) -> torch.dtype:
    """Return the widest working dtype of a parameter over its checkpoints."""
    dtype = working_dtype(tensors[0])
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, working_dtype(tensor))
    return dtype


def no_watcher(block: Stretches) -> Watcher | None:
    """Watch nothing: the numbers are all that is wanted."""
    return None


def no_carry(block: Stretches) -> Carry | None:
    """Begin with the first checkpoint as the reference."""
    return None


@dataclass(frozen=True)
class ParameterWalk:
    """All that is needed to walk one parameter.

    Attributes:
        name: Its name.
        tensors: The parameter in each checkpoint.
        blocks: What it is cut into.
        watch: Returns the watcher of one block, or None.
        done: Called in this thread when the parameter is complete.
        carry: Returns where an earlier walk of a block ended, or None.
        keep: Takes where the walk of a block has ended.
    """

    name: str
    tensors: Sequence[StoredTensor]
    blocks: Iterable[Stretches]
    watch: Callable[[Any], Watcher | None] = no_watcher
    done: Callable[[Totals], None] = lambda totals: None
    carry: Callable[[Any], Carry | None] = no_carry
    keep: Callable[[Any, Carry], None] | None = None

    @property
    def elements(self) -> int:
        """Number of its elements."""
        return self.tensors[0].values.elements

    @property
    def likeness(self) -> tuple[int, torch.dtype] | None:
        """What it shares with parameters that may be walked together; None if it may not."""
        plain = self.carry is no_carry and self.keep is None
        if not plain or not 0 < self.elements <= SMALL_ELEMENTS:
            return None
        dtype = common_dtype(self.tensors)
        if dtype.is_complex or not all(is_readable_in_blocks(t) for t in self.tensors):
            return None
        return self.elements, dtype

    @property
    def is_remote(self) -> bool:
        """Whether any of it is fetched from a URL, which is planned before it is walked."""
        return any(is_remote(tensor) for tensor in self.tensors)

    @property
    def bytes_per_element(self) -> int:
        """Bytes to read per element over all checkpoints."""
        return sum(DTYPES[tensor.dtype].size_bytes for tensor in self.tensors)

    @property
    def size_bytes(self) -> int:
        """Bytes to read in all."""
        return self.elements * self.bytes_per_element


def grouped(parameters: Iterable[ParameterWalk]) -> Iterator[list[ParameterWalk]]:
    """Yield parameters one by one, but small ones that are alike and follow each other together.

    A call of the kernel, and what surrounds it, takes as long for one bias as for hundreds.
    """
    for alike, group in groupby(parameters, key=lambda parameter: parameter.likeness):
        members, most = list(group), PIECE_ELEMENTS // alike[0] if alike else 1
        for first in range(0, len(members), most):
            yield members[first : first + most]


def _planned(parameter: ParameterWalk) -> ParameterWalk:
    """Return a walk whose blocks can be gone through twice if it reads remote files."""
    return replace(parameter, blocks=list(parameter.blocks)) if parameter.is_remote else parameter


def stretches_of(groups: Iterable[Sequence[ParameterWalk]]) -> Iterator[Stretch]:
    """Yield what walking groups of parameters reads of remote files, in its order.

    Every stretch is one that `walk_block` or `walk_alike` asks for: what is read ahead is
    forgotten when it has been asked for as often as was said.
    """
    for group in groups:
        if not any(parameter.is_remote for parameter in group):
            continue
        if len(group) > 1:
            for tensors in zip(*(parameter.tensors for parameter in group), strict=True):
                yield from neighbours(tensors)
        else:
            for block in group[0].blocks:
                for tensor in group[0].tensors:
                    yield from ((tensor, *stretch) for stretch in block.stretches)


class BlockWalk:
    """Walks many parameters, on several threads, in constant memory."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        *,
        threads: int,
        strict: bool = False,
        progress: Callable[[int], None] = lambda size_bytes: None,
    ) -> None:
        self._checkpoints = checkpoints
        self._threads = threads
        self._strict = strict
        self._progress = progress
        self._local = threading.local()
        self._opened: list[OpenFiles] = []
        self._ahead: ReadAhead | None = None

    def run(self, parameters: Sequence[ParameterWalk]) -> None:
        """Walk the parameters; `done` of each is called once, in their order."""
        waiting: deque[Callable[[], None]] = deque()
        groups = list(grouped(map(_planned, parameters)))
        self._ahead = ahead_of(stretches_of(groups))
        with _one_thread_per_operation(), ThreadPoolExecutor(self._threads, "walk") as pool:
            try:
                for group in groups:
                    for collect in self._submitted(group, pool):
                        waiting.append(collect)
                        while len(waiting) > 4 * self._threads:
                            waiting.popleft()()
                while waiting:
                    waiting.popleft()()
                if self._ahead is not None:
                    self._ahead.check()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                for files in self._opened:
                    files.close()
                if self._ahead is not None:
                    self._ahead.close()

    def _submitted(
        self, group: Sequence[ParameterWalk], pool: ThreadPoolExecutor
    ) -> Iterator[Callable[[], None]]:
        """Begin a few parameters, or one, and yield what is to be done in order as they end."""
        if len(group) > 1:
            yield partial(self._collect_group, group, pool.submit(self._walk_group, group))
            return
        parameter, folding = group[0], Folding(len(self._checkpoints))
        for block in parameter.blocks:
            future = pool.submit(self._walk, parameter, block)
            yield partial(self._collect, parameter, folding, future)
        yield partial(self._finish, parameter, folding)

    def _files(self) -> OpenFiles:
        """Return the open files of this thread."""
        if not hasattr(self._local, "files"):
            torch.set_num_threads(1)  # the setting is kept per thread
            self._local.files = OpenFiles(ahead=self._ahead)
            self._opened.append(self._local.files)
        files: OpenFiles = self._local.files
        return files

    def _walk(self, parameter: ParameterWalk, block: Stretches) -> BlockSums:
        keep = partial(parameter.keep, block) if parameter.keep else None
        return walk_block(
            self._files(),
            parameter.tensors,
            block,
            watcher=parameter.watch(block),
            carry=parameter.carry(block),
            keep=keep,
        )

    def _walk_group(self, group: Sequence[ParameterWalk]) -> Sums:
        watchers = [parameter.watch(next(iter(parameter.blocks))) for parameter in group]
        return walk_alike(self._files(), [p.tensors for p in group], watchers)

    def _collect(
        self, parameter: ParameterWalk, folding: Folding, future: Future[BlockSums]
    ) -> None:
        sums = future.result()
        folding.take(sums)
        self._progress(sum(sums.elements) * parameter.bytes_per_element)

    def _collect_group(self, group: Sequence[ParameterWalk], future: Future[Sums]) -> None:
        for parameter, values in zip(group, future.result().transpose(1, 0, 2), strict=True):
            folding = Folding(len(values))
            folding.totals.extend(np.array([parameter.elements]), values[:, None])
            self._finish(parameter, folding)
        self._progress(sum(parameter.size_bytes for parameter in group))

    def _finish(self, parameter: ParameterWalk, folding: Folding) -> None:
        if self._strict:
            refuse_nonfinite(parameter.name, folding.totals, self._checkpoints)
        parameter.done(folding.totals)


def refuse_nonfinite(name: str, totals: Totals, checkpoints: Sequence[Checkpoint]) -> None:
    """Raise if a parameter held NaN or infinity at any step.

    Raises:
        NonFiniteError: If it did; names the parameter, the first such step and its file.
    """
    counts = totals.column("nonfinite")
    if counts.any():
        first = int(np.flatnonzero(counts)[0])
        checkpoint = checkpoints[first]
        raise NonFiniteError(
            f"parameter {name!r} has {int(counts[first])} non-finite elements at step "
            f"{checkpoint.step} ({checkpoint.path}); without --strict they are counted "
            "and left out of the change"
        )


@contextmanager
def _one_thread_per_operation() -> Iterator[None]:
    """Keep torch from splitting single operations: the blocks are the parallelism."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
