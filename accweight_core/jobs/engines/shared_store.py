"""The store as seen by one of many workers, which write files concurrently.

Every file is written under a temporary name and renamed, so a task may run twice, even
concurrently, and a worker may be killed at any moment. A worker stores its share of an incomplete
chunk as a piece beside the picture; the process that finishes the picture assembles the pieces.
"""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from accweight_core.errors import StoreError
from accweight_core.pictures.canvas import counts_of
from accweight_core.pictures.plan import Picture
from accweight_core.pictures.tile import Tile
from accweight_core.pictures.tiling import BLOCK_ELEMENTS, Tiling, tiling_of
from accweight_core.store.analysis_store import Store
from accweight_core.store.chunk_grid import Place
from accweight_core.store.files import PARTIAL, files_in, write_beside_others
from accweight_core.store.header import Header
from accweight_core.store.picture_writer import PictureWriter

PIECES = "pieces"
"""Folder beside the levels of an unfinished picture."""

Piece = tuple[range, range, list[Picture]]
"""Rows, columns, and their contents: (steps, rows, columns) per plane."""


class SharedStore(Store):
    """A store that several processes write concurrently."""

    def __init__(self, path: Path, header: Header) -> None:
        super().__init__(path, header, write_beside_others)

    def tidy(self) -> None:
        """Remove files that killed workers and duplicate tasks have left behind."""
        leftovers = [file for file in files_in(self.path) if file.name.endswith(PARTIAL)]
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        for folder in self.path.glob(f"pictures/*/{PIECES}"):
            shutil.rmtree(folder, ignore_errors=True)


class PieceWriter(PictureWriter):
    """Draws a part of a picture: writes the chunks within the part, and pieces of all others."""

    def __init__(self, store: Store, index: int, tiling: Tiling, *, first: int) -> None:
        """Create the empty base level of the picture, if no other worker has.

        Args:
            store: The store.
            index: Index of the parameter.
            tiling: Tiling of the picture.
            first: First element of the part, which identifies it.
        """
        super().__init__(store, index, tiling)
        self._pieces: dict[Place, list[Piece]] = {}
        self._file = pieces_folder(store, index) / f"{first:015d}.npz"

    def take(self, place: Place, rows: range, cols: range, parts: Sequence[Picture]) -> None:
        """Take the contents of a tile in one chunk."""
        pieces = self._pieces.setdefault(place, [])
        pieces.append((rows, cols, list(parts)))
        drawn = sum(len(r) * len(c) for r, c, _ in pieces)
        if drawn == self.grid.texels(place[1], place[2]):
            for piece in self._pieces.pop(place):
                super().take(place, *piece)

    def room(self, tile: Tile) -> None:
        """Return no room: what is drawn may be a piece."""

    def finish(self) -> None:
        """Leave the pieces for the process that finishes the picture."""
        if self._pieces:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_beside_others(self._file, _encoded(self._pieces))


def pieces_folder(store: Store, index: int) -> Path:
    """Return the folder of the pieces of an unfinished picture."""
    return store.path / "pictures" / f"{index:06d}" / PIECES


def _encoded(pieces: dict[Place, list[Piece]]) -> bytes:
    flat = [(place, *piece) for place, found in pieces.items() for piece in found]
    places = [(*p, len(parts[0]), r.start, r.stop, c.start, c.stop) for p, r, c, parts in flat]
    planes = [
        np.concatenate([parts[n].reshape(-1) for *_, parts in flat]) for n in range(len(flat[0][3]))
    ]
    file = io.BytesIO()
    np.savez(file, places=np.array(places, dtype=np.int64), planes=np.stack(planes))
    return file.getvalue()


def _decoded(file: Path) -> Iterator[tuple[Place, Piece]]:
    with np.load(file, allow_pickle=False) as content:
        places, planes = content["places"].tolist(), content["planes"]
    done = 0
    for step, row, col, steps, top, bottom, left, right in places:
        shape = (steps, bottom - top, right - left)
        size = math.prod(shape)
        parts = [plane[done : done + size].reshape(shape) for plane in planes]
        yield (step, row, col), (range(top, bottom), range(left, right), parts)
        done += size


def finish_picture(store: SharedStore, index: int) -> None:
    """Assemble the pieces of a picture, and pool its coarser levels, once all parts are drawn.

    Raises:
        StoreError: If a chunk is missing, because this process sees another folder.
    """
    plan = store.header.plan(index)
    tiling = tiling_of(plan.layout, plan.base, BLOCK_ELEMENTS)
    writer = PictureWriter(store, index, tiling)
    places: set[tuple[int, int]] = set()
    for tile in tiling.tiles():
        writer.add_counts(tile, counts_of(plan.layout, plan.base, tile))
        for window, _ in tile.windows(plan.base):
            places.update(place for place, _ in writer.grid.touched(window))
    folder = pieces_folder(store, index)
    with suppress(FileNotFoundError):  # another process is finishing this picture, too
        for file in sorted(f for f in folder.iterdir() if f.suffix != PARTIAL):
            for place, piece in _decoded(file):
                writer.take(place, *piece)
    if not writer.holds_all(places):
        raise StoreError(
            f"{store.path}: chunks of the picture of {store.header.parameters[index].name!r} that "
            "workers have written are missing; all workers must see the same folder there"
        )
    writer.finish()
    shutil.rmtree(folder, ignore_errors=True)
