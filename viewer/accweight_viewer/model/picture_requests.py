"""One region of one picture at one step: what is asked for, and how it becomes colours.

A request holds all that the result depends on, so that equal requests have equal results and
what arrives late is known to be late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from accweight_viewer.model.colours import ColourScale, Entries
from accweight_viewer.model.runs import Plate, PlateSource
from accweight_viewer.model.settings import Plane
from accweight_viewer.model.viewport2d import Region


@dataclass(frozen=True, eq=False)
class PictureRequest:
    """A region to read, and how values become entries of a colour map.

    Plates are compared by number and scales by their range: what both hold besides is large,
    and the colours themselves are looked up later.

    Attributes:
        source: The run, or the difference.
        plate: The picture.
        region: Which texels.
        plane: Mean or maximum.
        position: Which checkpoint.
        unit: Factor from texels to normalised changes.
        scale: From normalised changes to entries.
    """

    source: PlateSource
    plate: Plate
    region: Region
    plane: Plane
    position: int
    unit: float
    scale: ColourScale

    @property
    def _look(self) -> tuple[Any, ...]:
        """All that the result depends on but place and time."""
        scale = self.scale
        curve = scale.logarithmic, scale.low, scale.high, scale.signed
        return self.source, self.plate.number, self.plane, self.unit, curve

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.region, self.position, self._look

    def __eq__(self, other: object) -> bool:
        """Tell whether both have the same result."""
        return isinstance(other, PictureRequest) and self._key == other._key

    def __hash__(self) -> int:
        """Return a number that equal requests share."""
        return hash(self._key)

    def alike(self, other: PictureRequest) -> bool:
        """Tell whether both look the same but for place and time."""
        return self._look == other._look

    def read(self) -> Entries:
        """Return (rows, columns) of entries, 255 for gaps.

        Raises:
            StoreError: If the picture is damaged.
        """
        at = slice(self.position, self.position + 1)
        rows, cols = self.region.slices
        texels = self.source.texels(self.plate, self.region.level, self.plane, at, rows, cols)[0]
        return self.scale.entries(texels * np.float32(self.unit))
