"""The block walk: one block goes through all checkpoints, then the next block.

The state of a block (reference, previous, total) stays in the processor's cache while its bytes
stream in. Each byte of each checkpoint is read once, and memory depends neither on the size of
the model nor on the number of checkpoints. Blocks are independent, so threads walk them in
parallel; their sums are merged in element order.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from accweight_core.accumulate.block import common_dtype, walk_block
from accweight_core.accumulate.cutting import Stretches
from accweight_core.accumulate.folding import BlockSums, Folding
from accweight_core.accumulate.nonfinite import FirstNonFinite
from accweight_core.accumulate.observing import Observe, not_observed
from accweight_core.accumulate.pack import PackWalk
from accweight_core.accumulate.stepwise import Buffers, Carry
from accweight_core.accumulate.watching import Watcher
from accweight_core.dtypes import DTYPES
from accweight_core.io.descriptors import open_files_each
from accweight_core.io.memory import WHOLE_TIMES, MemoryBudget, memory_told
from accweight_core.io.reading import (
    OpenFiles,
    Stretch,
    ahead_of,
    is_read_whole,
    is_remote,
)
from accweight_core.io.stamp import held_to, refuse_changed, stamps_of
from accweight_core.metrics.totals import Floats, Totals
from accweight_core.schema import Checkpoint, StoredTensor

if TYPE_CHECKING:
    from accweight_core.remote.prefetch import ReadAhead


def no_watcher(block: Stretches) -> Watcher | None:
    """Watch nothing: no picture is drawn."""
    return None


def no_carry(block: Stretches) -> Carry | None:
    """Start from the first checkpoint as the reference."""
    return None


@dataclass(frozen=True)
class ParameterWalk:
    """Everything needed to walk one parameter.

    Attributes:
        name: Its name.
        tensors: The parameter in each checkpoint.
        blocks: Its blocks.
        watch: Returns the watcher of one block, or None.
        walked: Called when all blocks have been walked.
        done: Called afterwards, in the caller's thread, with the totals.
        carry: Returns the state at the end of an earlier walk of a block, or None.
        keep: Called with a block and its state at the end of the walk.
        index: Position among the parameters of the analysis.
        observe: Returns what takes the weights of a block at all steps, or None.
    """

    name: str
    tensors: Sequence[StoredTensor]
    blocks: Iterable[Stretches]
    watch: Callable[[Any], Watcher | None] = no_watcher
    walked: Callable[[], None] = lambda: None
    done: Callable[[Totals], None] = lambda totals: None
    carry: Callable[[Any], Carry | None] = no_carry
    keep: Callable[[Any, Carry], None] | None = None
    index: int = 0
    observe: Callable[[Any], Observe | None] = not_observed

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.tensors[0].values.elements

    @property
    def is_remote(self) -> bool:
        """Whether it is read from a URL, so that its reads are planned ahead."""
        return any(is_remote(tensor) for tensor in self.tensors)

    @property
    def bytes_per_element(self) -> int:
        """Bytes to read per element, over all checkpoints."""
        return sum(DTYPES[tensor.dtype].size_bytes for tensor in self.tensors)

    @property
    def size_bytes(self) -> int:
        """Total bytes to read."""
        return self.elements * self.bytes_per_element

    @property
    def whole_bytes(self) -> int:
        """Memory for a parameter that is walked as a whole; 0 for others, which need little."""
        if not any(map(is_read_whole, self.tensors)):
            return 0
        held = WHOLE_TIMES + (0 if self.observe is not_observed else len(self.tensors))
        return held * self.elements * common_dtype(self.tensors).itemsize

    def stretches(self) -> Iterator[Stretch]:
        """Yield the ranges that are read, in reading order."""
        for block in self.blocks:
            for tensor in self.tensors:
                yield from ((tensor, *stretch) for stretch in block.stretches)


Walk = ParameterWalk | PackWalk


def planned(walk: Walk) -> Walk:
    """Return a walk whose blocks can be iterated twice, if it reads remote files."""
    if isinstance(walk, PackWalk) or not walk.is_remote:
        return walk
    return replace(walk, blocks=list(walk.blocks))


class BlockWalk:
    """Walks parameters on several threads, in constant memory."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        *,
        threads: int,
        nonfinite: FirstNonFinite | None = None,
        progress: Callable[[int], None] = lambda size_bytes: None,
        memory_bytes: int | None = None,
    ) -> None:
        self._checkpoints = checkpoints
        self._threads = threads
        self._nonfinite = nonfinite
        self._progress = progress
        self._memory = MemoryBudget(memory_bytes)
        self._local = threading.local()
        self._stamps = stamps_of(checkpoints)
        self._most_open = open_files_each(threads)
        self._opened: list[OpenFiles] = []
        self._ahead: ReadAhead | None = None

    def run(self, parameters: Sequence[Walk]) -> None:
        """Walk parameters and packs; `done` of each is called once, in their order."""
        waiting: deque[Callable[[], None]] = deque()
        parameters = list(map(planned, parameters))
        self._ahead = ahead_of(
            stretch for walk in parameters if walk.is_remote for stretch in walk.stretches()
        )
        with (
            held_to(self._stamps),
            one_thread_per_operation(),
            ThreadPoolExecutor(self._threads, "walk") as pool,
        ):
            try:
                for walk in parameters:
                    for collect in self._submitted(walk, pool):
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

    def _submitted(self, parameter: Walk, pool: ThreadPoolExecutor) -> Iterator[Callable[[], None]]:
        """Submit a pack or the blocks of a parameter; yield callbacks, to run in order."""
        if isinstance(parameter, PackWalk):
            yield partial(self._collect_pack, parameter, pool.submit(self._walk_pack, parameter))
            return
        folding = Folding(len(self._checkpoints))
        for block in parameter.blocks:
            future = pool.submit(self._walk, parameter, block)
            yield partial(self._collect, parameter, folding, future)
        yield lambda: self._finish(parameter, folding.totals)

    def _files(self) -> OpenFiles:
        """Return the open files of the current thread."""
        if not hasattr(self._local, "files"):
            _one_thread()  # the setting is kept per thread
            self._local.files = OpenFiles(
                self._most_open, ahead=self._ahead, described=self._stamps
            )
            self._local.buffers = Buffers()
            self._opened.append(self._local.files)
        files: OpenFiles = self._local.files
        return files

    def _walk(self, parameter: ParameterWalk, block: Stretches) -> BlockSums:
        files = self._files()
        with self._memory.taking(parameter.whole_bytes, parameter.name):
            return sums_of(files, self._local.buffers, parameter, block)

    def _walk_pack(self, pack: PackWalk) -> Floats:
        files = self._files()
        return pack.walk(files, self._local.buffers)

    def _collect(
        self, parameter: ParameterWalk, folding: Folding, future: Future[BlockSums]
    ) -> None:
        sums = future.result()
        folding.take(sums)
        self._progress(sum(sums.elements) * parameter.bytes_per_element)

    def _collect_pack(self, pack: PackWalk, future: Future[Floats]) -> None:
        values = future.result()
        refuse_changed(self._stamps)
        if not is_refused(self._nonfinite, pack, values):
            pack.done(values)
        self._progress(pack.size_bytes)

    def _finish(self, parameter: ParameterWalk, totals: Totals) -> None:
        refuse_changed(self._stamps)
        if is_refused(self._nonfinite, parameter, totals.values[:, None]):
            return
        parameter.walked()
        parameter.done(totals)


