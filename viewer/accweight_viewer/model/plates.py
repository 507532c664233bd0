"""Plates: pictures of parameters, the layers they are of, and where their texels come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from accweight_core.pictures.plan import PicturePlan
from accweight_core.pictures.texel_map import Layout
from accweight_core.schema import Kind, Parameter
from accweight_viewer.model.settings import Plane, Scope

Texels = npt.NDArray[np.float32]

NONFINITE = np.float32(np.inf)
"""Value of a texel with a weight that is not finite; cumulative change itself never is infinite."""


@dataclass(frozen=True)
class Plate:
    """The picture of one parameter.

    Attributes:
        number: Index among the plates of the run.
        index: Index of the parameter in the analysis.
        layer: Index of the layer among those shown.
        parameter: The parameter.
        layout: Mapping between texels and elements.
        plan: Its stored levels. Without a stored picture, one texel: the mean.
        pictured: Whether a picture is stored.
        ready: Whether its numbers and picture are complete.
        peak: Largest cumulative change at the last step; 0 if it is not ready.
    """

    number: int
    index: int
    layer: int
    parameter: Parameter
    layout: Layout
    plan: PicturePlan
    pictured: bool
    ready: bool
    peak: float

    @property
    def name(self) -> str:
        """Name of the parameter."""
        return self.parameter.name

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of the picture at level 0."""
        return max(self.layout.rows, 1), max(self.layout.cols, 1)

    @property
    def finest(self) -> int:
        """Finest stored level; at level 0 every weight has a texel of its own."""
        return self.plan.levels[0]

    @property
    def coarsest(self) -> int:
        """Coarsest level: the whole picture within 64 texels."""
        return self.plan.levels[-1]


@dataclass(frozen=True)
class ShownLayer:
    """One layer of a run.

    Attributes:
        position: Index in network order.
        name: Its name.
        kind: Its kind.
        plates: Plates of its parameters.
        elements: Number of weights included in its metrics.
    """

    position: int
    name: str
    kind: Kind
    plates: tuple[Plate, ...]
    elements: int

    @property
    def shape(self) -> str:
        """Shapes of its parameters as text, such as 32x16x3x3."""
        return " + ".join("x".join(map(str, p.parameter.shape)) or "scalar" for p in self.plates)


class PlateSource(Protocol):
    """A source of plates: a run, or the difference of two."""

    signed: bool

    @property
    def revision(self) -> int:
        """A number that changes with the pictures."""

    @property
    def name(self) -> str:
        """Its name on the screen."""

    @property
    def layers(self) -> tuple[ShownLayer, ...]:
        """Layers in network order."""

    @property
    def plates(self) -> tuple[Plate, ...]:
        """All plates, by number."""

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps, ascending."""

    def texels(
        self, plate: Plate, level: int, plane: Plane, steps: slice, rows: slice, cols: slice
    ) -> Texels:
        """Return (steps, rows, columns) of a level, as shares of `unit`; NaN for gaps."""

    def unit(self, plate: Plate, scope: Scope) -> float:
        """Return the factor from texels to normalised changes."""

    def plane_of(self, plate: Plate, plane: Plane) -> Plane:
        """Return "mean" or "max": what a texel of several weights shows."""
