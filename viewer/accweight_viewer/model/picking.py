"""From a point on the screen to one weight: a ray, the plate that it meets, the texel there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.camera import Vector
from accweight_viewer.model.runs import Plate


@dataclass(frozen=True)
class Pick:
    """One texel of one plate.

    Attributes:
        run: Position of the run among those shown.
        plate: Its plate.
        row: Row in the whole picture.
        col: Column in the whole picture.
        index: The weight there; None on a gap, and where only a mean is stored.
    """

    run: int
    plate: Plate
    row: int
    col: int

    @property
    def index(self) -> tuple[int, ...] | None:
        """Index of the weight in its parameter, None on a gap between kernels."""
        return self.plate.layout.element(self.row, self.col) if self.plate.pictured else None

    def described(self) -> str:
        """Return the index in words: what each of its numbers counts."""
        index = self.index
        if index is None:
            return "between weights" if self.plate.pictured else "no picture stored"
        axes = self.plate.parameter.axes
        names = [str(axis) for axis in axes]
        kernel = [i for i, name in enumerate(names) if name == "kernel"]
        for at, word in zip(kernel[-2:], ("row", "column")[-len(kernel) :], strict=False):
            names[at] = word
        return ", ".join(f"{name} {i}" for name, i in zip(names, index, strict=True))


def met(
    origin: Vector, direction: Vector, places: Arrangement, nearer_hidden: int = 0
) -> tuple[int, float, float] | None:
    """Return the plate that a ray meets first, and where: shares across and down.

    Args:
        origin: Where the ray begins.
        direction: Where it goes.
        places: The plates, which all stand across the z axis.
        nearer_hidden: Rows before this one are not there.
    """
    if not len(places.sizes) or direction[2] == 0:
        return None
    away = (places.corners[:, 2] - origin[2]) / direction[2]
    x = origin[0] + away * direction[0] - places.corners[:, 0]
    y = places.corners[:, 1] - (origin[1] + away * direction[1])
    across, down = x / places.sizes[:, 0], y / places.sizes[:, 1]
    hit = (away > 0) & (across >= 0) & (across < 1) & (down >= 0) & (down < 1)
    hit &= places.rows >= nearer_hidden
    if not hit.any():
        return None
    first = int(np.where(hit, away, np.inf).argmin())
    return first, float(across[first]), float(down[first])


def texel_at(plate: Plate, across: float, down: float) -> tuple[int, int]:
    """Return (row, column) of the texel at a share of a plate's width and height."""
    rows, cols = plate.size
    return min(int(down * rows), rows - 1), min(int(across * cols), cols - 1)
