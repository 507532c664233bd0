"""Stored values of one texel: at one step, over time, and the difference of two runs."""

from __future__ import annotations

from dataclasses import dataclass

from accweight_viewer.model.difference import Difference
from accweight_viewer.model.plates import Plate, PlateSource, Texels
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.settings import Scope
from accweight_viewer.model.unit_values import UnitValues


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


@dataclass(frozen=True)
class TexelUnit:
    """The unit that a texel belongs to, and its value at one step; NaN if it has none.

    Attributes:
        value: Its value.
        normalised: Share of the scale.
        unit: Name of the unit.
        called: What its values are.
        scope: What it is a share of: the largest value of its layer, or of all.
    """

    value: float
    normalised: float
    unit: str
    called: str
    scope: Scope = "layer"


AnyValue = TexelValue | TexelDifference | TexelUnit


def value_at(
    source: PlateSource, plate: Plate, position: int, row: int, col: int, scope: Scope
) -> AnyValue | None:
    """Return the stored value of a texel of a run, of a difference, or of a unit."""
    if isinstance(source, UnitValues):
        return texel_unit(source, plate, position, row, col, scope)
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


def texel_unit(
    units: UnitValues, plate: Plate, position: int, row: int, col: int, scope: Scope
) -> TexelUnit | None:
    """Return the value of the unit of a texel; None in a gap."""
    unit = units.unit_at(plate, row, col)
    if unit is None:
        return None
    value = float(units.series(plate, unit)[position])
    share = units.normalised(plate, value, scope)
    return TexelUnit(value, share, units.name_of(unit), units.array.of_units, scope)


def texel_series(run: ShownRun, plate: Plate, row: int, col: int) -> Texels:
    """Return (steps,) of cumulative change at the finest stored level."""
    values = run.values(plate, plate.finest, "mean", slice(None), *_at(row, col, plate.finest))
    series: Texels = values[:, 0, 0]
    return series


def _at(row: int, col: int, level: int) -> tuple[slice, slice]:
    return slice(row >> level, (row >> level) + 1), slice(col >> level, (col >> level) + 1)
