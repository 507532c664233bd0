"""Pictures of a model that is sharded: each process draws what it holds, for the first one.

A tile whose elements one process holds is drawn there, and sent as texels. Of a tile that several
hold parts of, the elements are sent to the first process, which draws it. So all tiles are drawn
as in one process, with the same bits. Parameters are taken one after the other: beside its part,
a process needs memory for its share of one picture, and the first one for all pictures of a step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch.distributed

from accweight_core.errors import MismatchError
from accweight_core.live.measuring import Measuring
from accweight_core.live.shards import everywhere, rank
from accweight_core.pictures.canvas import counts_of
from accweight_core.pictures.plan import Picture
from accweight_core.pictures.tile import Range, Tile
from accweight_core.pictures.tiling import BLOCK_ELEMENTS, tiling_of
from accweight_core.store.header import Header
from accweight_core.store.records import LIVE, CheckpointRecord
from accweight_core.store.step_pictures import (
    StepPictures,
    TiledPicture,
    draw_pack,
    draw_tile,
    drawn_alone,
)

TILES_PER_PART = 8
"""Tiles per process and parameter: of the elements, at most an eighth is in tiles of several."""

STEP = CheckpointRecord("memory:0", 0, "order given", LIVE, 0, 0)
"""Stands for any step in the header of one step."""

Drawn = TypeVar("Drawn")


def header_of_step(header: Header, bases: tuple[int, ...]) -> Header:
    """Return the header of one step alone.

    Args:
        header: Header of a run.
        bases: Finest level of each picture; empty without pictures.
    """
    return replace(header, checkpoints=(STEP,), picture_bases=bases).with_packs()


def drawn_by_all(measuring: Measuring, wanted: Callable[[], Header | None]) -> StepPictures | None:
    """Draw A_t of the last step; all processes that hold shards have to call it.

    Args:
        measuring: The measurements of this process.
        wanted: Asked in the first process: the header of the step, if it is to be drawn.

    Returns:
        The pictures, in the first process; None in the others, or if nothing is drawn.

    Raises:
        MismatchError: If another process could not draw its part; here, its own error.
    """
    bases: tuple[int, ...] = ()
    problem: Exception | None = None
    try:
        header = wanted() if rank() == 0 else None
        bases = header.picture_bases if header else ()
    except Exception as error:  # the other processes wait, and must be told
        problem = error
    told = everywhere((bases, measuring.held))
    if problem is not None:
        raise problem
    bases = told[0][0]
    if not bases:
        return None
    givers = [Givers.of([held[name] for _, held in told]) for name in measuring.parameters]
    return _Drawing(measuring, header_of_step(measuring.header(), bases), givers).draw()


@dataclass(frozen=True)
class Givers:
    """Which process gives which elements of a parameter: each is given by one.

    Attributes:
        starts: First element of each part, ascending.
        stops: The element after its last one.
        processes: Which process gives it.
    """

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    processes: tuple[int, ...]

    @classmethod
    def of(cls, held: Sequence[range]) -> Givers:
        """Return the first process that holds each part.

        Args:
            held: What each process holds: parts that are equal, or have no element in common.
        """
        parts = {part: process for process, part in reversed(list(enumerate(held))) if part}
        ordered = sorted(parts.items(), key=lambda item: item[0].start)
        return cls(
            tuple(part.start for part, _ in ordered),
            tuple(part.stop for part, _ in ordered),
            tuple(process for _, process in ordered),
        )

    def within(self, stretches: Iterable[Range]) -> Iterator[tuple[int, int, int]]:
        """Yield (process, first, end) for all elements of some ranges, in order."""
        for start, stop in stretches:
            place = bisect_right(self.starts, start) - 1
            while start < stop:
                end = min(stop, self.stops[place])
                yield self.processes[place], start, end
                start, place = end, place + 1


class _Drawing:
    """The pictures of one step, in one of the processes that draw them."""

    def __init__(self, measuring: Measuring, header: Header, givers: Sequence[Givers]) -> None:
        """Create it without pictures."""
        self._header = header
        self._paths = measuring.paths()
        self._held = measuring.held
        self._givers = givers
        self._own = rank()
        self._problem: Exception | None = None

    def draw(self) -> StepPictures | None:
        """Draw all pictures; return them in the first process."""
        packs = [
            self._shared(partial(self._pack_part, number), partial(self._pack, number))
            for number in range(len(self._header.packs))
        ]
        alone = {
            index: self._shared(partial(self._part, index), partial(self._picture, index))
            for index in drawn_alone(self._header)
        }
        if self._problem is not None:
            raise self._problem
        if self._own:
            return None
        drawn = {index: picture for index, picture in alone.items() if picture}
        return StepPictures.of(self._header, [p for p in packs if p is not None], drawn)

    def _shared(
        self, part: Callable[[], Picture], together: Callable[[_Parts], Drawn]
    ) -> Drawn | None:
        """Send the part of this process; put those of all together in the first one.

        After a failure it only takes part, as the other processes wait.
        """
        own: Picture | None = None
        try:
            own = part() if self._problem is None else None
        except Exception as error:
            self._problem = error
        found = _gathered(own)
        if self._own or self._problem is not None:
            return None
        try:
            return together(_Parts(found))
        except Exception as error:
            self._problem = error
            return None

    def _pack_part(self, number: int) -> Picture:
        """Return what this process gives of a pack: its elements, which are as many as texels."""
        members = self._header.pack(number).members
        return _flat([self._elements(i, self._all_of(i)) for i in members])

    def _pack(self, number: int, parts: _Parts) -> Picture:
        return draw_pack(
            self._header.pack(number), lambda index, *inside: self._path(index, [inside], parts)
        )

    def _part(self, index: int) -> Picture:
        """Return what this process gives of a picture: texels, and elements of shared tiles."""
        plan, found = self._header.plan(index), []
        for tile in self._tiles(index):
            giving = self._giving(index, tile)
            if giving == {self._own}:
                drawn, _ = draw_tile(plan, tile, self._elements(index, tile.stretches))
                found += [plane.reshape(-1) for plane in drawn]
            elif self._own in giving:
                found.append(self._elements(index, tile.stretches))
        return _flat(found)

    def _picture(self, index: int, parts: _Parts) -> TiledPicture:
        plan, picture = self._header.plan(index), TiledPicture(self._header, index)
        for tile in self._tiles(index):
            giving = self._giving(index, tile)
            if len(giving) > 1:
                path = self._path(index, tile.stretches, parts)
                picture.put(tile, *draw_tile(plan, tile, path))
                continue
            rows, cols = tile.size(plan.base)
            texels = [parts.take(min(giving), rows * cols) for _ in picture.planes]
            counts = counts_of(plan.layout, plan.base, tile)
            picture.put(tile, [plane.reshape(rows, cols) for plane in texels], counts)
        return picture

    def _tiles(self, index: int) -> Iterator[Tile]:
        """Yield the tiles of a picture."""
        plan = self._header.plan(index)
        size = plan.layout.elements // (TILES_PER_PART * torch.distributed.get_world_size())
        return tiling_of(plan.layout, plan.base, min(max(size, 1), BLOCK_ELEMENTS)).tiles()

    def _giving(self, index: int, tile: Tile) -> set[int]:
        """Return the processes that give elements of a tile."""
        return {process for process, *_ in self._givers[index].within(tile.stretches)}

    def _all_of(self, index: int) -> list[Range]:
        return [(0, self._header.parameters[index].elements)]

    def _elements(self, index: int, stretches: Iterable[Range]) -> Picture:
        """Return A_t of those elements of some ranges that this process gives."""
        name = self._header.parameters[index].name
        first = self._held[name].start
        return _flat(
            [
                self._paths.read(name, start - first, stop - first).astype(np.float32, copy=False)
                for process, start, stop in self._givers[index].within(stretches)
                if process == self._own
            ]
        )

    def _path(self, index: int, stretches: Iterable[Range], parts: _Parts) -> Picture:
        """Return A_t of some ranges from what all processes give."""
        within = self._givers[index].within(stretches)
        return _flat([parts.take(process, stop - start) for process, start, stop in within])


class _Parts:
    """What each process gives of a picture, taken in order."""

    def __init__(self, found: Sequence[Picture | None]) -> None:
        """Begin with the first value of each.

        Raises:
            MismatchError: If a process has failed.
        """
        failed = next((process for process, part in enumerate(found) if part is None), None)
        if failed is not None:
            raise MismatchError(f"process {failed}: its part of a picture could not be drawn")
        self._found = [part for part in found if part is not None]
        self._taken = [0] * len(found)

    def take(self, process: int, number: int) -> Picture:
        """Return the next values of a process."""
        first = self._taken[process]
        self._taken[process] += number
        return self._found[process][first : first + number]


def _gathered(own: Picture | None) -> list[Picture | None]:
    """Return what each process gives, in the first process; nothing in the others."""
    if rank():
        torch.distributed.gather_object(own)
        return []
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.gather_object(None, found)  # its own need not be sent
    return [own, *found[1:]]


def _flat(parts: Sequence[Picture]) -> Picture:
    return np.concatenate(parts) if parts else np.empty(0, np.float32)
