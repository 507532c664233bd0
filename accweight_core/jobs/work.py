"""One analysis in progress: the walks to run, and the storage of their results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from accweight_core.accumulate.block import MOST_STEPS, MOST_STEPS_DRAWN
from accweight_core.accumulate.cutting import Block
from accweight_core.accumulate.nonfinite import FirstNonFinite
from accweight_core.accumulate.observing import Observe, Observer
from accweight_core.accumulate.pack import PackWalk
from accweight_core.accumulate.walk import BlockWalk, ParameterWalk, Walk
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.sources import InMemory, Stored
from accweight_core.analysis.summary import completed, metric_arrays
from accweight_core.gc_paused import gc_paused
from accweight_core.io.stamp import stamps_of
from accweight_core.jit import tiers
from accweight_core.jobs.engines.driver import walk_by
from accweight_core.jobs.engines.workers import Notice, Workers
from accweight_core.jobs.walks import pack_of, walk_of
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats, Totals
from accweight_core.pictures.tiling import BLOCK_ELEMENTS
from accweight_core.schema import Run, StoredTensor
from accweight_core.store.analysis_store import Store
from accweight_core.store.beginning import begin_beside, create_or_continue
from accweight_core.store.beside import beside
from accweight_core.store.header import Header
from accweight_core.store.replacing import discard, put_in_place

LARGE_BLOCK = 1 << 22
"""Most elements of a block without a picture: the overhead of a block in Python is then small
against its sums."""

BLOCKS_PER_THREAD = 8
"""Blocks per thread, so that no thread waits long for the last ones."""

Done = Callable[[Sequence[int], Floats], None]
"""Called with the totals of parameters completed together: (steps, parameters, sums)."""

Progress = Callable[[int, int], None]
"""Called as ``progress(bytes_done, bytes_total)``."""


@dataclass
class Work:
    """One analysis in progress.

    Attributes:
        run: The checkpoints to walk.
        header: Header of the steps of the run.
        threads: Threads that walk blocks.
        block_elements: Elements per block; None to choose.
        strict: Whether a non-finite element is an error.
        progress: Called as the walk advances.
        earlier: The analysis to append to, if any.
        workers: Workers to use instead of threads, if any.
        notice: Called with messages for the user.
        memory_bytes: Memory for parameters that are walked as a whole.
        observer: Sees the weights of every block that threads of this process walk.
    """

    run: Run
    header: Header
    threads: int
    block_elements: int | None
    strict: bool
    progress: Progress
    earlier: Store | None = None
    workers: Workers | None = None
    notice: Notice = lambda line: None
    memory_bytes: int | None = None
    observer: Observer | None = None

    def in_memory(self) -> Analysis:
        """Measure all parameters, without a store."""
        values = np.zeros((len(self.run.checkpoints), len(self.header.parameters), len(SUMS)))

        def keep(members: Sequence[int], totals: Floats) -> None:
            values[:, members] = totals

        self._walk(self._walks(range(len(self.header.parameters)), None, keep), None)
        return Analysis(
            InMemory(completed(self.header, values, self.run.checkpoint), values, self.run)
        )

    def on_disk(self, path: Path, *, replacing: bool = False) -> Analysis:
        """Measure into a store, or continue an unfinished one.

        Args:
            path: Its folder.
            replacing: Whether it replaces an existing analysis, which is kept until the new one
                is complete.
        """
        files = stamps_of(self.run.checkpoints)
        begin = begin_beside if replacing else create_or_continue
        store = begin(path, self.header, files, self.notice)
        if not store.header.complete:
            self.walk_into(store)
            values = store.totals
            header = completed(self.header, values, self.run.checkpoint)
            metrics = metric_arrays(header, values)
            store.finish(header, {name: [found] for name, found in metrics.items()})
        elif self._nonfinite is not None:
            self._look_at_finished(store, self._nonfinite)
        if replacing:
            put_in_place(path)
            store = Store(path, store.header)
        else:
            discard(path, beside(path, "next"))  # nobody goes on with it any more
        return Analysis(Stored(store, self.run))

    def walk_into(self, store: Store) -> None:
        """Measure what is not yet finished in a store, and write its totals."""
        self.header = replace(self.header, packs=store.header.packs, sums=store.header.sums)
        if self._nonfinite is not None:
            self._look_at_finished(store, self._nonfinite)
        todo = [index for index, done in enumerate(store.finished()) if not done]
        try:
            with store.writing_meanwhile() if self._has_processor_left else nullcontext():
                self._walk(self._walks(todo, store, store.finish_parameters), store)
        finally:
            store.flush()

    @property
    def _has_processor_left(self) -> bool:
        """Whether a thread can write pictures without being in the way of those that walk."""
        return self.workers is None and self.threads < (os.cpu_count() or 1)

    @cached_property
    def _nonfinite(self) -> FirstNonFinite | None:
        """What collects non-finite elements, if they are an error."""
        return FirstNonFinite(self.run.checkpoints) if self.strict else None

    def _look_at_finished(self, store: Store, nonfinite: FirstNonFinite) -> None:
        """Look for non-finite elements in parameters that an earlier call has finished."""
        values = store.totals
        for index, done in enumerate(store.finished()):
            if done:
                nonfinite.found_in(index, self.header.parameters[index].name, values[:, index])
        if store.header.complete:
            nonfinite.refuse()

    @gc_paused()
    def _walks(self, todo: Iterable[int], store: Store | None, done: Done) -> list[Walk]:
        """Return the walks of parameters in network order, with a pack at its first member."""
        first_of = {members[0]: number for number, members in enumerate(self.header.packs)}
        packed = {index for members in self.header.packs for index in members}
        return [
            self._pack(first_of[index], store, done)
            if index in packed
            else self._cut(index, store, done)
            for index in todo
            if index in first_of or index not in packed
        ]

    def _tensors(self, index: int) -> list[StoredTensor]:
        name = self.header.parameters[index].name
        return [checkpoint.tensors[name] for checkpoint in self.run.checkpoints]

    def _pack(self, number: int, store: Store | None, done: Done) -> PackWalk:
        """Return the walk of a pack."""
        members = self.header.packs[number]
        tensors = [self._tensors(index) for index in members]
        walk = pack_of(number, members, tensors, store, self.earlier)
        observe = None if self._observer is None else partial(self._of_member, tensors)
        return replace(walk, done=partial(done, members), observe=observe)

    @property
    def _observer(self) -> Observer | None:
        """The observer, if all steps go through the walk of this process."""
        return None if self.workers is not None or self.earlier is not None else self.observer

    def _of_member(self, tensors: Sequence[Sequence[StoredTensor]], member: int) -> Observe | None:
        """Return what takes the weights of a member of a pack."""
        if self._observer is None:
            return None
        own = tensors[member][0]
        return self._observer.of_block(own.name, own.shape, Block(0, own.values.elements))

    def _cut(self, index: int, store: Store | None, done: Done) -> ParameterWalk:
        """Return the walk of one parameter."""

        def finish(totals: Totals) -> None:
            done([index], totals.values[:, None])

        is_drawn = store is not None and bool(self.header.picture_bases)
        steps = len(self.run.checkpoints)
        size = self._block_elements(is_held=is_drawn or steps > MOST_STEPS)
        pooled = self._block_elements(is_held=steps > MOST_STEPS_DRAWN)
        walk = walk_of(
            index, self._tensors(index), store, self.earlier, size, pooled_elements=pooled
        )
        if self._observer is not None:
            parameter = self.header.parameters[index]
            observe = partial(self._observer.of_block, parameter.name, parameter.shape)
            walk = replace(walk, observe=observe)
        return replace(walk, done=finish)

    def _block_elements(self, *, is_held: bool) -> int:
        """Return the size of blocks: large ones cost fewer calls, many keep threads busy.

        Blocks stay small if they are held for several calls: their state, if there are more
        checkpoints than are streamed at a time, or A_t of every element, if it is drawn.
        """
        if self.block_elements:
            return self.block_elements
        most = LARGE_BLOCK if self._observer is None else self._observer.block_elements
        if is_held:
            return min(BLOCK_ELEMENTS, most)
        elements = sum(parameter.elements for parameter in self.header.parameters)
        share = elements // (BLOCKS_PER_THREAD * self.threads)
        return min(max(share, BLOCK_ELEMENTS), most)

    def _walk(self, walks: list[Walk], store: Store | None) -> None:
        total = sum(walk.size_bytes for walk in walks)
        elements = sum(parameter.elements for parameter in self.header.parameters)
        tiers.expect(elements * len(self.run.checkpoints))
        done = 0

        def advance(size_bytes: int) -> None:
            nonlocal done
            done += size_bytes
            self.progress(done, total)

        self.progress(0, total)
        if self.workers is not None:
            walks = walk_by(
                self.workers,
                walks,
                self.header,
                self.run.checkpoints,
                store=store,
                earlier=self.earlier,
                block_elements=self.block_elements or BLOCK_ELEMENTS,
                nonfinite=self._nonfinite,
                progress=advance,
                memory_bytes=self.memory_bytes,
            )
        walk = BlockWalk(
            self.run.checkpoints,
            threads=self.threads,
            nonfinite=self._nonfinite,
            progress=advance,
            memory_bytes=self.memory_bytes,
        )
        with self._observer.walking() if self._observer is not None else nullcontext():
            walk.run(walks)
        if self._nonfinite is not None:
            self._nonfinite.refuse()
