"""The pictures of one step, drawn in memory and written later, by another thread.

They are drawn tile by tile, as during a walk, so that memory is needed for the stored texels and
for one tile of weights only; levels and bits are those of a walk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.pictures.canvas import TileCanvas
from accweight_core.pictures.packing import Pack, PackSheet
from accweight_core.pictures.plan import Picture, PicturePlan
from accweight_core.pictures.tile import Tile
from accweight_core.pictures.tiling import BLOCK_ELEMENTS, tiling_of, whole
from accweight_core.store.header import Header
from accweight_core.store.part import Part
from accweight_core.store.picture_writer import PictureWriter

ReadPath = Callable[[int, int, int], Picture]
"""Called as ``read(index, start, stop)``; returns A_t of some elements of a parameter, flat."""


@dataclass(frozen=True)
class StepPictures:
    """The pictures of all parameters at one step.

    Attributes:
        bases: Finest stored level per parameter.
        packs: (1, texels) of each pack.
        planes: Planes of the finest level, (1, rows, columns), by index of the parameter.
        counts: Elements per texel of that level; empty if the step was not drawn.
    """

    bases: tuple[int, ...]
    packs: Sequence[Picture]
    planes: Mapping[int, Sequence[Picture]]
    counts: Mapping[int, Picture]

    @classmethod
    def of(
        cls, header: Header, packs: Sequence[Picture], drawn: Mapping[int, TiledPicture]
    ) -> StepPictures:
        """Return the pictures of a step that have been drawn.

        Args:
            header: Header of the step alone.
            packs: (1, texels) of each pack.
            drawn: The other pictures, by index of the parameter.
        """
        planes = {index: picture.planes for index, picture in drawn.items()}
        counts = {index: picture.counts for index, picture in drawn.items()}
        return cls(header.picture_bases, packs, planes, counts)

    def write(self, part: Part) -> None:
        """Write the pictures into a part with one step and the same levels and packs."""
        header = part.header
        for number, texels in enumerate(self.packs):
            part.write_pack(header.pack(number), texels)
        for index, planes in self.planes.items():
            plan = header.plan(index)
            tiling = whole(plan.layout, plan.base)
            writer = PictureWriter(part, index, tiling)
            if index in self.counts:
                writer.add_counts(tiling.first, self.counts[index])
            writer.write(tiling.first, 0, planes)
            writer.finish()


def draw_step(header: Header, read: ReadPath) -> StepPictures:
    """Draw A_t of all parameters.

    Args:
        header: Header of this step alone.
        read: Returns A_t.
    """
    packs = [draw_pack(pack, read) for pack in _packs(header)]
    drawn = {index: _drawn(header, index, read) for index in drawn_alone(header)}
    return StepPictures.of(header, packs, drawn)


def undrawn_step(header: Header) -> StepPictures:
    """Return the pictures of a step that was not drawn: NaN, as of what is not known yet."""
    packs = [np.full((1, pack.texels), np.nan, np.float32) for pack in _packs(header)]
    blank = {index: _blank(header, index) for index in drawn_alone(header)}
    return StepPictures(header.picture_bases, packs, blank, {})


def _packs(header: Header) -> list[Pack]:
    """Return the packs that are drawn."""
    return [
        header.pack(number) for number in range(len(header.packs) if header.picture_bases else 0)
    ]


def drawn_alone(header: Header) -> list[int]:
    """Return the parameters whose pictures have arrays of their own."""
    if not header.picture_bases:
        return []
    parameters = enumerate(header.parameters)
    return [index for index, p in parameters if p.elements and index not in header.packed]


def _blank(header: Header, index: int) -> list[Picture]:
    plan = header.plan(index)
    shape = (1, *plan.size(plan.base))
    return [np.full(shape, np.nan, np.float32) for _ in range(2 if plan.base else 1)]


class TiledPicture:
    """The finest stored level of one picture at one step, put together from its tiles.

    Attributes:
        planes: (1, rows, columns) each, NaN where nothing was put.
        counts: (rows, columns), elements per texel.
    """

    def __init__(self, header: Header, index: int) -> None:
        """Create it without tiles.

        Args:
            header: Header of the step alone.
            index: Index of the parameter.
        """
        self._plan = header.plan(index)
        self.planes = _blank(header, index)
        self.counts = np.zeros(self.planes[0].shape[1:], np.float32)

    def put(self, tile: Tile, drawn: Sequence[Picture], counts: Picture) -> None:
        """Put a tile into its place.

        Args:
            tile: The tile.
            drawn: (rows, columns) of its sheet, per plane.
            counts: Likewise, elements per texel.
        """
        for there, here in tile.windows(self._plan.base):
            self.counts[there] = counts[here]
            for plane, picture in zip(self.planes, drawn, strict=True):
                plane[0][there] = picture[here]


def draw_pack(pack: Pack, read: ReadPath) -> Picture:
    """Draw A_t of the small parameters of a pack: (1, texels)."""
    sheet = PackSheet(pack, 1)
    for member, (index, layout) in enumerate(zip(pack.members, pack.layouts, strict=True)):
        path = read(index, 0, layout.elements)
        sheet.drawn([member])(0, path.astype(np.float32, copy=False)[None])
    return sheet.texels


def draw_tile(plan: PicturePlan, tile: Tile, path: Picture) -> tuple[list[Picture], Picture]:
    """Draw a tile at the finest stored level.

    Args:
        plan: Plan of the picture, of one step.
        tile: The tile.
        path: A_t of its elements, float32, flat.

    Returns:
        (rows, columns) of its sheet per plane, and the elements per texel.
    """
    drawn: list[Picture] = []
    canvas = TileCanvas(plan, tile, 1, lambda _, planes: drawn.extend(p[0] for p in planes))
    canvas.draw(0, path)
    return drawn, canvas.counts


def _drawn(header: Header, index: int, read: ReadPath) -> TiledPicture:
    """Draw one parameter."""
    plan, picture = header.plan(index), TiledPicture(header, index)
    for tile in tiling_of(plan.layout, plan.base, BLOCK_ELEMENTS).tiles():
        path = np.empty(tile.elements, np.float32)
        done = 0
        for start, stop in tile.stretches:
            path[done : done + stop - start] = read(index, start, stop)
            done += stop - start
        picture.put(tile, *draw_tile(plan, tile, path))
    return picture
