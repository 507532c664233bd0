"""The block walk: one block of one parameter through all checkpoints, then the next block.

The three states of a block (reference, previous, total) stay in the processor's cache while
its bytes stream in, each byte of each checkpoint is read once, and memory does not depend on
the size of the model or the number of checkpoints. Blocks know nothing of each other, so
threads take them side by side; results are folded in order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from accweight_core.accumulate.block import (
    Carry,
    Watcher,
    common_dtype,
    walk_alike,
    walk_block,
)
from accweight_core.accumulate.cutting import PIECE_ELEMENTS, Stretches
from accweight_core.accumulate.folding import BlockSums, Folding, Sums
from accweight_core.dtypes import DTYPES
from accweight_core.errors import NonFiniteError
from accweight_core.reading import (
    OpenFiles,
    Stretch,
    ahead_of,
    is_readable_in_blocks,
    is_remote,
    neighbours,
)
from accweight_core.schema import Checkpoint, StoredTensor
from accweight_core.totals import Totals

if TYPE_CHECKING:
    from accweight_core.remote.ahead import ReadAhead

SMALL_ELEMENTS = 1 << 12
"""Elements up to which parameters of one size are walked together."""


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
        walked: Called when all of its blocks have been walked.
        done: Called in this thread, then, with its totals.
        carry: Returns where an earlier walk of a block ended, or None.
        keep: Takes where the walk of a block has ended.
    """

    name: str
    tensors: Sequence[StoredTensor]
    blocks: Iterable[Stretches]
    watch: Callable[[Any], Watcher | None] = no_watcher
    walked: Callable[[], None] = lambda: None
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


def planned(parameter: ParameterWalk) -> ParameterWalk:
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
        groups = list(grouped(map(planned, parameters)))
        self._ahead = ahead_of(stretches_of(groups))
        with one_thread_per_operation(), ThreadPoolExecutor(self._threads, "walk") as pool:
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
        yield lambda: self._finish(parameter, folding.totals)

    def _files(self) -> OpenFiles:
        """Return the open files of this thread."""
        if not hasattr(self._local, "files"):
            torch.set_num_threads(1)  # the setting is kept per thread
            self._local.files = OpenFiles(ahead=self._ahead)
            self._opened.append(self._local.files)
        files: OpenFiles = self._local.files
        return files

    def _walk(self, parameter: ParameterWalk, block: Stretches) -> BlockSums:
        return sums_of(self._files(), parameter, block)

    def _walk_group(self, group: Sequence[ParameterWalk]) -> Sums:
        return sums_of_group(self._files(), group)

    def _collect(
        self, parameter: ParameterWalk, folding: Folding, future: Future[BlockSums]
    ) -> None:
        sums = future.result()
        folding.take(sums)
        self._progress(sum(sums.elements) * parameter.bytes_per_element)

    def _collect_group(self, group: Sequence[ParameterWalk], future: Future[Sums]) -> None:
        for parameter, totals in zip(group, totals_of(group, future.result()), strict=True):
            self._finish(parameter, totals)
        self._progress(sum(parameter.size_bytes for parameter in group))

    def _finish(self, parameter: ParameterWalk, totals: Totals) -> None:
        if self._strict:
            refuse_nonfinite(parameter.name, totals, self._checkpoints)
        parameter.walked()
        parameter.done(totals)


def sums_of(files: OpenFiles, parameter: ParameterWalk, block: Stretches) -> BlockSums:
    """Walk one block of a parameter, with all that goes with it."""
    keep = partial(parameter.keep, block) if parameter.keep else None
    return walk_block(
        files,
        parameter.tensors,
        block,
        watcher=parameter.watch(block),
        carry=parameter.carry(block),
        keep=keep,
    )


def sums_of_group(files: OpenFiles, group: Sequence[ParameterWalk]) -> Sums:
    """Walk several small parameters that are alike, with all that goes with them."""
    watchers = [parameter.watch(next(iter(parameter.blocks))) for parameter in group]
    return walk_alike(files, [parameter.tensors for parameter in group], watchers)


def totals_of(group: Sequence[ParameterWalk], sums: Sums) -> Iterator[Totals]:
    """Yield the totals of each of several parameters that have been walked together."""
    for parameter, values in zip(group, sums.transpose(1, 0, 2), strict=True):
        totals = Totals.empty(len(values))
        totals.extend(np.array([parameter.elements]), values[:, None])
        yield totals


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
def one_thread_per_operation() -> Iterator[None]:
    """Keep torch from splitting single operations: the blocks are the parallelism."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
