"""Pyramids: the levels of a picture side by side in one sheet of (steps, texels).

At every step lies each plane of each level, row by row, finest first. A folder and two files for
each plane took longer than drawing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from accweight_core.jit.tiers import halve, halve_levels
from accweight_core.pictures.plan import Picture, PicturePlan


@dataclass(frozen=True)
class Plane:
    """One plane of a level in a sheet.

    Attributes:
        level: The level.
        name: "mean" or "max"; level 0 has only a mean.
        first: Its first texel.
        rows: Height.
        cols: Width.
    """

    level: int
    name: str
    first: int
    rows: int
    cols: int

    @property
    def end(self) -> int:
        """The texel after its last one."""
        return self.first + self.rows * self.cols

    def of(self, sheet: Picture) -> Picture:
        """Return the plane, a view of (steps, rows, columns) of a sheet of (steps, texels)."""
        return sheet[:, self.first : self.end].reshape(len(sheet), self.rows, self.cols)


@dataclass(frozen=True)
class Pyramid:
    """Where the planes of some levels of a picture lie in a sheet.

    Attributes:
        plan: The plan of the picture.
        levels: The levels, finest first.
    """

    plan: PicturePlan
    levels: range

    @cached_property
    def planes(self) -> tuple[Plane, ...]:
        """All planes: the mean of a level before its maximum."""
        found: list[Plane] = []
        for level in self.levels:
            for name in planes_of(level):
                first = found[-1].end if found else 0
                found.append(Plane(level, name, first, *self.plan.size(level)))
        return tuple(found)

    @property
    def texels(self) -> int:
        """Texels of all planes."""
        return self.planes[-1].end if self.planes else 0

    def plane(self, level: int, name: str) -> Plane | None:
        """Return one plane; None if it is not among them."""
        return next((p for p in self.planes if (p.level, p.name) == (level, name)), None)

    def attributes(self, index: int, name: str) -> dict[str, Any]:
        """Return the attributes of an array, which say where each plane lies.

        Args:
            index: Index of the parameter.
            name: Its name.
        """
        return {
            "parameter": name,
            "index": index,
            "levels": [plane.level for plane in self.planes],
            "planes": [plane.name for plane in self.planes],
            "first_texels": [plane.first for plane in self.planes],
            "rows": [plane.rows for plane in self.planes],
            "columns": [plane.cols for plane in self.planes],
        }

    def pool(self, sheet: Picture, counts: Picture) -> None:
        """Fill all levels of a sheet but the finest from it.

        Args:
            sheet: (steps, texels).
            counts: (rows, columns) number of elements per texel of the finest level.
        """
        firsts = {(plane.level, plane.name): plane.first for plane in self.planes}
        names = [planes_of(level) for level in self.levels]
        halve_levels(
            sheet,
            [
                (firsts[at, n[0]], firsts[at, n[-1]])
                for at, n in zip(self.levels, names, strict=True)
            ],
            [self.plan.size(level) for level in self.levels],
            counts,
        )


def planes_of(level: int) -> Sequence[str]:
    """Return the names of the planes of a level."""
    return ("mean", "max") if level else ("mean",)


def coarsened(mean: Picture, largest: Picture, counts: Picture, levels: int) -> list[Picture]:
    """Return mean and maximum of a picture that many levels coarser.

    Args:
        mean: (steps, rows, columns) mean per texel, NaN where there is no element.
        largest: Same shape, maximum per texel.
        counts: (rows, columns) number of elements per texel.
        levels: Number of levels.
    """
    mean, largest, counts = map(np.ascontiguousarray, (mean, largest, counts))
    for _ in range(levels):
        size = (len(mean), *(-(-length // 2) for length in counts.shape))
        half, top = (np.empty(size, np.float32) for _ in range(2))
        counts = halve(mean, largest, counts, half, top)
        mean, largest = half, top
    return [mean, largest]
