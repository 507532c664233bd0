"""One analysis under way: which blocks to walk, and what becomes of their numbers and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from accweight_core.accumulate.block import MOST_STEPS
from accweight_core.accumulate.cutting import blocks_of
from accweight_core.accumulate.pack import Draw, PackWalk
from accweight_core.accumulate.stepwise import Watcher
from accweight_core.accumulate.walk import (
    BlockWalk,
    ParameterWalk,
    Walk,
    no_carry,
    no_watcher,
    refuse_nonfinite,
)
from accweight_core.analysis import Analysis
from accweight_core.drawing import CanvasWatcher, TileCanvas
from accweight_core.errors import AccweightError, StoreError
from accweight_core.header import Header
from accweight_core.packs import PackSheet
from accweight_core.partition import SUMS
from accweight_core.picture_writer import PictureWriter
from accweight_core.reading import is_read_whole, is_readable_in_blocks
from accweight_core.schema import Run, StoredTensor
from accweight_core.store import Store
from accweight_core.summary import completed, metric_arrays
from accweight_core.tile import Tile
from accweight_core.tiling import BLOCK_ELEMENTS, Tiling, tiling_of, whole
from accweight_core.totals import Floats, Totals
from accweight_core.uncollected import uncollected

if TYPE_CHECKING:
    from accweight_core.engines.crew import Crew

LARGE_BLOCK = 1 << 22
"""Most elements of a block that is only summed: what a block costs in Python is then lost in
what its sums cost."""

BLOCKS_PER_THREAD = 8
"""Blocks of a run that a thread should have, so that none waits long for the last ones."""

GAPPED_BLOCK = 1 << 20
"""Least elements of a block where axes are stored in another order: larger blocks, fewer gaps."""

Done = Callable[[Sequence[int], Floats], None]
"""Takes the totals of parameters that are complete together: (steps, parameters, sums)."""

Progress = Callable[[int, int], None]
"""Called as ``progress(bytes_done, bytes_in_all)``."""

MakeWriter = Callable[[Store, int, Tiling], PictureWriter]
"""Makes the writer of one picture: of a store, a parameter, and how it is usually cut."""


@dataclass
class Work:
    """One analysis under way.

    Attributes:
        run: The checkpoints to walk.
        header: The analysis they make; with `earlier`, its steps come first.
        threads: Threads that walk blocks.
        block_elements: Elements per block; None to choose.
        strict: Whether a non-finite element is an error.
        progress: Called now and then.
        earlier: The analysis to go on from, if any.
        crew: Workers that walk instead, if any.
    """

    run: Run
    header: Header
    threads: int
    block_elements: int | None
    strict: bool
    progress: Progress
    earlier: Store | None = None
    crew: Crew | None = None

    @cached_property
    def _values_before(self) -> Floats | None:
        """The totals of the analysis to go on from."""
        return self.earlier.totals if self.earlier else None

    def in_memory(self) -> Analysis:
        """Measure everything without a store."""
        values = np.zeros((len(self.run.checkpoints), len(self.header.parameters), len(SUMS)))

        def keep(members: Sequence[int], totals: Floats) -> None:
            values[:, members] = totals

        self._walk(self._walks(range(len(self.header.parameters)), None, keep), None)
        return Analysis(completed(self.header, values), values, run=self.run)

    def on_disk(self, path: Path) -> Analysis:
        """Measure into a store, or continue there."""
        try:
            store = Store.create_or_continue(path, self.header)
            self.header = replace(self.header, packs=store.header.packs)
            if self.strict:
                self._refuse_nonfinite(store)
            if not store.header.complete:
                todo = [index for index, done in enumerate(store.finished()) if not done]
                try:
                    self._walk(self._walks(todo, store, partial(self._keep, store)), store)
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

    def _keep(self, store: Store, members: Sequence[int], totals: Floats) -> None:
        """Store the totals of parameters behind those of the analysis to go on from."""
        before = [] if self._values_before is None else [self._values_before[:, members]]
        store.finish_parameters(members, np.concatenate([*before, totals]))

    @uncollected()
    def _walks(self, todo: Iterable[int], store: Store | None, done: Done) -> list[Walk]:
        """Return the walks of parameters in network order, packs where their first member is."""
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
        """Return the walk of a pack, and what becomes of its pictures."""
        members = self.header.packs[number]
        tensors = [self._tensors(index) for index in members]
        walk = pack_of(number, members, tensors, store, self.earlier)
        return replace(walk, done=partial(done, members))

    def _cut(self, index: int, store: Store | None, done: Done) -> ParameterWalk:
        """Return the walk of one parameter: its blocks, and what becomes of its pictures."""

        def finish(totals: Totals) -> None:
            done([index], totals.values[:, None])

        is_drawn = store is not None and bool(self.header.picture_bases)
        size = self._block_elements(is_drawn=is_drawn)
        walk = walk_of(index, self._tensors(index), store, self.earlier, size)
        return replace(walk, done=finish)

    def _block_elements(self, *, is_drawn: bool) -> int:
        """Return how large blocks are: large ones cost fewer calls, many keep threads busy.

        Those that are held from one call to the next stay small: what is drawn, and what has
        more checkpoints than are streamed at a time.
        """
        is_held = is_drawn or len(self.run.checkpoints) > MOST_STEPS
        if self.block_elements or is_held:
            return self.block_elements or BLOCK_ELEMENTS
        elements = sum(parameter.elements for parameter in self.header.parameters)
        share = elements // (BLOCKS_PER_THREAD * self.threads)
        return min(max(share, BLOCK_ELEMENTS), LARGE_BLOCK)

    def _walk(self, walks: list[Walk], store: Store | None) -> None:
        total = sum(walk.size_bytes for walk in walks)
        done = 0

        def advance(size_bytes: int) -> None:
            nonlocal done
            done += size_bytes
            self.progress(done, total)

        self.progress(0, total)
        if self.crew is not None:
            from accweight_core.engines.driver import walk_by  # threads need none of it

            walks = walk_by(self.crew, self, walks, store, advance)
        walk = BlockWalk(
            self.run.checkpoints, threads=self.threads, strict=self.strict, progress=advance
        )
        walk.run(walks)


def walk_of(
    index: int,
    tensors: Sequence[StoredTensor],
    store: Store | None,
    earlier: Store | None,
    block_elements: int,
    *,
    drawn_by: MakeWriter = PictureWriter,
) -> ParameterWalk:
    """Return the walk of one parameter: its blocks, and what becomes of its pictures.

    Args:
        index: The parameter.
        tensors: The parameter in each checkpoint.
        store: Where its picture and its state go, if anywhere.
        earlier: The analysis to go on from, if any.
        block_elements: Elements per block.
        drawn_by: Makes what takes the tiles of its picture.
    """
    name, shape, elements = tensors[0].name, tensors[0].shape, tensors[0].values.elements
    at_once = any(is_read_whole(t) for t in tensors)
    size = max(elements, 1) if at_once else block_elements
    if not all(is_readable_in_blocks(t) for t in tensors):
        size = max(size, GAPPED_BLOCK)
    if store is None:
        return ParameterWalk(name, tensors, blocks_of(shape, size), index=index)
    drawing = None
    if store.header.picture_bases and elements:
        drawing = _Drawing(store, index, earlier, at_once, drawn_by)
    return ParameterWalk(
        name,
        tensors,
        drawing.tiles(size) if drawing else blocks_of(shape, size),
        watch=drawing.watch if drawing else no_watcher,
        walked=drawing.finish if drawing else lambda: None,
        carry=partial(earlier.read_state, index) if earlier else no_carry,
        keep=partial(store.write_state, index) if store.header.keeps_state else None,
        index=index,
    )


def pack_of(
    number: int,
    members: Sequence[int],
    tensors: Sequence[Sequence[StoredTensor]],
    store: Store | None,
    earlier: Store | None,
) -> PackWalk:
    """Return the walk of a pack, and what becomes of its pictures.

    Args:
        number: The pack.
        members: Its parameters.
        tensors: Each of them in every checkpoint.
        store: Where its pictures and its state go, if anywhere.
        earlier: The analysis to go on from, if any.
    """
    begin = None
    if store and store.header.picture_bases:
        begin = partial(_sheet, store, earlier, number, len(tensors[0]))
    return PackWalk(
        members,
        [found[0].name for found in tensors],
        tensors,
        done=lambda totals: None,
        begin=begin,
        carry=earlier.read_state if earlier else None,
        keep=store.write_state if store and store.header.keeps_state else None,
        number=number,
    )


def _sheet(
    store: Store, earlier: Store | None, number: int, steps: int
) -> tuple[Callable[[Sequence[int]], Draw], Callable[[], None]]:
    """Return what draws members of a pack, and what stores the pictures in the end."""
    pack = store.header.pack(number)
    sheet = PackSheet(pack, len(store.header.checkpoints), steps)
    if earlier:
        for member, index in enumerate(pack.members):
            sheet.copy(member, earlier.picture(index, 0, "mean", slice(None)))
    return sheet.drawn, lambda: store.write_pack(pack, sheet.texels)


class _Drawing:
    """The picture of one parameter while its tiles are walked."""

    def __init__(
        self,
        store: Store,
        index: int,
        earlier: Store | None,
        at_once: bool,
        drawn_by: MakeWriter,
    ) -> None:
        """Begin; nothing is stored before the first tile is walked.

        Args:
            store: Where the picture goes.
            index: The parameter.
            earlier: The analysis to go on from, if any.
            at_once: Whether the parameter is walked as a whole.
            drawn_by: Makes what takes its tiles.
        """
        self._store = store
        self._index = index
        self._plan = store.header.plan(index)
        self._earlier = earlier
        self._steps_before = len(earlier.header.checkpoints) if earlier else 0
        self._at_once = at_once
        self._drawn_by = drawn_by
        self._writer: PictureWriter | None = None
        self._lock = Lock()

    def tiles(self, block_elements: int) -> Iterator[Tile]:
        """Yield the tiles to walk."""
        return self._tiling(block_elements).tiles()

    def _tiling(self, block_elements: int) -> Tiling:
        layout, level = self._plan.layout, self._plan.base
        return whole(layout, level) if self._at_once else tiling_of(layout, level, block_elements)

    def watch(self, tile: Tile) -> Watcher:
        """Return what draws one tile; called in the thread that walks it."""
        with self._lock:
            if self._writer is None:
                tiling = self._tiling(BLOCK_ELEMENTS)
                self._writer = self._drawn_by(self._store, self._index, tiling)
        writer = self._writer
        canvas = TileCanvas(self._plan, tile, writer.segment, partial(writer.write, tile))
        writer.add_counts(tile, canvas.counts)
        self._replay(tile, canvas)

        return CanvasWatcher(canvas, self._steps_before)

    def _replay(self, tile: Tile, canvas: TileCanvas) -> None:
        """Draw the steps of an earlier analysis as they were drawn there."""
        base, earlier = self._plan.base, self._earlier
        if not earlier:
            return
        names = ("mean", "max") if base else ("mean",)
        for step in range(self._steps_before):
            planes = [np.full(tile.size(base), np.nan, np.float32) for _ in names]
            for name, plane in zip(names, planes, strict=True):
                array = earlier.picture_array(self._index, base, name)
                for there, here in tile.windows(base):
                    plane[here] = array[step, *there]
            canvas.replay(step, planes)

    def finish(self) -> None:
        """Pool the coarser levels; every tile has been drawn."""
        if self._writer:
            self._writer.finish()
