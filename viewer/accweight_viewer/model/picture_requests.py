"""Requests for one region of one picture at one step, as colour indices.

A request contains everything that its result depends on, so that equal requests have equal results,
and outdated results can be recognised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from accweight_core.analysis.finiteness import Mask
from accweight_core.colours.scale import ColourScale, Entries
from accweight_viewer.model.plates import Plate, PlateSource
from accweight_viewer.model.settings import Plane
from accweight_viewer.model.viewport2d import Region


class Drawn(NamedTuple):
    """What is drawn of a region.

    Attributes:
        entries: (rows, columns) of colour indices, 255 for gaps.
        broken: (rows, columns) where a texel has a weight that is not finite; None for nowhere.
    """

    entries: Entries
    broken: Mask | None = None


@dataclass(frozen=True, eq=False)
class PictureRequest:
    """A region to read, and the mapping from values to colour indices.

    Plates are compared by number and scales by their range: comparing all their contents would be
    slow, and colours are looked up later.

    Attributes:
        source: The run, or the difference.
        plate: The plate.
        region: The region.
        plane: Mean or maximum.
        position: Index of the checkpoint.
        unit: Factor from texels to normalised changes.
        scale: Mapping from normalised changes to colour indices.
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
        """Everything that the result depends on, except region and time."""
        scale = self.scale
        curve = scale.logarithmic, scale.low, scale.high, scale.signed
        source = self.source, self.source.revision
        return *source, self.plate.number, self.plane, self.unit, curve

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.region, self.position, self._look

    def __eq__(self, other: object) -> bool:
        """Tell whether both requests have the same result."""
        return isinstance(other, PictureRequest) and self._key == other._key

    def __hash__(self) -> int:
        """Return a hash of the key."""
        return hash(self._key)

    def alike(self, other: PictureRequest) -> bool:
        """Tell whether both requests differ only in region and time."""
        return self._look == other._look

    def read(self) -> Drawn:
        """Return what is drawn.

        Raises:
            StoreError: If the picture is damaged.
        """
        at = slice(self.position, self.position + 1)
        rows, cols = self.region.slices
        texels = self.source.texels(self.plate, self.region.level, self.plane, at, rows, cols)[0]
        broken = np.isinf(texels)
        entries = self.scale.entries(np.where(broken, 0, texels) * np.float32(self.unit))
        return Drawn(entries, broken if broken.any() else None)
