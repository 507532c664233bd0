"""The driver: submits a bounded number of tasks at a time and merges their results.

Partial sums are merged in element order, whatever order they arrive in, so the bits are those of
one thread. Memory holds the description of the run, the tasks in flight, and sums that arrived
early: none of these grows with the number of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from accweight_core.accumulate.folding import BlockSums, Folding
from accweight_core.accumulate.nonfinite import FirstNonFinite
from accweight_core.accumulate.pack import PackWalk
from accweight_core.accumulate.walk import ParameterWalk, Walk, is_refused
from accweight_core.errors import EngineError, FormatError
from accweight_core.io.reading import is_read_whole
from accweight_core.io.stamp import refuse_changed, stamps_of
from accweight_core.jobs.engines.serialize import Serializer
from accweight_core.jobs.engines.shared_store import SharedStore
from accweight_core.jobs.engines.tasks import (
    Job,
    Task,
    TaskPack,
    TaskParameter,
    task_bytes,
    tasks_of,
)
from accweight_core.jobs.engines.worker import alive_file_of, finish, run_task
from accweight_core.jobs.engines.workers import Workers
from accweight_core.metrics.totals import Totals
from accweight_core.schema import Checkpoint, Stamp, StoredTensor
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import Header, versions

MOST_WAITING_BYTES = 1 << 30
"""Bytes of early sums from which no more tasks are submitted."""

LOOK_S = 1.0
"""Seconds between two checks for an interrupt."""


@dataclass
class Driver:
    """Has workers walk parameters.

    Attributes:
        workers: The workers.
        job: What all tasks share.
        checkpoints: The checkpoints, for messages.
        nonfinite: Collects non-finite elements if they are an error, else None.
        progress: Called with the bytes of every finished task.
    """

    workers: Workers
    job: Job
    checkpoints: Sequence[Checkpoint]
    nonfinite: FirstNonFinite | None
    progress: Callable[[int], None]
    _sendable: dict[int, TaskParameter] = field(default_factory=dict, init=False)
    _packs: dict[int, PackWalk] = field(default_factory=dict, init=False)
    _merging: dict[int, Folding] = field(default_factory=dict, init=False)
    _sent: dict[Future[Any], Task | None] = field(default_factory=dict, init=False)
    _back: SimpleQueue[Future[Any]] = field(default_factory=SimpleQueue, init=False)
    _noticed: bool = field(default=False, init=False)
    _stamps: dict[str, Stamp] = field(default_factory=dict, init=False)

    def run(self, sendable: Sequence[TaskParameter | TaskPack]) -> None:
        """Walk parameters and packs on workers; `done` of each is called here, once, in any order.

        Raises:
            EngineError: If workers are lost or fail.
        """
        self._stamps = stamps_of(self.checkpoints)
        self._sendable = {item.index: item for item in sendable if isinstance(item, TaskParameter)}
        packs = (item.walk for item in sendable if isinstance(item, TaskPack))
        self._packs = {walk.number: walk for walk in packs}
        size = task_bytes(sum(item.walk.size_bytes for item in sendable), self.workers.count())
        alive_file = alive_file_of(self.job)
        try:
            if alive_file is not None:
                alive_file.touch()
            for task in tasks_of(self.job, sendable, size):
                while self._is_enough():
                    self._collect()
                self._send(task, run_task, task)
            while self._sent:
                self._collect()
        except FormatError:
            refuse_changed(self._stamps)
            raise
        except (BrokenExecutor, CancelledError) as error:
            raise self._lost(error) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("distributed", "tornado"):
                raise self._lost(error) from error
            raise
        finally:
            if alive_file is not None:
                alive_file.unlink(missing_ok=True)
            self._call_back()

    def _is_enough(self) -> bool:
        """Tell whether to wait for a result before the next task is submitted."""
        waiting = sum(folding.waiting_bytes for folding in self._merging.values())
        return len(self._sent) >= self.workers.most_at_once() or waiting > MOST_WAITING_BYTES

    def _send(self, task: Task | None, work: Callable[..., Any], *arguments: Any) -> None:
        future = self.workers.executor.submit(work, *arguments)
        self._sent[future] = task
        future.add_done_callback(self._back.put)

    def _collect(self) -> None:
        """Wait for the next result and merge it."""
        try:
            future = self._back.get(timeout=LOOK_S)
        except Empty:
            return
        task, result = self._sent.pop(future), future.result()
        refuse_changed(self._stamps)
        if task is None:
            self._finish(result, self._merging.pop(result).totals)
            return
        for index, sums in result.sums.items():
            self._merge(index, sums)
        for number, totals in result.packs.items():
            pack = self._packs.pop(number)
            if not is_refused(self.nonfinite, pack, totals):
                pack.done(totals)
        self.progress(task.size_bytes)
        self._compare(result.rounds_once)

    def _merge(self, index: int, sums: Totals | BlockSums) -> None:
        """Merge the sums of a whole parameter or of a part of one."""
        if isinstance(sums, Totals):
            self._finish(index, sums)
            return
        sendable = self._sendable[index]
        folding = self._merging.setdefault(index, Folding(len(sendable.tensors)))
        folding.take(sums)
        if folding.totals.elements < sendable.walk.elements:
            return
        if sendable.plan is not None:
            self._send(None, finish, self.job, index)
        else:
            self._finish(index, self._merging.pop(index).totals)

    def _finish(self, index: int, totals: Totals) -> None:
        walk = self._sendable.pop(index).walk
        if not is_refused(self.nonfinite, walk, totals.values[:, None]):
            walk.done(totals)

    def _compare(self, rounds: bool) -> None:
        """Warn once if a worker's processor rounds differently from this one."""
        from accweight_core.jit.step_loops import rounds_once  # with the compiled loops

        if rounds == rounds_once() or self._noticed:
            return
        self._noticed = True
        self.workers.notice(
            "a worker's processor "
            + ("has" if rounds else "lacks")
            + " fused multiply-add, which this one "
            + ("lacks" if rounds else "has")
            + ": last bits of squares may differ"
        )

    def _lost(self, error: BaseException) -> EngineError:
        reason = " ".join(str(error).split()) or type(error).__name__
        kept = "finished parameters are kept, and the same command continues the analysis"
        return EngineError(
            f"{self.job.store or self.workers.name}: workers were lost ({reason}); were they "
            f"killed, or out of memory? {kept if self.job.store else 'Run it again'}"
        )

    def _call_back(self) -> None:
        """Cancel tasks in flight, and wait for those that can no longer be cancelled."""
        wait([future for future in self._sent if not future.cancel()])
        self._sent.clear()


