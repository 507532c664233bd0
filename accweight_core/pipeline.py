"""The pipeline: a run in, a stored analysis out.

Files -> blocks -> kernels -> store. Parameters are walked in network order; each is stored as
soon as it is complete, so that a stopped analysis continues where it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np

from accweight_core.accumulate.walk import (
    BLOCK_ELEMENTS,
    Block,
    BlockWalk,
    ParameterWalk,
    Watcher,
    blocks_of,
    no_watcher,
)
from accweight_core.analysis import Analysis
from accweight_core.dtypes import DTYPES
from accweight_core.errors import (
    AccweightError,
    MismatchError,
    StoreError,
    UnsupportedDtypeError,
)
from accweight_core.header import Header
from accweight_core.kernels import SUMS
from accweight_core.layout import layout_of
from accweight_core.pictures import Slab, SlabCanvas, plan_pictures
from accweight_core.reading import is_readable_in_blocks, working_dtype
from accweight_core.schema import DEFAULT_ROLES, MEASURED_ROLES, Parameter, Role, Run
from accweight_core.store import PictureWriter, Store, locked
from accweight_core.summary import completed, metric_arrays
from accweight_core.totals import Totals

PICTURE_SHARE = 16
"""Pictures take one byte for so many bytes of checkpoints unless asked otherwise: writing is
slower than reading by about as much, so that pictures never cost more than the numbers."""

PICTURE_BYTES_RANGE = 64 << 20, 1 << 30
"""Least and most bytes of that default; below the least, runs keep every weight visible."""

Progress = Callable[[int, int], None]
"""Called as ``progress(bytes_done, bytes_in_all)``."""


def analyze(
    run: Run,
    out: str | os.PathLike[str] | None = None,
    *,
    roles: Iterable[Role | str] = DEFAULT_ROLES,
    threads: int | None = None,
    block_elements: int = BLOCK_ELEMENTS,
    picture_budget_bytes: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Analysis:
    """Measure how far every weight of a run has travelled.

    Args:
        run: The run, from `open_run`.
        out: Folder to store the analysis in (NAME.accw). If it holds the unfinished analysis
            of the same run it is continued, a finished one is opened. None keeps the numbers
            in memory, without pictures.
        roles: Roles that count in layers, rankings and the maximum.
        threads: Threads that walk blocks; as many as there are processors by default.
        block_elements: Elements per block. Changes no bit of the result.
        picture_budget_bytes: Bytes that the pictures may take; 0 stores none. By default a
            sixteenth of the bytes read, but at least 64 MiB and at most 1 GiB.
        strict: Make the first non-finite element an error instead of counting it.
        overwrite: Replace an analysis of something else at `out`.
        progress: Called now and then from this thread.

    Raises:
        MismatchError: If the run has fewer than two checkpoints or nothing to measure.
        StoreError: If `out` cannot be written.
    """
    chosen = tuple(Role(role) for role in roles)
    parameters = _measured(run, chosen)
    header = Header.of(run, parameters, chosen)
    work = _Work(run, header, threads or os.cpu_count() or 1, block_elements, strict, progress)
    if out is None:
        return work.in_memory()
    path = Path(out)
    budget = _picture_budget(run, parameters, picture_budget_bytes)
    if budget:
        layouts = [layout_of(parameter) for parameter in parameters]
        plans = plan_pictures(layouts, len(run.checkpoints), budget)
        header = replace(header, picture_bases=tuple(plan.base for plan in plans))
        work.header = header
    with locked(path):
        if overwrite:
            _remove_analysis(path)
        return work.on_disk(path)


def _measured(run: Run, roles: Sequence[Role]) -> tuple[Parameter, ...]:
    """Return the parameters to measure, after a look at whether it can be done at all."""
    if len(run.checkpoints) < 2:
        raise MismatchError(
            f"{run.source}: a run needs at least two checkpoints to show change, "
            f"found {len(run.checkpoints)}"
        )
    wanted = {*MEASURED_ROLES, *roles} - {Role.OPTIMIZER}
    measured = tuple(p for p in run.parameters if p.role in wanted)
    if not any(p.role in roles for p in measured):
        raise MismatchError(
            f"{run.source}: no parameter has the role {' or '.join(roles)}; "
            f"roles found: {', '.join(sorted({p.role for p in run.parameters})) or 'none'}"
        )
    for parameter in measured:
        for checkpoint in run.checkpoints:
            try:
                working_dtype(checkpoint.tensors[parameter.name])
            except UnsupportedDtypeError as error:
                raise UnsupportedDtypeError(f"{checkpoint.path}: {error}") from None
    return measured


def _picture_budget(run: Run, parameters: Sequence[Parameter], asked: int | None) -> int:
    """Return the bytes that pictures may take."""
    if asked is not None:
        return asked
    per_checkpoint = sum(p.elements * DTYPES[p.dtype].size_bytes for p in parameters)
    least, most = PICTURE_BYTES_RANGE
    return min(max(per_checkpoint * len(run.checkpoints) // PICTURE_SHARE, least), most)


def _remove_analysis(path: Path) -> None:
    """Remove an analysis that is to be replaced, and nothing that is not one."""
    if path.exists():
        Store.open(path)
        shutil.rmtree(path)


@dataclass
class _Work:
    """One analysis under way."""

    run: Run
    header: Header
    threads: int
    block_elements: int
    strict: bool
    progress: Progress

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
        return Analysis(store.header, store=store, run=self.run)

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
            alignment=alignment or 1,
            block_elements=parameter.elements if whole else self.block_elements,
        )
        if store is None:
            return ParameterWalk(parameter.name, tensors, blocks, done=done)
        drawing = _Drawing(store, index, blocks[0]) if draws and blocks else None

        def finish(totals: Totals) -> None:
            if drawing:
                drawing.finish()
            store.finish_parameter(index, totals.values)

        watch = drawing.watch if drawing else no_watcher
        return ParameterWalk(parameter.name, tensors, blocks, watch=watch, done=finish)

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

    def __init__(self, store: Store, index: int, first: Block) -> None:
        """Begin with the first block, the largest, whose slab is the size of a chunk."""
        self._store = store
        self._index = index
        self._first = first
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
        return canvas.watch

    def _slab(self, block: Block) -> Slab:
        plan = self._store.header.plan(self._index)
        shape, leading = plan.layout.shape, plan.layout.leading_axis
        row = plan.layout.elements // (shape[leading] if shape else 1)
        return Slab(plan, block.start // row, block.stop // row)

    def finish(self) -> None:
        """Pool the coarser levels; every block has been drawn."""
        if self._writer:
            self._writer.finish()
