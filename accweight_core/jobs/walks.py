"""Build the walk of a parameter or a pack: its blocks, its pictures, its state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Lock

from accweight_core.accumulate.cutting import Stretches, blocks_of
from accweight_core.accumulate.pack import Draw, PackWalk
from accweight_core.accumulate.stepwise import Carry
from accweight_core.accumulate.walk import ParameterWalk, no_carry, no_watcher
from accweight_core.accumulate.watching import Watcher
from accweight_core.io.reading import is_read_whole, is_readable_in_blocks
from accweight_core.pictures.canvas import CanvasWatcher, TileCanvas, is_pooled_at_once
from accweight_core.pictures.packing import PackSheet
from accweight_core.pictures.tile import Tile
from accweight_core.pictures.tiling import BLOCK_ELEMENTS, Tiling, tiling_of, whole
from accweight_core.schema import StoredTensor
from accweight_core.store.analysis_store import Store
from accweight_core.store.part import Part
from accweight_core.store.picture_writer import PictureWriter
from accweight_core.store.state import STATE

GAPPED_BLOCK = 1 << 20
"""Fewest elements of a block with permuted axes: larger blocks have fewer gaps."""

MakeWriter = Callable[[Part, int, Tiling], PictureWriter]
"""Creates the writer of one picture, given the store, the parameter's index and the tiling."""


def walk_of(
    index: int,
    tensors: Sequence[StoredTensor],
    store: Part | None,
    earlier: Store | None,
    block_elements: int,
    *,
    pooled_elements: int = 0,
    drawn_by: MakeWriter = PictureWriter,
) -> ParameterWalk:
    """Return the walk of one parameter.

    Args:
        index: Index of the parameter.
        tensors: The parameter in each checkpoint.
        store: Store of its picture and its state, if any.
        earlier: The analysis to append to, if any.
        block_elements: Elements per block.
        pooled_elements: Elements per block whose picture is pooled while it is read, if more.
        drawn_by: Creates the writer of its picture.
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
        drawing = _Drawing(store, index, at_once, drawn_by)
    return ParameterWalk(
        name,
        tensors,
        drawing.tiles(size, max(size, pooled_elements)) if drawing else blocks_of(shape, size),
        watch=drawing.watch if drawing else no_watcher,
        walked=drawing.finish if drawing else lambda: None,
        carry=partial(earlier.read_state, index) if earlier else no_carry,
        keep=partial(_keep(store, earlier), index) if store.header.keeps_state else None,
        index=index,
    )


def pack_of(
    number: int,
    members: Sequence[int],
    tensors: Sequence[Sequence[StoredTensor]],
    store: Part | None,
    earlier: Store | None,
) -> PackWalk:
    """Return the walk of a pack.

    Args:
        number: Number of the pack.
        members: Indices of its parameters.
        tensors: Each of them in every checkpoint.
        store: Store of its pictures and its state, if any.
        earlier: The analysis to append to, if any.
    """
    begin = None
    if store and store.header.picture_bases:
        begin = partial(_sheet, store, number)
    return PackWalk(
        members,
        [found[0].name for found in tensors],
        tensors,
        done=lambda totals: None,
        begin=begin,
        carry=earlier.read_state if earlier else None,
        keep=_keep(store, earlier) if store and store.header.keeps_state else None,
        number=number,
    )


def _keep(store: Part, earlier: Store | None) -> Callable[[int, Stretches, Carry], None]:
    """Return a function that stores the state of a block, as far as it may have changed."""

    def keep(index: int, block: Stretches, carry: Carry) -> None:
        names = earlier.state_names(index) if earlier else STATE
        store.write_state(index, block, carry, names)

    return keep


def _sheet(store: Part, number: int) -> tuple[Callable[[Sequence[int]], Draw], Callable[[], None]]:
    """Return a function that creates a drawer of members, and one that stores the pictures."""
    pack = store.header.pack(number)
    sheet = PackSheet(pack, len(store.header.checkpoints))
    return sheet.drawn, lambda: store.write_pack(pack, sheet.texels)


class _Drawing:
    """The picture of one parameter during its walk."""

    def __init__(
        self,
        store: Part,
        index: int,
        at_once: bool,
        drawn_by: MakeWriter,
    ) -> None:
        """Create it; nothing is stored before the first tile is walked.

        Args:
            store: Store of the picture.
            index: Index of the parameter.
            at_once: Whether the parameter is walked as one tile.
            drawn_by: Creates the writer of the picture.
        """
        self._store = store
        self._index = index
        self._plan = store.header.plan(index)
        self._at_once = at_once
        self._drawn_by = drawn_by
        self._writer: PictureWriter | None = None
        self._lock = Lock()

    def tiles(self, block_elements: int, pooled_elements: int) -> Iterator[Tile]:
        """Yield the tiles to walk: larger ones if that takes no more memory."""
        while self._plan.base and pooled_elements > block_elements:
            larger = list(self._tiling(pooled_elements).tiles())
            if all(is_pooled_at_once(tile, self._plan.base) for tile in larger):
                return iter(larger)
            pooled_elements //= 2  # a column of a folded picture may be what fits
        return self._tiling(block_elements).tiles()

    def _tiling(self, block_elements: int) -> Tiling:
        layout, level = self._plan.layout, self._plan.base
        return whole(layout, level) if self._at_once else tiling_of(layout, level, block_elements)

    def watch(self, tile: Tile) -> Watcher:
        """Return the watcher that draws one tile; called in the thread that walks it."""
        with self._lock:
            if self._writer is None:
                tiling = self._tiling(BLOCK_ELEMENTS)
                self._writer = self._drawn_by(self._store, self._index, tiling)
        writer = self._writer
        room = writer.room(tile)
        emit = partial(writer.drawn if room else writer.write, tile)
        canvas = TileCanvas(self._plan, tile, writer.segment, emit, room)
        writer.add_counts(tile, canvas.counts)
        return CanvasWatcher(canvas)

    def finish(self) -> None:
        """Pool the coarser levels, after all tiles have been drawn."""
        if self._writer:
            self._writer.finish()
