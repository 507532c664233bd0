"""Read the pictures of an analysis, checked against the header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accweight_core.errors import StoreError
from accweight_core.io.stamp import stamp_if_there
from accweight_core.schema import Stamp
from accweight_core.store.arrays import ATTRIBUTE, array_in, damaged
from accweight_core.store.documents import METADATA
from accweight_core.store.header import Header
from accweight_core.store.packed_picture import PackedPicture
from accweight_core.store.zarr_chunks import ChunkedArray, StoredArray

PACKED = "packed"

MOST_KNOWN_PICTURES = 4096
"""Limit of picture arrays whose metadata is cached, about 2 kB each."""


def picture_name(index: int, level: int, plane: str) -> str:
    """Return the path of one picture level within the folder of pictures."""
    return f"{index:06d}/{level}" + (f"_{plane}" if level else "")


def pack_name(number: int) -> str:
    """Return the path of a pack within the analysis."""
    return f"pictures/{PACKED}/{number:06d}"


class StoredPictures:
    """The pictures of one analysis."""

    def __init__(self, path: Path, header: Header) -> None:
        """Create the object without reading files.

        Args:
            path: Folder of the analysis.
            header: Header of the analysis.
        """
        self._path = path
        self._header = header
        self._known: dict[str, tuple[Stamp, StoredArray]] = {}

    def array(self, index: int, level: int, plane: str) -> StoredArray:
        """Return the array of a level of a picture."""
        if not self._header.picture_bases:
            raise StoreError(f"{self._path}: holds no pictures")
        if level or index not in self._header.packed:
            size = self._header.plan(index).size(level)
            return self._known_array(f"pictures/{picture_name(index, level, plane)}", size)
        number, first = self._header.packed[index]
        layout = self._header.layouts[index]
        return PackedPicture(self._pack(number), first, layout.rows, layout.cols)

    def _pack(self, number: int) -> StoredArray:
        """Return the array of a pack."""
        return self._known_array(pack_name(number), (self._header.pack(number).texels,), number)

    def _known_array(
        self, name: str, size: tuple[int, ...], pack: int | None = None
    ) -> StoredArray:
        """Return a picture array; its metadata is parsed again only if the file has changed.

        A mouse moved over a picture requests it sixty times a second, and the attributes of a
        pack list thousands of parameters.
        """
        stamp = stamp_if_there(self._path / name / METADATA)
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        array = self._drawn(name, size, pack)
        if stamp is not None:
            if len(self._known) >= MOST_KNOWN_PICTURES:
                self._known.clear()
            self._known[name] = stamp, array
        return array

    def _drawn(self, name: str, size: tuple[int, ...], pack: int | None) -> StoredArray:
        """Return a picture array with the steps of this header.

        The stored array may have more steps, appended since the header was read.
        """
        array = array_in(self._path, name, is_complete=self._header.complete)
        steps, found = len(self._header.checkpoints), array.shape
        if found[1:] != size or found[0] < steps:
            raise damaged(self._path, name, (steps, *size), found)
        if isinstance(array, ChunkedArray):
            if pack is not None:
                if array.chunk != found:
                    raise damaged(self._path, name, found, array.chunk)
                self._check_pack(name, pack, array.attributes)
            return replace(array, shape=(steps, *size), attributes={})
        return array.limited(steps)

    def _check_pack(self, name: str, number: int, attributes: Mapping[str, Any]) -> None:
        """Raise if the attributes of a pack list other parameters than the header."""
        pack = self._header.pack(number)
        names = [self._header.parameters[index].name for index in pack.members]
        if attributes and attributes != {ATTRIBUTE: pack.attributes(names)}:
            raise StoreError(
                f"{self._path}: {name} is damaged: it says that it holds the pictures of other "
                "parameters than the header does"
            )