def walk_by(
    workers: Workers,
    walks: Sequence[Walk],
    header: Header,
    checkpoints: Sequence[Checkpoint],
    *,
    store: Store | None,
    earlier: Store | None,
    block_elements: int,
    nonfinite: FirstNonFinite | None,
    progress: Callable[[int], None],
    memory_bytes: int | None = None,
) -> list[Walk]:
    """Have workers walk what can be sent to them; return the walks that must run here.

    Args:
        workers: The workers.
        walks: Parameters and packs.
        header: Header of the analysis.
        checkpoints: The checkpoints to walk.
        store: Store of the analysis, if any.
        earlier: The analysis to append to, if any.
        block_elements: Elements per block.
        nonfinite: Collects non-finite elements if they are an error, else None.
        progress: Called with the bytes of every finished task.
        memory_bytes: Memory budget of each worker process; by default its free memory.
    """
    token = uuid4().hex
    serializer = Serializer(token, header, checkpoints)
    staying = [walk for walk in walks if not all(map(serializer.fits, _members(walk)))]
    if staying:
        workers.notice(
            f"{sum(len(_members(walk)) for walk in staying)} parameters are walked here, not by "
            "workers: their values are in memory, or of a reader that is not installed"
        )
    kept = set(map(id, staying))
    drawn = header if store is not None else None
    sendable = [_sendable(drawn, serializer, walk) for walk in walks if id(walk) not in kept]
    job = Job(
        token,
        str(store.path.absolute()) if store else None,
        str(earlier.path.absolute()) if earlier else None,
        block_elements,
        tuple(versions().items()),
        memory_bytes,
    )
    Driver(workers, job, checkpoints, nonfinite, progress).run(sendable)
    serializer.check()
    if store is not None:
        SharedStore(store.path, store.header).tidy()
    return staying


def _members(walk: Walk) -> Sequence[Sequence[StoredTensor]]:
    """Return the parameters of a walk, each in every checkpoint."""
    return [walk.tensors] if isinstance(walk, ParameterWalk) else walk.tensors


def _sendable(drawn: Header | None, serializer: Serializer, walk: Walk) -> TaskParameter | TaskPack:
    """Return a walk in the form that is sent; `drawn` is the header if its picture is stored."""
    packed = tuple(map(serializer.packed, _members(walk)))
    files = tuple(dict.fromkeys(file for tensors in packed for file in serializer.files(tensors)))
    if not isinstance(walk, ParameterWalk):
        return TaskPack(walk, packed, files)
    plan = drawn.plan(walk.index) if drawn and drawn.picture_bases and walk.elements else None
    at_once = any(map(is_read_whole, walk.tensors))
    return TaskParameter(walk.index, walk, packed[0], files, plan, at_once)
