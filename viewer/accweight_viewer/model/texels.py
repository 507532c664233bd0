"""Stored values of one texel: at one step, over time, and the difference of two runs."""

from __future__ import annotations

from dataclasses import dataclass

from accweight_viewer.model.difference import Difference
from accweight_viewer.model.plates import Plate, PlateSource, Texels
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.settings import Scope


@dataclass(frozen=True)
class TexelValue:
    """One texel at one step; NaN on a gap.

    Attributes:
        value: Cumulative change; the mean if the texel covers several weights.
        largest: Their maximum.
        normalised: Share of the scale.
        side: Weights along each side of the square that it covers; 0 for all weights.
        scope: What it is a share of: the largest change of its layer, or of all.
    """

    value: float
    largest: float
    normalised: float
    side: int
    scope: Scope = "layer"


@dataclass(frozen=True)
class TexelDifference:
    """One texel of a difference at one step: normalised changes; NaN on a gap."""

    first: float
    second: float
    normalised: float

    @property
    def value(self) -> float:
        """The difference, under the same name as in `TexelValue`."""
        return self.normalised


def value_at(
    source: PlateSource, plate: Plate, position: int, row: int, col: int, scope: Scope
) -> TexelValue | TexelDifference | None:
    """Return the stored value of a texel of a run or a difference."""
    if isinstance(source, Difference):
        return texel_difference(source, plate, position, row, col)
    if isinstance(source, ShownRun):
        return texel_value(source, plate, position, row, col, scope)
    return None


def texel_value(
    run: ShownRun, plate: Plate, position: int, row: int, col: int, scope: Scope
) -> TexelValue:
    """Return the stored value of the texel at (row, column) of level 0."""
    level = plate.finest
    at = slice(position, position + 1), *_at(row, col, level)
    value = float(run.values(plate, level, "mean", *at)[0, 0, 0])
    pooled = level > 0 or not plate.pictured
    largest = float(run.values(plate, level, "max", *at)[0, 0, 0]) if pooled else value
    scale = run.scale(plate, scope)
    side = 1 << level if plate.pictured else 0
    normalised = value / scale if scale > 0 else 0.0 * value
    return TexelValue(value, largest, normalised, side, scope)


def texel_difference(
    difference: Difference, plate: Plate, position: int, row: int, col: int
) -> TexelDifference:
    """Return the difference at a texel, and its two terms."""
    level = plate.finest
    at = slice(position, position + 1), *_at(row, col, level)
    value = float(difference.texels(plate, level, "mean", *at)[0, 0, 0])
    own = difference.first.plates[plate.number]
    share = float(difference.first.texels(own, level, "mean", *at)[0, 0, 0])
    first = share * difference.units(plate)[0]
    return TexelDifference(first, first - value, value)


def texel_series(run: ShownRun, plate: Plate, row: int, col: int) -> Texels:
    """Return (steps,) of cumulative change at the finest stored level."""
    values = run.values(plate, plate.finest, "mean", slice(None), *_at(row, col, plate.finest))
    series: Texels = values[:, 0, 0]
    return series


def _at(row: int, col: int, level: int) -> tuple[slice, slice]:
    return slice(row >> level, (row >> level) + 1), slice(col >> level, (col >> level) + 1)
