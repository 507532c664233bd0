"""Picking: from a point on the screen to a plate, a texel and a weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.errors import UnknownNameError
from accweight_core.text import some
from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.camera import Vector
from accweight_viewer.model.plates import Plate
from accweight_viewer.model.runs import ShownRun


@dataclass(frozen=True)
class Pick:
    """One texel of one plate.

    Attributes:
        run: Index of the run among those shown.
        plate: Its plate.
        row: Row in the picture at level 0.
        col: Column in the picture at level 0.
        index: Index of the weight; None in a gap, or if only a mean is stored.
    """

    run: int
    plate: Plate
    row: int
    col: int

    @property
    def index(self) -> tuple[int, ...] | None:
        """Index of the weight in its parameter; None in a gap."""
        return self.plate.layout.element(self.row, self.col) if self.plate.pictured else None

    def in_state(self, later: ShownRun) -> Pick | None:
        """Return this texel in a later state of its run; None if its plate is not as it was."""
        for plate in later.plates:
            if plate.name == self.plate.name and plate.size == self.plate.size:
                return Pick(self.run, plate, self.row, self.col)
        return None

    def described(self) -> str:
        """Return the index in words, with the meaning of each number."""
        index = self.index
        if index is None:
            return "between weights" if self.plate.pictured else "no picture stored"
        axes = self.plate.parameter.axes
        names = [str(axis) for axis in axes]
        kernel = [i for i, name in enumerate(names) if name == "kernel"]
        for at, word in zip(kernel[-2:], ("row", "column")[-len(kernel) :], strict=False):
            names[at] = word
        words = [f"{name} {i}" for name, i in zip(names, index, strict=True)]
        return ", ".join([*words, *self._part()])

    def _part(self) -> list[str]:
        """Return the attention head, or the part, that the texel belongs to, if it is known."""
        marks = self.plate.layout.marks
        found = [mark.name for mark in marks if mark.contains(self.row, self.col)][:1]
        return [f"head {name}" if name[-1].isdigit() else name for name in found]


def met(
    origin: Vector, direction: Vector, places: Arrangement, nearer_hidden: int = 0
) -> tuple[int, float, float] | None:
    """Return the first plate that a ray hits, and the point: shares across and down.

    Args:
        origin: Start of the ray.
        direction: Its direction.
        places: The plates, all perpendicular to the z axis.
        nearer_hidden: Rows before this one are hidden.
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
    """Return (row, column) of the texel at shares of a plate's width and height."""
    rows, cols = plate.size
    return min(int(down * rows), rows - 1), min(int(across * cols), cols - 1)


def pick_of(runs: Sequence[ShownRun], parameter: str, index: Sequence[int]) -> Pick:
    """Return the texel of a weight, in the first run that shows its parameter.

    Raises:
        UnknownNameError: If no run shows such a parameter, or it has no such element.
    """
    for number, run in enumerate(runs):
        plate = next((plate for plate in run.plates if plate.name == parameter), None)
        if plate is not None:
            try:
                return Pick(number, plate, *plate.layout.texel(index))
            except IndexError as error:
                raise UnknownNameError(f"{parameter}: {error}") from None
    shown = [plate.name for run in runs for plate in run.plates]
    raise UnknownNameError(f"no parameter is called {parameter!r}; there are {some(shown)}")
