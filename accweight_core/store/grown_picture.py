"""The picture of a parameter over all steps of an analysis, the added ones included.

Pictures that were added later may be coarser, to fit the budget. The finest level that all steps
share is the base level of the analysis; where a part ends at a finer one, because its picture is
small there, that is pooled.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.errors import StoreError
from accweight_core.pictures.canvas import counts_of
from accweight_core.pictures.plan import Picture
from accweight_core.pictures.pyramid import coarsened
from accweight_core.pictures.tiling import whole
from accweight_core.store.array_part import Index
from accweight_core.store.header import Header
from accweight_core.store.part import Part

Taken = npt.NDArray[Any]

Gather = Callable[[range, Callable[[Part, slice], Taken]], list[Taken]]
"""Takes something of every part that holds some steps; see `Store.gathered`."""


class GrownPicture:
    """A level of a picture: (steps, rows, columns)."""

    def __init__(
        self, path: Path, header: Header, gather: Gather, index: int, level: int, plane: str
    ) -> None:
        """Create the object without reading files.

        Args:
            path: Folder of the analysis.
            header: Header of the analysis.
            gather: Takes something of every part.
            index: Index of the parameter.
            level: The level.
            plane: "mean" or "max".

        Raises:
            StoreError: If the analysis holds no pictures.
        """
        if not header.picture_bases:
            raise StoreError(f"{path}: holds no pictures")
        self.shape = len(header.checkpoints), *header.plan(index).size(level)
        self._path = path
        self._gather = gather
        self._which = index, level, plane

    def __getitem__(self, index: Index, /) -> Taken:
        """Return a part of the picture as a copy.

        Args:
            index: Positions, and slices of step 1, along the first axes.

        Raises:
            IndexError: If the index is out of range.
            StoreError: If a picture is damaged or cannot be read.
        """
        first, *within = index if isinstance(index, tuple) else (index,)
        if not isinstance(first, slice):
            at = range(self.shape[0])[operator.index(first)]
            found: Taken = self._steps(range(at, at + 1), within)[0]
            return found
        steps = range(self.shape[0])[first]
        if steps.step != 1:
            raise IndexError(f"a picture is read in steps of 1, not {steps.step}")
        return self._steps(steps, within)

    def _steps(self, steps: range, within: list[int | slice]) -> Taken:
        def take(part: Part, inside: slice) -> Taken:
            return np.asarray(level_of(part, *self._which, inside, within))

        if not len(steps):
            return np.empty((0, *self.shape[1:]), np.float32)[:, *within]
        return np.concatenate(self._gather(steps, take))


def level_of(
    part: Part,
    index: int,
    level: int,
    plane: str,
    steps: slice,
    within: list[int | slice] | None = None,
) -> Taken:
    """Return some steps of a level of a picture, pooled if the part ends at a finer level.

    Args:
        part: The part.
        index: Index of the parameter.
        level: The level.
        plane: "mean" or "max".
        steps: Positions within the part.
        within: Index along rows and columns; all by default.

    Raises:
        StoreError: If the part has only coarser levels.
    """
    rest = within or []
    if not part.header.picture_bases:
        raise StoreError(f"{part.path}: holds no pictures")
    levels = part.header.plan(index).levels
    if level in levels:
        found: Taken = part.picture_array(index, level, plane)[steps, *rest]
        return found
    if level < levels.start:
        raise StoreError(
            f"{part.path}: pictures have become coarser since the analysis was opened; "
            "open it again"
        )
    return _pooled(part, index, level, steps)[plane == "max"][:, *rest]


def _pooled(part: Part, index: int, level: int, steps: slice) -> list[Picture]:
    """Return mean and maximum at a level that is coarser than all stored ones."""
    last, layout = part.header.plan(index).levels[-1], part.header.layouts[index]
    mean = part.picture(index, last, "mean", steps)
    largest = part.picture(index, last, "max", steps) if last else mean
    counts = counts_of(layout, last, whole(layout, last).first)
    return coarsened(mean, largest, counts, level - last)
