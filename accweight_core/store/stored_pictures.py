"""Read the pictures of an analysis, checked against the header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from accweight_core.errors import StoreError
from accweight_core.io.stamp import stamp_if_there
from accweight_core.pictures.pyramid import Pyramid
from accweight_core.schema import Stamp
from accweight_core.store.array_part import StoredArray
from accweight_core.store.arrays import ATTRIBUTE, array_in, damaged, is_array
from accweight_core.store.documents import METADATA
from accweight_core.store.header import Header
from accweight_core.store.packed_picture import PackedPicture
from accweight_core.store.zarr_chunks import ChunkedArray

PACKED = "packed"

MOST_KNOWN_PICTURES = 4096
"""Limit of picture arrays whose metadata is cached, about 2 kB each."""

Found = TypeVar("Found")


def pyramid_name(index: int) -> str:
    """Return the path of a picture within the analysis: an array of all levels, or a group."""
    return f"pictures/{index:06d}"


def picture_name(index: int, level: int, plane: str) -> str:
    """Return the path of one plane, if it has an array of its own."""
    return f"{pyramid_name(index)}/{level}" + (f"_{plane}" if level else "")


def coarser_name(index: int) -> str:
    """Return the path of the array of all levels but the finest, if that has its own."""
    return f"{pyramid_name(index)}/coarser"


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
        self._known: dict[str, tuple[Stamp, Any]] = {}

    def array(self, index: int, level: int, plane: str) -> StoredArray:
        """Return the array of a level of a picture.

        Raises:
            StoreError: If it is missing or damaged.
        """
        if not self._header.picture_bases:
            raise StoreError(f"{self._path}: holds no pictures")
        plan = self._header.plan(index)
        if level not in plan.levels:
            raise StoreError(
                f"{self._path}: of parameter {index}, levels {plan.levels.start} to "
                f"{plan.levels[-1]} are stored, not level {level}"
            )
        if index in self._header.packed:
            number, first = self._header.packed[index]
            return PackedPicture(self._pack(number), first, *plan.size(level))
        for name, levels in (
            (pyramid_name(index), plan.levels),
            (coarser_name(index), plan.levels[1:]),
        ):
            pyramid = Pyramid(plan, levels)
            place = pyramid.plane(level, plane if level else "mean")
            stored = self._pyramid(name, pyramid, index) if place else None
            if place and stored:
                return PackedPicture(stored, place.first, place.rows, place.cols)
        return self._plane(picture_name(index, level, plane), plan.size(level))

    def _pack(self, number: int) -> StoredArray:
        """Return the array of a pack."""
        name, pack = pack_name(number), self._header.pack(number)

        def opened() -> StoredArray:
            said = pack.attributes([self._header.parameters[i].name for i in pack.members])
            return self._opened(name, (pack.texels,), said, is_one_chunk=True)

        return self._kept(name, opened)

    def _pyramid(self, name: str, pyramid: Pyramid, index: int) -> StoredArray | None:
        """Return the array of several levels; None if each plane has an array of its own."""

        def opened() -> StoredArray | None:
            if not is_array(self._path, name):
                return None
            said = pyramid.attributes(index, self._header.parameters[index].name)
            return self._opened(name, (pyramid.texels,), said)

        return self._kept(name, opened)

    def _plane(self, name: str, size: tuple[int, int]) -> StoredArray:
        """Return the array of one plane."""
        return self._kept(name, lambda: self._opened(name, size))

    def _kept(self, name: str, opened: Callable[[], Found]) -> Found:
        """Return an array; its metadata is parsed again only if the file has changed.

        A mouse moved over a picture requests it sixty times a second, and the attributes of a
        pack list thousands of parameters.
        """
        stamp = stamp_if_there(self._path / name / METADATA)
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            found: Found = known[1]
            return found
        array = opened()
        if stamp is not None:
            if len(self._known) >= MOST_KNOWN_PICTURES:
                self._known.clear()
            self._known[name] = stamp, array
        return array

    def _opened(
        self,
        name: str,
        size: tuple[int, ...],
        said: Mapping[str, Any] | None = None,
        *,
        is_one_chunk: bool = False,
    ) -> StoredArray:
        """Return an array with the steps of this header.

        The stored array may have more steps, appended since the header was read.

        Args:
            name: Its path.
            size: Its shape without the steps.
            said: What its attributes have to say, if they say anything.
            is_one_chunk: Whether it must be one chunk.
        """
        array = array_in(self._path, name, is_complete=self._header.complete)
        steps, found = len(self._header.checkpoints), array.shape
        if found[1:] != size or found[0] < steps:
            raise damaged(self._path, name, (steps, *size), found)
        if not isinstance(array, ChunkedArray):
            return array.limited(steps)
        if is_one_chunk and array.chunk != found:
            raise damaged(self._path, name, found, array.chunk)
        if said and array.attributes and array.attributes != {ATTRIBUTE: said}:
            raise StoreError(
                f"{self._path}: {name} is damaged: it says that it holds other pictures than the "
                "header does"
            )
        return replace(array, shape=(steps, *size), attributes={})
