"""An analysis as the viewer shows it: layers with plates, metrics over time, texels.

The analysis may still be growing. A `ShownRun` is one consistent state of it: a plate is ready once
its parameter is finished, and `ShownRun.refreshed` returns a later state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.probe_metrics import (
    is_probe_metric,
    probe_measures,
    probe_metric,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.summary import Measured, measured
from accweight_core.errors import AccweightError, StoreError
from accweight_core.io.stamp import stamp_if_there
from accweight_core.metrics.totals import Floats
from accweight_core.pictures.plan import PicturePlan
from accweight_core.pictures.texel_map import Layout
from accweight_core.schema import Stamp
from accweight_core.store.array_part import StoredArray
from accweight_core.store.beside import name_of
from accweight_core.store.header import Header
from accweight_core.store.restarts import next_of
from accweight_viewer.model.found import FoundStamps, found_stamps, results_of
from accweight_viewer.model.nonfinite import (
    Counts,
    FirstNonFinite,
    MaskRequest,
    Masks,
    first_nonfinite,
)
from accweight_viewer.model.plates import NONFINITE, Plate, ShownLayer, Texels
from accweight_viewer.model.settings import Plane, Scope

SPARSE = 2.5
"""Standard deviation over mean of a parameter's changes from which its mean hides how it moved.

