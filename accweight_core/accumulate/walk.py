"""The block walk: one block of one parameter through all checkpoints, then the next block.

The three states of a block (reference, previous, total) stay in the processor's cache while
its bytes stream in, each byte of each checkpoint is read once, and memory does not depend on
the size of the model or the number of checkpoints. Blocks know nothing of each other, so
threads take them side by side; results are folded in order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
from accweight_core.reading import OpenFiles, read_stretch, working_dtype
from accweight_core.schema import Checkpoint, StoredTensor
from accweight_core.totals import Totals

BLOCK_ELEMENTS = 1 << 18
"""Elements per block unless asked otherwise: 1 MiB of float32 per read."""

PIECE_ELEMENTS = 1 << 16
"""Elements per call of the kernel, so that its scratch stays in the second-level cache."""

Sums = npt.NDArray[np.float64]
Carry = tuple[Tensor, Tensor, Tensor]
"""Reference, previous value and cumulative change of a block, flat; NaN in the reference where
an element has never been finite. All that is needed to walk on from there."""

Watcher = Callable[[int, int, Tensor], None]
"""Called as ``watcher(step_index, first_element, total)`` with A_t of a stretch, float64."""


@dataclass(frozen=True)
class Block:
    """A stretch of a parameter that starts and ends at sub-block boundaries."""

    start: int
    stop: int


def blocks_of(
    shape: tuple[int, ...], leading: int, *, alignment: int, block_elements: int
) -> list[Block]:
    """Cut a parameter into blocks of whole leading indices.

    Args:
        shape: Its shape.
        leading: Length of its leading axis.
        alignment: Leading indices every block must be a multiple of, a power of two.
        block_elements: Elements a block should have.
    """
    elements = int(np.prod(shape, dtype=np.int64))
    if elements == 0:
        return []
    row = elements // leading
    cut = partition(shape)
    multiple = max(alignment, 1 if cut.segment == row else cut.sub_block // row)
    rows = max(multiple, block_elements // row // multiple * multiple)
    even = -(-leading // -(-leading // rows))  # or the last chunk of a picture is all padding
    rows = -(-even // multiple) * multiple
    return [Block(i * row, min(i + rows, leading) * row) for i in range(0, leading, rows)]


def pieces_of(cut: Partition, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first element, rows, columns) of the kernel calls that cover a stretch.

    Rows are sub-blocks; the shorter sub-block that ends a segment comes on its own.
    """
    most = max(1, PIECE_ELEMENTS // cut.sub_block)
    while start < stop:
        end = min(stop, (start // cut.segment + 1) * cut.segment)
        whole = (end - start) // cut.sub_block
        for first in range(0, whole, most):
            yield start + first * cut.sub_block, min(most, whole - first), cut.sub_block
        if tail := (end - start) % cut.sub_block:
            yield end - tail, 1, tail
        start = end


@dataclass(frozen=True)
class BlockSums:
    """Partial sums of the sub-blocks of one block.

    Attributes:
        elements: Elements of each sub-block.
        values: (steps, sub-blocks, len(SUMS)).
    """

    elements: list[int]
    values: Sums

    def fold_into(self, totals: Totals) -> None:
        """Add every sub-block in order."""
        totals.extend(np.array(self.elements, dtype=np.int64), self.values)


def walk_block(
    files: OpenFiles,
    tensors: Sequence[StoredTensor],
    block: Block,
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
        block: The stretch.
        watcher: Sees A_t of every piece after every step.
        carry: Where an earlier walk of the block ended; the first tensor is then a step like
            the others. None to begin with the first tensor as the reference.
        keep: Called with where this walk has ended.
        dtype: In which to subtract; the widest of the tensors by default.
    """
    dtype = dtype or common_dtype(tensors)
    pieces = list(pieces_of(partition(tensors[0].shape), block.start, block.stop))
    elements = [columns for _, rows, columns in pieces for _ in range(rows)]
    values = np.empty((len(tensors), len(elements), len(SUMS)))
    buffers = [torch.empty(block.stop - block.start, dtype=dtype) for _ in range(3)]
    scratch = Scratch()
    states = [_resumed(carry, block, piece) for piece in pieces] if carry else []
    for step, tensor in enumerate(tensors):
        begins = step == 0 and carry is None
        buffer = buffers[0] if begins else buffers[1 + step % 2]
        read_stretch(files, tensor, block.start, block.stop, buffer)
        row = 0
        for number, (first, rows, columns) in enumerate(pieces):
            at = first - block.start
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
    return BlockSums(elements, values)


def _resumed(carry: Carry, block: Block, piece: tuple[int, int, int]) -> BlockState:
    """Return the state of one piece where an earlier walk of its block ended."""
    first, rows, columns = piece
    at = first - block.start
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


def no_watcher(block: Block) -> Watcher | None:
    """Watch nothing: the numbers are all that is wanted."""
    return None


def no_carry(block: Block) -> Carry | None:
    """Begin with the first checkpoint as the reference."""
    return None


@dataclass(frozen=True)
class ParameterWalk:
    """All that is needed to walk one parameter.

    Attributes:
        name: Its name.
        tensors: The parameter in each checkpoint.
        blocks: The stretches it is cut into.
        watch: Returns the watcher of one block, or None.
        done: Called in this thread when the parameter is complete.
        carry: Returns where an earlier walk of a block ended, or None.
        keep: Takes where the walk of a block has ended.
    """

    name: str
    tensors: Sequence[StoredTensor]
    blocks: Sequence[Block]
    watch: Callable[[Block], Watcher | None] = no_watcher
    done: Callable[[Totals], None] = lambda totals: None
    carry: Callable[[Block], Carry | None] = no_carry
    keep: Callable[[Block, Carry], None] | None = None

    @property
    def bytes_per_element(self) -> int:
        """Bytes to read per element over all checkpoints."""
        return sum(DTYPES[tensor.dtype].size_bytes for tensor in self.tensors)

    @property
    def size_bytes(self) -> int:
        """Bytes to read in all."""
        return sum(block.stop - block.start for block in self.blocks) * self.bytes_per_element


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

    def run(self, parameters: Sequence[ParameterWalk]) -> None:
        """Walk the parameters; `done` of each is called once, in their order."""
        waiting: deque[tuple[ParameterWalk, Totals, Block | None, Future[BlockSums] | None]]
        waiting = deque()
        with _one_thread_per_operation(), ThreadPoolExecutor(self._threads, "walk") as pool:
            try:
                for parameter in parameters:
                    totals = Totals.empty(len(self._checkpoints))
                    for block in parameter.blocks:
                        waiting.append(
                            (parameter, totals, block, pool.submit(self._walk, parameter, block))
                        )
                        while len(waiting) > 4 * self._threads:
                            self._collect(*waiting.popleft())
                    waiting.append((parameter, totals, None, None))
                while waiting:
                    self._collect(*waiting.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                for files in self._opened:
                    files.close()

    def _walk(self, parameter: ParameterWalk, block: Block) -> BlockSums:
        if not hasattr(self._local, "files"):
            torch.set_num_threads(1)  # the setting is kept per thread
            self._local.files = OpenFiles()
            self._opened.append(self._local.files)
        keep = partial(parameter.keep, block) if parameter.keep else None
        return walk_block(
            self._local.files,
            parameter.tensors,
            block,
            watcher=parameter.watch(block),
            carry=parameter.carry(block),
            keep=keep,
        )

    def _collect(
        self,
        parameter: ParameterWalk,
        totals: Totals,
        block: Block | None,
        future: Future[BlockSums] | None,
    ) -> None:
        if block is None or future is None:
            if self._strict:
                refuse_nonfinite(parameter.name, totals, self._checkpoints)
            parameter.done(totals)
            return
        future.result().fold_into(totals)
        self._progress((block.stop - block.start) * parameter.bytes_per_element)


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
