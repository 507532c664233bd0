"""Contents of a scene: tiles of one source in texture memory, following camera and time.

This module decides what to draw; the scene item uploads the blocks and draws the instances that it
returns. One instance is one quad, sixteen numbers:

    x, y, z, order | width, height, columns, rows | cell x, cell y, frame, next frame |
    unit, kind of quad (`TILE_QUAD` ...), tone, of a panel: 1 to draw it without widening;
    of a tile: how much of it fades into the background
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import is_not
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.camera import Camera
from accweight_viewer.model.loading import Loader
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import Plate, PlateSource
from accweight_viewer.model.residency import MOST_FRAMES, Residency, TileRequest, grid_for
from accweight_viewer.model.settings import Plane, Scope
from accweight_viewer.model.texture_tiles import (
    TILE,
    TextureTile,
    TilePlan,
    level_size,
    planned,
    root,
)

Instances = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Upload = Callable[["TextureBlock"], None]

GAP = -2.0
"""Value of texels without a weight; shares of a peak are between -1 and 1."""

BROKEN = -4.0
"""Value of texels with a weight that is not finite."""

TILE_QUAD, PANEL_QUAD = 0.0, 1.0
EDGE_ORDER, EMPTY_ORDER = -3, -1
"""Depth order behind the tiles, which start at 1; differences below 2 would flicker."""

OUTLINE_ORDER = 16
"""Depth order in front of the finest tile of its plate."""

FAINT = 0.85
"""How much plates fade that are not searched for."""

FRAME, SELECTED, MARKED, EMPTY, POINTED_AT = 0.0, 1.0, 2.0, 3.0, 4.0

MOST_REQUESTS = 400
"""Most requests passed to the loader at a time; more are computed while it reads them."""


@dataclass(frozen=True)
class TextureBlock:
    """Texels to upload.

    Attributes:
        x: First column in the texture.
        y: First row in the texture.
        frame: First layer of the texture.
        texels: (frames, rows, columns) half precision, shares of the plate's peak.
    """

    x: int
    y: int
    frame: int
    texels: Halves


@dataclass(frozen=True)
class _LaidOut:
    """The last quads and their inputs: from frame to frame only time changes."""

    shown: tuple[Any, ...]
    how: tuple[Any, ...]
    quads: Instances
    tiles: list[TextureTile]
    rows: npt.NDArray[np.int64]


class Content:
    """The tiles of one source.

    Attributes:
        source: The source.
        places: Positions of its plates.
        residency: The tiles in memory.
    """

    def __init__(
        self,
        source: PlateSource,
        places: Arrangement,
        *,
        plane: Plane,
        budget_bytes: int,
        most_frames: int = MOST_FRAMES,
        arrived: Callable[[], object] = lambda: None,
    ) -> None:
        self.source = source
        self.places = places
        self._plane: Plane = plane
        self._plates = source.plates
        self._revision = source.revision
        steps = len(source.steps)
        grid = grid_for(budget_bytes, _tile_count(self._plates), steps, most_frames)
        self.residency = Residency(grid, steps)
        self._loader: Loader[TileRequest, Halves] = Loader(self._read, arrived)
        self._plan = TilePlan((), (), ())
        self._requested = 0
        self._latest: _LaidOut | None = None

    def close(self) -> None:
        """Stop loading."""
        self._loader.close()

    @property
    def idle(self) -> bool:
        """Whether everything visible has been loaded or has failed."""
        return self._requested == 0 and self._loader.idle

    @property
    def failure(self) -> str:
        """Why something could not be loaded; empty if nothing failed."""
        for request, error in self._loader.failures.items():
            return f"{self._plates[request.tile.plate].name}: {error}"
        return ""

    def follow(self, source: PlateSource) -> bool:
        """Switch to a later state of the source; return whether that is possible.

        It is if plates have become ready and nothing else has changed: loaded tiles are kept, and
        no plate is blank in between.
        """
        before, after = self._plates, source.plates
        same = (
            not (source.signed or self.source.signed or self.failure)
            and source.revision == self._revision
            and np.array_equal(source.steps, self.source.steps)
            and len(before) == len(after)
            and all(_grown(old, new) for old, new in zip(before, after, strict=True))
        )
        if same:
            self.source, self._plates = source, after
        return same

    def replan(self, camera: Camera, viewport: tuple[float, float], position: int) -> None:
        """Choose the tiles for a camera, and request the missing ones."""
        cells = self.residency.grid.cells
        self._plan = planned(self._plates, self.places, camera, viewport, self.residency, cells)
        self.residency.keep(self._plan.kept)
        self._request(position)

    def move_to(self, position: int) -> None:
        """Request the tiles for another checkpoint, for the last camera."""
        if not self.idle or self.residency.grid.frames < self.residency.steps:
            self._request(position)

    def _request(self, position: int) -> None:
        """Request the visible tiles: the current step of all of them first, then other steps."""
        now: list[TileRequest] = []
        later: list[TileRequest] = []
        failed = self._loader.failures
        for tiles, absent in ((self._plan.requested, True), (self._plan.drawn, False)):
            for tile in tiles:
                missing = self.residency.missing(tile, position)
                urgent = [w for w in missing[:1] if absent or w.first <= position < w.stop]
                now += [w for w in urgent if w not in failed]
                others = missing[len(urgent) :] if not absent else []
                later += [w for w in others if w not in failed]
                if len(now) >= MOST_REQUESTS:
                    break
        requests = (now + later)[:MOST_REQUESTS]
        self._requested = len(requests)
        self._loader.request(requests)

    def _read(self, request: TileRequest) -> Halves:
        """Return the texels of a request; called on a thread of the loader."""
        plate = self._plates[request.tile.plate]
        rows, cols = request.tile.window(plate)
        steps = slice(request.first, request.stop)
        texels = self.source.texels(plate, request.tile.level, self._plane, steps, rows, cols)
        texels = np.where(np.isnan(texels), np.float32(GAP), texels)
        return np.where(np.isinf(texels), np.float32(BROKEN), texels).astype(np.float16)

    def take(self, upload: Upload, seconds: float = 0.005) -> bool:
        """Upload loaded tiles for a limited time; return whether there were any."""
        stop = time.perf_counter() + seconds
        taken = False
        while (loaded := self._loader.take()) is not None:
            request, texels = loaded
            cell = self.residency.admit(request.tile)
            if cell is not None:
                x, y = self.residency.place(cell)
                upload(TextureBlock(x, y, request.first % self.residency.grid.frames, texels))
                self.residency.hold(cell, request.first, request.stop)
            taken = True
            if time.perf_counter() >= stop:
                break
        return taken

    def instances(
        self,
        position: int,
        *,
        scope: Scope,
        selected: frozenset[int] = frozenset(),
        marked: frozenset[int] = frozenset(),
        pointed_at: frozenset[int] = frozenset(),
        pick: Pick | None = None,
        nearer_hidden: int = 0,
        eye: float = 0.0,
        faint: frozenset[int] = frozenset(),
    ) -> Instances:
        """Return (n, 16): all quads to draw for a checkpoint.

        Args:
            position: Index of the checkpoint.
            scope: How changes are normalised.
            selected: Plates of the selected layer.
            marked: Plates that only one of two runs has.
            pointed_at: Plates of the layer under the mouse, in the table.
            pick: The selected texel, if it belongs to this source.
            nearer_hidden: Rows before this one are hidden, because they would cover the focus.
            eye: z of the camera. Near plates come first, because they hide the most.
            faint: Plates that fade into the background.
        """
        shown = self._plan, self.source, self.places, self.residency.admitted
        tones = (MARKED, marked), (EMPTY, faint), (SELECTED, selected), (POINTED_AT, pointed_at)
        how = scope, tones, faint, pick, nearer_hidden, eye
        latest = self._latest
        if latest is None or latest.how != how or any(map(is_not, latest.shown, shown)):
            latest = self._latest = self._laid_out(shown, how)
        quads = latest.quads.copy()
        following = min(position + 1, self.residency.steps - 1)
        quads[latest.rows, 10] = self.residency.frames_of(latest.tiles, position)
        quads[latest.rows, 11] = self.residency.frames_of(latest.tiles, following)
        return quads

    def _laid_out(self, shown: tuple[Any, ...], how: tuple[Any, ...]) -> _LaidOut:
        """Return all quads, except for what time changes."""
        scope, tones, faint, pick, nearer_hidden, eye = how
        hidden = self.places.rows < nearer_hidden
        tiles = [
            tile for tile in self._plan.drawn if tile in self.residency and not hidden[tile.plate]
        ]
        parts = [self._tiles(tiles, scope, faint), self._panels(tones, hidden)]
        if pick is not None:
            parts.append(self._outline(pick))
        quads = np.concatenate(parts)
        order = np.lexsort((-quads[:, 3], np.abs(quads[:, 2] - np.float32(eye))))
        rows = np.argsort(order)[: len(tiles)]
        return _LaidOut(shown, how, quads[order], tiles, rows)

    def _panels(
        self, tones: tuple[tuple[float, frozenset[int]], ...], hidden: npt.NDArray[np.bool_]
    ) -> Instances:
        """Return a backing for every plate: its edge, and a fill until it is loaded."""
        count = len(self._plates)
        quads = np.zeros((count, 16), np.float32)
        quads[:, 0:3], quads[:, 4:6] = self.places.corners, self.places.sizes
        quads[:, 3], quads[:, 13] = EDGE_ORDER, PANEL_QUAD
        for tone, numbers in tones:
            quads[list(numbers), 14] = tone
        filled = quads.copy()
        filled[:, 3], filled[:, 14] = EMPTY_ORDER, EMPTY
        filled[:, 15] = 1  # not widened, so that the edge stays visible
        return np.concatenate([quads[~hidden], filled[~hidden]])

    def _tiles(self, tiles: list[TextureTile], scope: Scope, faint: frozenset[int]) -> Instances:
        quads = np.zeros((len(tiles), 16), np.float32)
        if not tiles:
            return quads
        numbers = [tile.plate for tile in tiles]
        corners, sizes = self.places.corners[numbers], self.places.sizes[numbers]
        extents = np.array([tile.extent(self._plates[tile.plate]) for tile in tiles])
        top, bottom, left, right = extents.T
        quads[:, 0] = corners[:, 0] + left * sizes[:, 0]
        quads[:, 1] = corners[:, 1] - top * sizes[:, 1]
        quads[:, 2] = corners[:, 2]
        quads[:, 3] = [1 + self._plates[t.plate].coarsest - t.level for t in tiles]
        quads[:, 4], quads[:, 5] = (right - left) * sizes[:, 0], (bottom - top) * sizes[:, 1]
        whole = np.array([level_size(self._plates[tile.plate], 0) for tile in tiles], float)
        shrink = np.array([1 << tile.level for tile in tiles], float)
        quads[:, 6] = (right - left) * whole[:, 1] / shrink
        quads[:, 7] = (bottom - top) * whole[:, 0] / shrink
        cells = [self.residency.cell(tile) or 0 for tile in tiles]
        quads[:, 8:10] = [self.residency.place(cell) for cell in cells]
        units = {n: self.source.unit(self._plates[n], scope) for n in set(numbers)}
        quads[:, 12] = [units[number] for number in numbers]
        quads[:, 13] = TILE_QUAD
        quads[:, 15] = [FAINT if number in faint else 0.0 for number in numbers]
        return quads

    def _outline(self, pick: Pick) -> Instances:
        """Return four lines around a texel: quads of zero width, which are drawn widened."""
        rows, cols = pick.plate.size
        x, y, z = self.places.corners[pick.plate.number]
        width, height = self.places.sizes[pick.plate.number]
        left, top = x + width * pick.col / cols, y - height * pick.row / rows
        wide, high = width / cols, height / rows
        quads = np.zeros((4, 16), np.float32)
        quads[:, 0], quads[:, 1], quads[:, 2], quads[:, 3] = left, top, z, OUTLINE_ORDER
        quads[1, 0], quads[2, 1] = left + wide, top - high
        quads[[0, 2], 4], quads[[1, 3], 5] = wide, high
        quads[:, 13], quads[:, 14] = PANEL_QUAD, SELECTED
        return quads


def _grown(old: Plate, new: Plate) -> bool:
    """Tell whether a plate is unchanged, or the same and now ready."""
    alike = (old.parameter, old.plan, old.pictured) == (new.parameter, new.plan, new.pictured)
    return alike and (not old.ready or (new.ready and new.peak == old.peak))


def _tile_count(plates: tuple[Plate, ...]) -> int:
    """Return the number of tiles of all pictures at all levels."""
    count = 0
    for plate in plates:
        for level in range(plate.finest, root(plate).level + 1):
            rows, cols = level_size(plate, level)
            count += -(-rows // TILE) * -(-cols // TILE)
    return count