A fiftieth of its rows, which alone have moved, give 7; an exponential distribution gives 1.
"""

MOST_ARRAYS = 512
"""Stored levels whose metadata are kept."""


class ShownRun:
    """One state of a stored analysis.

    Attributes:
        analysis: The analysis, complete or growing.
        name: Its name on the screen.
        following: Folder of the analysis that goes on from it, as its job was restarted, or None.
        masks: Which weights are not finite.
        signed: False: cumulative change is never negative.
    """

    signed = False

    def __init__(self, path: Path) -> None:
        self._stamps, self._found = _stamps(path), found_stamps(path)
        self._state = object()
        self.path = path
        self.analysis = Analysis.open(path, unfinished=True)
        self.name = name_of(path)
        self.masks = Masks()
        store = self.analysis.store
        if store is None:
            raise StoreError(f"{path}: the viewer needs a stored analysis")
        self._store = store
        self.following = self._now_following()
        _ = self.analysis.values  # read once: later values may not match this header

    def __eq__(self, other: object) -> bool:
        """Tell whether both have the same numbers and pictures, whatever probes have found."""
        return isinstance(other, ShownRun) and self._state is other._state

    def __hash__(self) -> int:
        """Return a hash of what is compared."""
        return hash(self._state)

    @property
    def header(self) -> Header:
        """The run, its parameters, and how the analysis was made."""
        return self.analysis.header

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps, ascending."""
        return self.header.steps

    @property
    def complete(self) -> bool:
        """Whether every parameter is finished."""
        return self.header.complete

    @property
    def measures(self) -> Mapping[str, Floats]:
        """Loss, accuracy and the like over steps, of checkpoints and of probes."""
        return {**self.header.measures, **probe_measures(self.results, self.steps)}

    @cached_property
    def results(self) -> Mapping[str, ProbeResult]:
        """What probes have found, by name."""
        return results_of(self.analysis.probes)

    def refreshed(self) -> ShownRun | None:
        """Return the present state on disk, or None if it is unchanged or unreadable.

        Files may be missing for a moment while an analysis is replaced by another one. If only
        probes have found something, a graph was stored, or another analysis now goes on from it,
        everything else is kept.
        """
        try:
            if _stamps(self.path) != self._stamps or self._store.has_grown():
                return ShownRun(self.path).prepared()
            found, following = found_stamps(self.path), self._now_following()
            if (found, following) == (self._found, self.following):
                return None
            later = self._with_found(found)
            later.following = following
            return later
        except (StoreError, OSError):
            return None

    def is_of_another_run(self, before: ShownRun) -> bool:
        """Tell whether another run is there since: other layers, or steps that are gone.

        Args:
            before: An earlier state of what is at the same path.
        """
        same = [layer.name for layer in before.layers] == [layer.name for layer in self.layers]
        return not same or not set(before.steps.tolist()) <= set(self.steps.tolist())

    def _now_following(self) -> Path | None:
        return next_of(self.path, self.header) if self.complete else None

    def _with_found(self, found: FoundStamps) -> ShownRun:
        """Return this run with what was found since; results that are the same are kept."""
        later = copy(self)
        later._found = found
        same = {folder for folder, stamp in found.items() if self._found.get(folder) == stamp}
        kept = {one.path: one for one in self.results.values() if one.path in same}
        later.__dict__["results"] = results_of(self.analysis.probes, kept)
        return later

    def prepared(self) -> ShownRun:
        """Return this run with everything computed that is shown first."""
        _ = self.plates, self.measured, self.layer_largest
        return self

    @cached_property
    def layers(self) -> tuple[ShownLayer, ...]:
        """Shown layers in network order."""
        position = {p.name: index for index, p in enumerate(self.header.parameters)}
        layers: list[ShownLayer] = []
        number = 0
        for row in self.measured:
            plates = []
            for index in sorted(position[parameter.name] for parameter in row.parameters):
                plates.append(self._plate(number, index, len(layers)))
                number += 1
            layers.append(ShownLayer(len(layers), row.name, row.kind, tuple(plates), row.elements))
        return tuple(layers)

    @cached_property
    def plates(self) -> tuple[Plate, ...]:
        """All plates in network order."""
        return tuple(plate for layer in self.layers for plate in layer.plates)

    def _plate(self, number: int, index: int, layer: int) -> Plate:
        header = self.header
        pictured = bool(header.picture_bases) and header.layouts[index].elements > 0
        layout = header.layouts[index]
        plan = header.plan(index) if pictured else _single_texel(layout, len(self.steps))
        numbers = self.parameter_metrics[index]
        ready = numbers.totals.are_known
        peak = float(numbers.metrics["max"][-1]) if ready else 0.0
        return Plate(
            number, index, layer, header.parameters[index], layout, plan, pictured, ready, peak
        )

    @cached_property
    def measured(self) -> Sequence[Measured]:
        """Metrics of the shown layers."""
        return measured(self.header, self.analysis.values)

    @cached_property
    def parameter_metrics(self) -> Mapping[int, Measured]:
        """Metrics of the shown parameters, by position in the analysis."""
        position = {p.name: index for index, p in enumerate(self.header.parameters)}
        rows = measured(self.header, self.analysis.values, "parameter")
        return {position[row.name]: row for row in rows}

    def metric(self, name: str) -> Floats:
        """Return (layers, steps) of one metric, with NaN for missing values.

        Unfinished layers have none, nor has any layer if the analysis lacks the sums.
        """
        if not self.measured:
            return np.empty((0, len(self.steps)))
        unknown = np.full(len(self.steps), np.nan)
        if is_probe_metric(name):
            with suppress(AccweightError):
                found = probe_metric(self.results, name, self.steps).by_layer
                return np.stack([found.get(layer.name, unknown) for layer in self.layers])
            return np.stack([unknown for _ in self.layers])
        return np.stack([row.metrics.get(name, unknown) for row in self.measured])

    @cached_property
    def largest(self) -> float:
        """M: the largest cumulative change of all ready plates."""
        return max((plate.peak for plate in self.plates), default=0.0)

    @cached_property
    def layer_largest(self) -> Floats:
        """(layers,) the largest cumulative change of the ready plates of each layer.

        Unfinished layers are included: their ready plates would otherwise look unmoved.
        """
        return np.array([max(plate.peak for plate in layer.plates) for layer in self.layers])

    def plane_of(self, plate: Plate, plane: Plane) -> Plane:
        """Return "mean" or "max": what a texel of several weights shows.

        Automatically it is the maximum where few weights have moved far, as in the rows of an
        embedding: their mean would look as if nothing had moved.
        """
        if plane != "auto":
            return plane
        metrics = self.parameter_metrics[plate.index].metrics
        mean, deviation = (float(metrics[name][-1]) for name in ("mean", "std"))
        return "max" if deviation > SPARSE * mean > 0 else "mean"

    def scale(self, plate: Plate, scope: Scope) -> float:
        """Return M, the divisor for normalised changes."""
        return self.largest if scope == "global" else float(self.layer_largest[plate.layer])

    def unit(self, plate: Plate, scope: Scope) -> float:
        """Return the factor from texels to normalised changes."""
        scale = self.scale(plate, scope)
        return plate.peak / scale if scale > 0 else 0.0

    @property
    def revision(self) -> int:
        """A number that changes with the pictures."""
        return self.masks.revision

    @cached_property
    def nonfinite(self) -> Counts:
        """(layers, steps) weights that are NaN or infinite."""
        counts = [row.totals.column("nonfinite") for row in self.measured]
        return _counted(np.stack(counts) if counts else np.zeros((0, len(self.steps))))

    @cached_property
    def first_nonfinite(self) -> FirstNonFinite | None:
        """The first layer with NaN or infinity, and its step; None if all are numbers."""
        return first_nonfinite([layer.name for layer in self.layers], self.nonfinite, self.steps)

    def texels(
        self, plate: Plate, level: int, plane: Plane, steps: slice, rows: slice, cols: slice
    ) -> Texels:
        """Return (steps, rows, columns) of a level, as shares of the plate's peak."""
        values = self.values(plate, level, plane, steps, rows, cols)
        if plate.peak > 0:
            return values / np.float32(plate.peak)
        return np.where((values > 0) & (values < NONFINITE), np.float32(1), values)

    def values(
        self, plate: Plate, level: int, plane: Plane, steps: slice, rows: slice, cols: slice
    ) -> Texels:
        """Return (steps, rows, columns) of cumulative change as stored; NaN for gaps.

        A texel with a weight that is not finite is `NONFINITE`. Every texel of level 0 is a weight.

        Raises:
            StoreError: If they cannot be read, or now belong to another analysis.
        """
        plane = self.plane_of(plate, plane) if level or not plate.pictured else "mean"
        if not plate.pictured:
            metric = "max" if plane == "max" else "mean"
            series = self.parameter_metrics[plate.index].metrics[metric][steps]
            texels = series.astype(np.float32).reshape(-1, 1, 1)
            return self._marked(texels, plate, 0, steps, slice(None), slice(None))
        array = self._array(plate.index, level, plane)
        texels = np.asarray(array[steps, rows, cols], dtype=np.float32)
        # values of another analysis would be drawn in the scale of this one; a growing analysis is
        # written to all the time, a complete one never
        if self.complete and _stamps(self.path) != self._stamps:
            raise StoreError(f"{self.path}: replaced by another analysis; it is opened again")
        return self._marked(texels, plate, level, steps, rows, cols)

    @cached_property
    def _array(self) -> Callable[[int, int, Plane], StoredArray]:
        """Return stored levels of pictures, whose metadata are parsed once.

        Not those of a growing analysis, which may be replaced by larger ones.
        """
        array = self._store.picture_array
        return lru_cache(maxsize=MOST_ARRAYS)(array) if self.complete else array

    def _marked(
        self, texels: Texels, plate: Plate, level: int, steps: slice, rows: slice, cols: slice
    ) -> Texels:
        """Return texels with those marked that have a weight that is not finite."""
        counts = _counted(self.parameter_metrics[plate.index].totals.column("nonfinite"))
        elements = plate.parameter.elements
        positions = range(len(counts))[steps]
        for at, position in enumerate(positions):
            if counts[position] == 0:
                continue
            if counts[position] == elements or not plate.pictured:
                texels[at][~np.isnan(texels[at])] = NONFINITE
                continue
            hit = np.flatnonzero((counts > 0) & (counts < elements))
            self.masks.want(MaskRequest(plate.name, elements, tuple(hit.tolist())))
            mask = self.masks.picture(plate.name, plate.layout, level, position)
            if mask is not None:
                texels[at][mask[rows, cols]] = NONFINITE
        return texels

    def position_at(self, step: int) -> int:
        """Return the position of the last checkpoint that is not after `step`."""
        return max(int(np.searchsorted(self.steps, step, side="right")) - 1, 0)


def _counted(values: Floats) -> Counts:
    """Return counts; those of unfinished parameters, and of analyses without them, are 0."""
    return np.nan_to_num(values).astype(np.int64)


def _single_texel(layout: Layout, steps: int) -> PicturePlan:
    return PicturePlan(Layout(layout.shape, 1, 1, ()), 0, steps)


def _stamps(path: Path) -> tuple[Stamp | None, ...]:
    """Return stamps that change whenever the analysis does, except where steps are added to it."""
    return tuple(stamp_if_there(path / name) for name in ("zarr.json", "totals/c.0.0.0"))
