"""The driver: sends parcels, a bounded number at a time, and merges what comes back.

Partial sums are folded in the order of elements, whoever brings them first, so the bits are those
of one thread. Its memory holds the description of the run, the parcels that are under way, and the
sums that wait for their turn: neither grows with the number of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from uuid import uuid4

from accweight_core.accumulate.folding import BlockSums, Folding
from accweight_core.accumulate.pack import PackWalk
from accweight_core.accumulate.walk import (
    ParameterWalk,
    Walk,
    refuse_nonfinite,
    refuse_nonfinite_of,
)
from accweight_core.engines.crew import Crew
from accweight_core.engines.parcels import Cargo, Job, PackCargo, Parcel, parcel_bytes, parcels_of
from accweight_core.engines.shared_store import SharedStore
from accweight_core.engines.travelling import Luggage
from accweight_core.engines.worker import finish, sign_of, walk_parcel
from accweight_core.errors import EngineError
from accweight_core.header import Header, versions
from accweight_core.loops import rounds_once
from accweight_core.reading import is_read_whole
from accweight_core.schema import Checkpoint, StoredTensor
from accweight_core.store import Store
from accweight_core.totals import Totals

MOST_WAITING_BYTES = 1 << 30
"""Sums that may wait for their turn before no more parcels are sent."""

LOOK_S = 1.0
"""Seconds after which the driver looks whether it has been interrupted."""


@dataclass
class Driver:
    """Has parameters walked by a crew.

    Attributes:
        crew: Who walks.
        job: What its parcels have in common.
        checkpoints: Those that are walked, for messages.
        strict: Whether a non-finite element is an error.
        progress: Called with the bytes of every parcel that has come back.
    """

    crew: Crew
    job: Job
    checkpoints: Sequence[Checkpoint]
    strict: bool
    progress: Callable[[int], None]
    _cargo: dict[int, Cargo] = field(default_factory=dict, init=False)
    _packs: dict[int, PackWalk] = field(default_factory=dict, init=False)
    _merging: dict[int, Folding] = field(default_factory=dict, init=False)
    _sent: dict[Future[Any], Parcel | None] = field(default_factory=dict, init=False)
    _back: SimpleQueue[Future[Any]] = field(default_factory=SimpleQueue, init=False)
    _noticed: bool = field(default=False, init=False)

    def run(self, cargo: Sequence[Cargo | PackCargo]) -> None:
        """Have parameters and packs walked; `done` of each is called here, once, in any order.

        Raises:
            EngineError: If the crew is lost, or cannot do its work.
        """
        self._cargo = {item.index: item for item in cargo if isinstance(item, Cargo)}
        packs = (item.walk for item in cargo if isinstance(item, PackCargo))
        self._packs = {walk.number: walk for walk in packs}
        size = parcel_bytes(sum(item.walk.size_bytes for item in cargo), self.crew.workers())
        sign = sign_of(self.job)
        try:
            if sign is not None:
                sign.touch()
            for parcel in parcels_of(self.job, cargo, size):
                while self._is_enough():
                    self._collect()
                self._send(parcel, walk_parcel, parcel)
            while self._sent:
                self._collect()
        except (BrokenExecutor, CancelledError) as error:
            raise self._lost(error) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("distributed", "tornado"):
                raise self._lost(error) from error
            raise
        finally:
            if sign is not None:
                sign.unlink(missing_ok=True)
            self._call_back()

    def _is_enough(self) -> bool:
        """Tell whether something has to come back before more is sent."""
        waiting = sum(folding.waiting_bytes for folding in self._merging.values())
        return len(self._sent) >= self.crew.most_at_once() or waiting > MOST_WAITING_BYTES

    def _send(self, parcel: Parcel | None, work: Callable[..., Any], *arguments: Any) -> None:
        future = self.crew.executor.submit(work, *arguments)
        self._sent[future] = parcel
        future.add_done_callback(self._back.put)

    def _collect(self) -> None:
        """Take what comes back next."""
        try:
            future = self._back.get(timeout=LOOK_S)
        except Empty:
            return
        parcel, result = self._sent.pop(future), future.result()
        if parcel is None:
            self._finish(result, self._merging.pop(result).totals)
            return
        for index, sums in result.sums.items():
            self._merge(index, sums)
        for number, totals in result.packs.items():
            pack = self._packs.pop(number)
            if self.strict:
                refuse_nonfinite_of(pack, totals, self.checkpoints)
            pack.done(totals)
        self.progress(parcel.size_bytes)
        self._compare(result.rounds_once)

    def _merge(self, index: int, sums: Totals | BlockSums) -> None:
        """Take the sums of a whole parameter, or of a part of one."""
        if isinstance(sums, Totals):
            self._finish(index, sums)
            return
        cargo = self._cargo[index]
        folding = self._merging.setdefault(index, Folding(len(cargo.tensors)))
        folding.take(sums)
        if folding.totals.elements < cargo.walk.elements:
            return
        if cargo.plan is not None:
            self._send(None, finish, self.job, index)
        else:
            self._finish(index, self._merging.pop(index).totals)

    def _finish(self, index: int, totals: Totals) -> None:
        walk = self._cargo.pop(index).walk
        if self.strict:
            refuse_nonfinite(walk.name, totals, self.checkpoints)
        walk.done(totals)

    def _compare(self, rounds: bool) -> None:
        """Say once if workers round in another way than this one."""
        if rounds == rounds_once() or self._noticed:
            return
        self._noticed = True
        self.crew.notice(
            "a worker has another kind of processor, which "
            + ("fuses" if rounds else "does not fuse")
            + " products and sums as this one "
            + ("does not" if rounds else "does")
            + ": last bits of squares may differ"
        )

    def _lost(self, error: BaseException) -> EngineError:
        reason = " ".join(str(error).split()) or type(error).__name__
        kept = "what is finished is kept, and the same command continues there"
        return EngineError(
            f"{self.job.store or self.crew.name}: workers were lost ({reason}); were they killed, "
            f"or out of memory? {kept if self.job.store else 'Run it again'}"
        )

    def _call_back(self) -> None:
        """Cancel what is still under way, and wait for what cannot be cancelled any more."""
        wait([future for future in self._sent if not future.cancel()])
        self._sent.clear()


def walk_by(
    crew: Crew,
    walks: Sequence[Walk],
    header: Header,
    checkpoints: Sequence[Checkpoint],
    *,
    store: Store | None,
    earlier: Store | None,
    block_elements: int,
    strict: bool,
    progress: Callable[[int], None],
) -> list[Walk]:
    """Have a crew walk what can be sent to it; return what has to be walked here.

    Args:
        crew: Who walks.
        walks: Parameters, and packs of them.
        header: The analysis they make.
        checkpoints: The checkpoints to walk.
        store: Where it is stored, if anywhere.
        earlier: The analysis to go on from, if any.
        block_elements: Elements per block.
        strict: Whether a non-finite element is an error.
        progress: Called with the bytes of every parcel that has come back.
    """
    token = uuid4().hex
    luggage = Luggage(token, header, checkpoints)
    staying = [walk for walk in walks if not all(map(luggage.fits, _members(walk)))]
    if staying:
        crew.notice(
            f"{sum(len(_members(walk)) for walk in staying)} parameters are walked here, not by "
            "workers: their values are in memory, or of a reader that is not installed"
        )
    kept = set(map(id, staying))
    drawn = header if store is not None else None
    cargo = [_cargo(drawn, luggage, walk) for walk in walks if id(walk) not in kept]
    job = Job(
        token,
        str(store.path.absolute()) if store else None,
        str(earlier.path.absolute()) if earlier else None,
        block_elements,
        tuple(versions().items()),
    )
    Driver(crew, job, checkpoints, strict, progress).run(cargo)
    luggage.check()
    if store is not None:
        SharedStore(store.path, store.header).tidy()
    return staying


def _members(walk: Walk) -> Sequence[Sequence[StoredTensor]]:
    """Return the parameters of a walk, each of them in every checkpoint."""
    return [walk.tensors] if isinstance(walk, ParameterWalk) else walk.tensors


def _cargo(drawn: Header | None, luggage: Luggage, walk: Walk) -> Cargo | PackCargo:
    """Return a walk as it can be sent; `drawn` says how its picture is cut, if it is stored."""
    packed = tuple(map(luggage.packed, _members(walk)))
    files = tuple(dict.fromkeys(file for tensors in packed for file in luggage.files(tensors)))
    if not isinstance(walk, ParameterWalk):
        return PackCargo(walk, packed, files)
    plan = drawn.plan(walk.index) if drawn and drawn.picture_bases and walk.elements else None
    at_once = any(map(is_read_whole, walk.tensors))
    return Cargo(walk.index, walk, packed[0], files, plan, at_once)