def sums_of(
    files: OpenFiles, buffers: Buffers, parameter: ParameterWalk, block: Stretches
) -> BlockSums:
    """Walk one block of a parameter, with its watcher and its earlier state."""
    keep = partial(parameter.keep, block) if parameter.keep else None
    with memory_told(f"parameter {parameter.name!r}"):
        return walk_block(
            files,
            parameter.tensors,
            block,
            buffers=Buffers() if parameter.whole_bytes else buffers,  # kept only if small
            watcher=parameter.watch(block),
            carry=parameter.carry(block),
            keep=keep,
            observe=parameter.observe(block),
        )


def is_refused(nonfinite: FirstNonFinite | None, walk: Walk, values: Floats) -> bool:
    """Tell whether a parameter or a member of a pack holds NaN or infinity, and may not.

    Args:
        nonfinite: Collects the places of such elements; None if they are allowed.
        walk: The parameter or the pack.
        values: (steps, parameters, sums).
    """
    if nonfinite is None:
        return False
    places = [walk.index] if isinstance(walk, ParameterWalk) else walk.indices
    names = [walk.name] if isinstance(walk, ParameterWalk) else walk.names
    found = [
        nonfinite.found_in(place, name, values[:, member])
        for member, (place, name) in enumerate(zip(places, names, strict=True))
    ]
    return any(found)


@contextmanager
def one_thread_per_operation() -> Iterator[None]:
    """Limit torch, if imported, to one thread per operation: blocks run in parallel already."""
    threads = _one_thread()
    try:
        yield
    finally:
        if threads:
            sys.modules["torch"].set_num_threads(threads)


def _one_thread() -> int:
    """Set torch to one thread per operation; return the previous number, 0 without torch."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return 0
    threads = int(torch.get_num_threads())
    torch.set_num_threads(1)
    return threads
