"""One analysis under way: which blocks to walk, and what becomes of their numbers and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Lock

import numpy as np
from torch import Tensor

from accweight_core.accumulate.walk import (
    Block,
    BlockWalk,
    Carry,
    ParameterWalk,
    Watcher,
    blocks_of,
    no_carry,
    no_watcher,
    refuse_nonfinite,
)
from accweight_core.analysis import Analysis
from accweight_core.drawing import SlabCanvas
from accweight_core.errors import AccweightError, StoreError
from accweight_core.header import Header
from accweight_core.partition import SUMS
from accweight_core.pictures import Slab
from accweight_core.reading import is_readable_in_blocks
from accweight_core.schema import Run
from accweight_core.store import PictureWriter, Store
from accweight_core.summary import completed, metric_arrays
from accweight_core.totals import Floats, Totals

Progress = Callable[[int, int], None]
"""Called as ``progress(bytes_done, bytes_in_all)``."""


@dataclass
class Work:
    """One analysis under way.

    Attributes:
        run: The checkpoints to walk.
        header: The analysis they make; with `earlier`, its steps come first.
        threads: Threads that walk blocks.
        block_elements: Elements per block.
        strict: Whether a non-finite element is an error.
        progress: Called now and then.
        earlier: The analysis to go on from, if any.
    """

    run: Run
    header: Header
    threads: int
    block_elements: int
    strict: bool
    progress: Progress
    earlier: Store | None = None

    @cached_property
    def _values_before(self) -> Floats | None:
        """The totals of the analysis to go on from."""
        return self.earlier.totals if self.earlier else None

    def in_memory(self) -> Analysis:
        """Measure everything without a store."""
        values = np.zeros((len(self.run.checkpoints), len(self.header.parameters), len(SUMS)))

        def walk(index: int) -> ParameterWalk:
            def keep(totals: Totals) -> None:
                values[:, index] = totals.values

            return self._cut(index, None, keep)

        self._walk([walk(index) for index in range(len(self.header.parameters))])
        return Analysis(completed(self.header, values), values, run=self.run)

    def on_disk(self, path: Path) -> Analysis:
        """Measure into a store, or continue there."""
        try:
            store = Store.create_or_continue(path, self.header)
            if self.strict:
                self._refuse_nonfinite(store)
            if not store.header.complete:
                todo = [index for index, done in enumerate(store.finished()) if not done]
                try:
                    self._walk([self._cut(index, store) for index in todo])
                finally:
                    store.flush()
                values = store.totals
                header = completed(self.header, values)
                store.finish(header, metric_arrays(header, values))
        except AccweightError:
            raise
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written ({error.strerror or error}); what is finished is "
                "kept, and the same command continues there"
            ) from error
        return Analysis(store.header, store=store, run=None if self.earlier else self.run)

    def _refuse_nonfinite(self, store: Store) -> None:
        """Be strict with parameters that an earlier call, not strict, has finished."""
        values = store.totals
        for index, done in enumerate(store.finished() if not self.earlier else ()):
            parameter = self.header.parameters[index]
            if done:
                totals = Totals(parameter.elements, values[:, index])
                refuse_nonfinite(parameter.name, totals, self.run.checkpoints)

    def _cut(
        self,
        index: int,
        store: Store | None,
        done: Callable[[Totals], None] = lambda totals: None,
    ) -> ParameterWalk:
        """Return the walk of one parameter: its blocks, and what becomes of its pictures."""
        parameter = self.header.parameters[index]
        tensors = [c.tensors[parameter.name] for c in self.run.checkpoints]
        layout = self.header.layouts[index]
        leading = parameter.shape[layout.leading_axis] if parameter.shape else 1
        draws = store is not None and bool(self.header.picture_bases)
        alignment = layout.band_alignment(self.header.picture_bases[index]) if draws else 1
        whole = alignment is None or not all(is_readable_in_blocks(t) for t in tensors)
        blocks = blocks_of(
            parameter.shape,
            leading,
            alignment=leading if whole else alignment or 1,
            block_elements=self.block_elements,
        )
        if store is None:
            return ParameterWalk(parameter.name, tensors, blocks, done=done)
        earlier = self.earlier
        drawing = _Drawing(store, index, blocks[0], earlier) if draws and blocks else None

        def finish(totals: Totals) -> None:
            if drawing:
                drawing.finish()
            before = [] if self._values_before is None else [self._values_before[:, index]]
            store.finish_parameter(index, np.concatenate([*before, totals.values]))

        def keep(block: Block, carry: Carry) -> None:
            store.write_state(index, block, blocks[0], carry)

        return ParameterWalk(
            parameter.name,
            tensors,
            blocks,
            watch=drawing.watch if drawing else no_watcher,
            carry=partial(earlier.read_state, index) if earlier else no_carry,
            keep=keep if self.header.keeps_state else None,
            done=finish,
        )

    def _walk(self, walks: list[ParameterWalk]) -> None:
        total = sum(walk.size_bytes for walk in walks)
        done = 0

        def advance(size_bytes: int) -> None:
            nonlocal done
            done += size_bytes
            self.progress(done, total)

        self.progress(0, total)
        walk = BlockWalk(
            self.run.checkpoints, threads=self.threads, strict=self.strict, progress=advance
        )
        walk.run(walks)


class _Drawing:
    """The picture of one parameter while its blocks are walked."""

    def __init__(self, store: Store, index: int, first: Block, earlier: Store | None) -> None:
        """Begin with the first block, the largest, whose slab is the size of a chunk."""
        self._store = store
        self._index = index
        self._first = first
        self._earlier = earlier
        self._steps_before = len(earlier.header.checkpoints) if earlier else 0
        self._writer: PictureWriter | None = None
        self._lock = Lock()

    def watch(self, block: Block) -> Watcher:
        """Return what draws one block; called in the thread that walks it."""
        slab = self._slab(block)
        with self._lock:
            if self._writer is None:
                self._writer = self._store.create_picture(self._index, self._slab(self._first))
        writer = self._writer
        canvas = SlabCanvas(
            slab, writer.segment, lambda step, planes: writer.write(slab, step, planes)
        )
        writer.add_counts(slab, canvas.counts)
        self._replay(slab, canvas)

        def watch(step: int, first: int, total: Tensor) -> None:
            canvas.watch(self._steps_before + step, first, total)

        return watch

    def _replay(self, slab: Slab, canvas: SlabCanvas) -> None:
        """Draw the steps of an earlier analysis as they were drawn there."""
        base = slab.plan.base
        for step in range(self._steps_before):
            planes = [
                self._earlier.picture_array(self._index, base, plane)[step, *slab.window]
                for plane in (("mean", "max") if base else ("mean",))
                if self._earlier
            ]
            canvas.replay(step, [np.asarray(plane, np.float32) for plane in planes])

    def _slab(self, block: Block) -> Slab:
        plan = self._store.header.plan(self._index)
        shape, leading = plan.layout.shape, plan.layout.leading_axis
        row = plan.layout.elements // (shape[leading] if shape else 1)
        return Slab(plan, block.start // row, block.stop // row)

    def finish(self) -> None:
        """Pool the coarser levels; every block has been drawn."""
        if self._writer:
            self._writer.finish()
