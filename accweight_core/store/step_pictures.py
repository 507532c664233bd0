"""The pictures of one step, drawn in memory and written later, by another thread.

They are drawn tile by tile, as during a walk, so that memory is needed for the stored texels and
for one tile of weights only; levels and bits are those of a walk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from accweight_core.pictures.canvas import TileCanvas
from accweight_core.pictures.packing import PackSheet
from accweight_core.pictures.plan import Picture
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
    packs = []
    for number in range(len(header.packs) if header.picture_bases else 0):
        pack = header.pack(number)
        sheet = PackSheet(pack, 1)
        for member, index in enumerate(pack.members):
            path = read(index, 0, header.parameters[index].elements)
            sheet.drawn([member])(0, path.astype(np.float32, copy=False)[None])
        packs.append(sheet.texels)
    drawn = {index: _drawn(header, index, read) for index in _alone(header)}
    return StepPictures(
        header.picture_bases,
        packs,
        {index: planes for index, (planes, _) in drawn.items()},
        {index: counts for index, (_, counts) in drawn.items()},
    )


def undrawn_step(header: Header) -> StepPictures:
    """Return the pictures of a step that was not drawn: NaN, as of what is not known yet."""
    packs = [
        np.full((1, header.pack(number).texels), np.nan, np.float32)
        for number in range(len(header.packs) if header.picture_bases else 0)
    ]
    return StepPictures(
        header.picture_bases, packs, {index: _blank(header, index) for index in _alone(header)}, {}
    )


def _alone(header: Header) -> list[int]:
    """Return the parameters whose pictures have arrays of their own."""
    if not header.picture_bases:
        return []
    parameters = enumerate(header.parameters)
    return [index for index, p in parameters if p.elements and index not in header.packed]


def _blank(header: Header, index: int) -> list[Picture]:
    plan = header.plan(index)
    shape = (1, *plan.size(plan.base))
    return [np.full(shape, np.nan, np.float32) for _ in range(2 if plan.base else 1)]


def _drawn(header: Header, index: int, read: ReadPath) -> tuple[list[Picture], Picture]:
    """Return the planes of the finest level of a picture, and the elements per texel."""
    plan, planes = header.plan(index), _blank(header, index)
    counts = np.zeros(planes[0].shape[1:], np.float32)

    def place(tile: Tile, step: int, pictures: Sequence[Picture]) -> None:
        for there, here in tile.windows(plan.base):
            for plane, picture in zip(planes, pictures, strict=True):
                plane[0][there] = picture[0][here]

    for tile in tiling_of(plan.layout, plan.base, BLOCK_ELEMENTS).tiles():
        canvas = TileCanvas(plan, tile, 1, partial(place, tile))
        path = np.empty(tile.elements, np.float32)
        done = 0
        for start, stop in tile.stretches:
            path[done : done + stop - start] = read(index, start, stop)
            done += stop - start
        canvas.draw(0, path)
        for there, here in tile.windows(plan.base):
            counts[there] = canvas.counts[here]
    return planes, counts
