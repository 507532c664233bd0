"""One part of one picture at one step, from wish to entries of a colour table.

A wish says all that the result depends on, so that equal wishes have equal results and what
arrives late is known to be late.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from accweight_viewer.model.colours import ColourScale
from accweight_viewer.model.runs import Plate, Source
from accweight_viewer.model.settings import Plane
from accweight_viewer.model.viewport2d import Part

Entries = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PartWish:
    """A part to read, and how values become entries.

    Attributes:
        source: The run, or the difference.
        plate: The picture.
        part: Which texels.
        plane: Mean or maximum.
        position: Which checkpoint.
        unit: Factor from texels to normalised changes.
        scale: From normalised changes to entries; of its colours nothing is used.
    """

    source: Source
    plate: Plate = field(compare=False)
    part: Part
    plane: Plane
    position: int
    unit: float
    scale: ColourScale = field(compare=False)
    _number: int = -1
    _curve: tuple[bool, float, float, bool] = (False, 0.0, 0.0, False)

    def __post_init__(self) -> None:
        """Fill in what plate and scale are compared by."""
        scale = self.scale
        curve = (scale.logarithmic, scale.low, scale.high, scale.signed)
        object.__setattr__(self, "_number", self.plate.number)
        object.__setattr__(self, "_curve", curve)

    def alike(self, other: PartWish) -> bool:
        """Tell whether both look the same but for place and time."""
        return replace(self, part=other.part, position=other.position) == other

    def read(self) -> Entries:
        """Return (rows, columns) of entries, 255 for gaps.

        Raises:
            StoreError: If the picture is damaged.
        """
        at = slice(self.position, self.position + 1)
        rows, cols = self.part.slices
        texels = self.source.texels(self.plate, self.part.level, self.plane, at, rows, cols)[0]
        return self.scale.entries(texels * np.float32(self.unit))
