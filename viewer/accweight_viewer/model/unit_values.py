"""Values of units as the colours of plates: what a unit does, instead of how far its weights moved.

All weights of a unit have its value: of a convolution the kernels of an output channel, of a dense
layer the row of an output, of a recurrent layer the rows of all gates. Parameters that the probe
knows nothing of are blank.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.totals import Floats
from accweight_core.pictures.texel_map import Layout
from accweight_core.probes.unit_weights import units_along
from accweight_core.schema import Axis, Layer
from accweight_viewer.model.found import FoundArray, measured_place
from accweight_viewer.model.plates import Plate, ShownLayer, Texels
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.settings import Plane, Scope

NOWHERE = -1
"""Unit of a gap."""


class UnitValues:
    """One array of (step, layer, unit) as a source of plates.

    Attributes:
        run: The run whose plates are shown.
        array: The array.
        revision: A number that changes with the values: when another step was probed.
        signed: Whether some values are below 0.
        largest: Its largest absolute value, at all steps.
    """

    def __init__(self, run: ShownRun, array: FoundArray) -> None:
        self.run = run
        self.array = array
        self.name = run.name
        self.revision = hash((array.result.path, *array.result.steps.tolist()))
        self.steps: npt.NDArray[np.int64] = run.steps
        self._values: Floats = array.result.array(array.array).astype(np.float64)
        self._places = [measured_place(array.result.steps, int(step)) for step in run.steps]
        known = self._values[np.isfinite(self._values)]
        self.signed = bool(known.min(initial=0.0) < 0)
        self.largest = float(np.abs(known).max(initial=0.0))
        self._rows = {name: at for at, name in enumerate(array.result.layers_of_run)}
        self._units = lru_cache(maxsize=256)(_units_of)
        self._counts = [_count(values) for values in np.moveaxis(self._values, 1, 0)]

    @cached_property
    def layers(self) -> tuple[ShownLayer, ...]:
        """Layers in network order."""
        return tuple(
            replace(layer, plates=tuple(self._plate(plate, layer) for plate in layer.plates))
            for layer in self.run.layers
        )

    @cached_property
    def plates(self) -> tuple[Plate, ...]:
        """All plates, by number."""
        return tuple(plate for layer in self.layers for plate in layer.plates)

    def _plate(self, plate: Plate, layer: ShownLayer) -> Plate:
        known = self._along(plate, layer) is not None
        return replace(plate, ready=known, peak=1.0 if known else 0.0)

    def _along(self, plate: Plate, layer: ShownLayer) -> npt.NDArray[np.int64] | None:
        """Return the unit of each index of a parameter along its outputs; None if none is told."""
        row, axis = self._rows.get(layer.name), _unit_axis(plate)
        if row is None or axis is None or not self._counts[row]:
            return None
        whole = Layer(layer.name, layer.kind, tuple(one.parameter for one in layer.plates))
        return units_along(whole, plate.parameter, axis, self._counts[row])

    def _most(self, plate: Plate) -> float:
        row = self._rows.get(self.run.layers[plate.layer].name)
        values = np.abs(self._values[:, row]) if row is not None else np.zeros(0)
        return float(values[np.isfinite(values)].max(initial=0.0))

    def unit(self, plate: Plate, scope: Scope) -> float:
        """Return 1 for colours of each layer, else its share of the largest value of all."""
        if scope == "layer" or self.largest == 0:
            return 1.0
        return self._most(plate) / self.largest

    def unit_at(self, plate: Plate, row: int, col: int) -> int | None:
        """Return the unit that the weight of a texel is of; None in a gap, or if it is not known.

        Args:
            plate: A plate of the run, or of these values.
            row: Row in the picture at level 0.
            col: Column in the picture at level 0.
        """
        axis = _unit_axis(plate)
        index = plate.layout.element(row, col) if plate.pictured else None
        if axis is None or index is None or not self.plates[plate.number].ready:
            return None
        return int(index[axis])

    def name_of(self, unit: int) -> str:
        """Return what a unit is called: its number, unless the probe names units."""
        names = self.array.result.labels("unit")
        return names[unit] if unit < len(names) else str(unit)

    def series(self, plate: Plate, unit: int) -> Floats:
        """Return (steps,) the values of a unit at the steps of the run.

        At steps that were not probed it is the value of the last step that was.
        """
        row = self._rows[self.run.layers[plate.layer].name]
        found: Floats = self._values[self._places, row, unit]
        return found

    def normalised(self, plate: Plate, value: float, scope: Scope) -> float:
        """Return a value as a share of the largest of its layer, or of all."""
        most = self._most(plate) if scope == "layer" else self.largest
        return value / most if most > 0 else 0.0 * value

    def plane_of(self, plate: Plate, plane: Plane) -> Plane:
        """Return "max": all weights of a unit have one value, whatever a texel covers."""
        return "max"

    def texels(
        self, plate: Plate, level: int, plane: Plane, steps: slice, rows: slice, cols: slice
    ) -> Texels:
        """Return (steps, rows, columns) of a level, as shares of the layer's largest value."""
        axis = _unit_axis(plate)
        row = self._rows[self.run.layers[plate.layer].name]
        most = self._most(plate) or 1.0
        high, wide = plate.plan.size(level)
        along = self._along(plate, self.run.layers[plate.layer])
        places = self._units(plate.layout, axis or 0, level, high, wide)[rows, cols]
        units = places if along is None else np.append(along, NOWHERE)[places]
        found = []
        for position in range(len(self.steps))[steps]:
            values = np.append(self._values[self._places[position], row] / most, np.nan)
            found.append(values[units])  # the unit -1 is the NaN at the end
        return np.stack(found).astype(np.float32)


def _count(values: Floats) -> int:
    """Return the number of units of a layer.

    Args:
        values: (steps, units), NaN beyond its last one.
    """
    units = np.flatnonzero(np.isfinite(values).any(axis=0))
    return int(units[-1]) + 1 if len(units) else 0


def _unit_axis(plate: Plate) -> int | None:
    """Return the axis of a parameter along which its units are; None if it has none."""
    axes = plate.parameter.axes
    outputs = [at for at, axis in enumerate(axes) if axis is Axis.OUTPUT]
    if outputs:
        return outputs[0]
    return 0 if len(axes) == 1 else None


def _units_of(layout: Layout, axis: int, level: int, high: int, wide: int) -> npt.NDArray[np.int64]:
    """Return (rows, columns) of a level: the unit of each texel, `NOWHERE` for gaps.

    A texel of a coarser level has the unit in the middle of what it covers.
    """
    side = 1 << level
    index = [np.zeros((high, wide), np.int64) for _ in layout.shape]
    row = np.minimum(np.arange(high) * side + side // 2, layout.rows - 1)[:, None]
    col = np.minimum(np.arange(wide) * side + side // 2, layout.cols - 1)[None, :]
    left_row = np.broadcast_to(row, (high, wide)).copy()
    left_col = np.broadcast_to(col, (high, wide)).copy()
    known = np.ones((high, wide), bool)
    for digit in sorted(layout.digits, key=lambda one: -(one.row_step + one.col_step)):
        step, left = (digit.row_step, left_row) if digit.row_step else (digit.col_step, left_col)
        value, left[:] = np.divmod(left, step)
        known &= value < digit.base
        order = np.argsort(digit.order) if digit.order else np.arange(digit.base)
        index[digit.axis] += order[np.minimum(value, digit.base - 1)] * digit.divisor
    if level == 0:
        known &= (left_row == 0) & (left_col == 0)
    for at, length in enumerate(layout.shape):
        known &= index[at] < length
    return np.where(known, index[axis], NOWHERE)
