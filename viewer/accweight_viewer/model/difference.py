"""The difference of two runs: where the first has moved more, and where the second has.

On a common scale, the larger one of both, a run that moved ten times as far is seen to. On scales
of their own, runs of different length and learning rate are compared by where they moved, not by
how much. Layers and parameters are matched by name and shape; pictures use levels that both have.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from accweight_core.pictures.plan import PicturePlan
from accweight_viewer.model.plates import NONFINITE, Plate, ShownLayer, Texels
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.settings import DifferenceScale, Plane, Scope


class Difference:
    """Normalised change of the first run minus that of the second.

    Attributes:
        first: Run with positive sign: positive where it has moved more.
        second: Run with negative sign.
        steps: Steps of the first run; of the second, the last checkpoint up to each is used.
    """

    signed = True

    def __init__(
        self,
        first: ShownRun,
        second: ShownRun,
        scope: Scope,
        scale: DifferenceScale = "common",
    ) -> None:
        self.first = first
        self.second = second
        self.scope: Scope = scope
        self.scale: DifferenceScale = scale
        self.name = f"{first.name} - {second.name}"
        self.steps: npt.NDArray[np.int64] = first.steps
        self._partner = {
            plate.name: plate for plate in second.plates if plate.ready and plate.pictured
        }
        self._at = np.array([second.position_at(int(step)) for step in first.steps])
        self.layers = tuple(self._layer(layer) for layer in first.layers)
        self.plates = tuple(plate for layer in self.layers for plate in layer.plates)

    def _layer(self, layer: ShownLayer) -> ShownLayer:
        return replace(layer, plates=tuple(self._plate(plate) for plate in layer.plates))

    def _plate(self, plate: Plate) -> Plate:
        partner = self._partner.get(plate.name)
        if partner is None or partner.parameter.shape != plate.parameter.shape:
            return replace(plate, ready=False, peak=0.0)
        if partner.layout != plate.layout or not plate.pictured:
            return replace(plate, ready=False, peak=0.0)
        base = max(plate.finest, partner.finest)
        if base > min(plate.coarsest, partner.coarsest):  # no common stored level
            return replace(plate, ready=False, peak=0.0)
        plan = PicturePlan(plate.layout, base, len(self.steps))
        return replace(plate, plan=plan, peak=1.0)

    def units(self, plate: Plate) -> tuple[float, float]:
        """Return the factors from texels of each run to normalised changes."""
        own, partner = self.first.plates[plate.number], self._partner[plate.name]
        if self.scale == "own":
            return self.first.unit(own, self.scope), self.second.unit(partner, self.scope)
        largest = max(self.first.scale(own, self.scope), self.second.scale(partner, self.scope))
        return (own.peak / largest, partner.peak / largest) if largest > 0 else (0.0, 0.0)

    @property
    def revision(self) -> int:
        """A number that changes with the pictures."""
        return self.first.revision + self.second.revision

    def unit(self, plate: Plate, scope: Scope) -> float:
        """Return 1: differences are normalised already."""
        return 1.0

    def plane_of(self, plate: Plate, plane: Plane) -> Plane:
        """Return "mean" or "max": what a texel of several weights shows."""
        own = self.first.plates[plate.number]
        return self.first.plane_of(own, plane)

    def texels(
        self, plate: Plate, level: int, plane: Plane, steps: slice, rows: slice, cols: slice
    ) -> Texels:
        """Return (steps, rows, columns) of the difference; NaN for gaps."""
        partner = self._partner[plate.name]
        own, plane = self.first.plates[plate.number], self.plane_of(plate, plane)
        ours = self.first.texels(own, level, plane, steps, rows, cols)
        at = self._at[steps]
        span = slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0)
        theirs = self.second.texels(partner, level, plane, span, rows, cols)[at - span.start]
        with np.errstate(invalid="ignore"):  # infinity minus infinity, and times 0
            unit, other = self.units(plate)
            difference: Texels = ours * np.float32(unit) - theirs * np.float32(other)
        difference[np.isinf(ours) | np.isinf(theirs)] = NONFINITE
        return difference
