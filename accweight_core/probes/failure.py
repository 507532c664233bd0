"""The probe `failure`: where a training that breaks down breaks first, and what feeds it.

At every checkpoint, samples go through the network, and of every unit the largest absolute value is
kept. A unit has failed when it is not finite, or many times larger than it was before. The first
step with one is the failure, the first layer with one is where it starts. Units of earlier layers
are then set to 0 one at a time in that checkpoint: by how much the unit that has grown most becomes
smaller says what feeds it (DGMTracker: Liu et al., IEEE TVCG 2018, here checked by ablation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.network import BoundNetwork
from accweight_core.probes.probe import (
    Array,
    Batch,
    Field,
    Needs,
    Probe,
    Results,
    Schema,
    Step,
    named_layers,
    option,
    stacked,
)
from accweight_core.probes.units import UnitAxes
from accweight_core.text import some

MOST_UNITS = 4096
CEILING, FLOOR = 39.0, -39.0
"""Logarithm of what is not finite, and of 0: beyond those of float32."""

LEAST_CREDIT = 0.05
"""Fall of the logarithm from which on a unit feeds another one."""


@dataclass
class Failure(Probe):
    """Where values break down first, not finite or exploding, and which units feed that."""

    name: ClassVar[str] = "failure"
    version: ClassVar[int] = 2
    needs: ClassVar[Needs] = Needs.FORWARD
    reading: ClassVar[str] = (
        "Cells are the largest value of a unit, as a power of ten; grey is not finite. The failure "
        "began between the step named and the one before it."
    )

    times: float = option(100.0, "how many times its median before a value has to be")
    tried: int = option(64, "units of earlier layers that are set to 0, those that grew most")
    points: int = option(128, "samples, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays of all layers."""
        if self.times <= 1 or self.tried < 1:
            raise ArgumentValueError(f"probe {self.name!r}: times is above 1, tried at least 1")
        self._axes, self._context = context.axes_of(()), context
        names = tuple(self._axes)
        self._rows = context.chosen_rows(self.points)
        self._width = min(max(axes.count for axes in self._axes.values()), MOST_UNITS)
        count = len(names)
        fields = (
            Field("values", ("step", "layer", "unit"), (0, count, self._width),
                  "power of ten of the largest absolute value of a unit", "float32"),
            Field("broken", ("step", "layer"), (0, count), "units with values that are not finite"),
            Field("exploded", ("step", "layer"), (0, count),
                  "units that are many times larger than before", final=True),
            Field("credit", ("candidate",), (self.tried,),
                  "powers of ten by which the failed unit falls without a unit", final=True),
            Field("failed", ("number",), (3,), "step, layer and unit of the failure", final=True),
        )  # fmt: skip
        return Schema(fields, named_layers(names), rows=self._rows)

    def begin(self, step: Step) -> None:
        """Start a step."""
        self._largest = {name: np.zeros(axes.count) for name, axes in self._axes.items()}

    def measure(self, batch: Batch) -> None:
        """Keep the largest values of a batch."""
        for name, axes in self._axes.items():
            found = _largest(axes.of(batch.outputs[name]))
            self._largest[name] = np.maximum(self._largest[name], found)

    def end(self) -> Mapping[str, Array]:
        """Return the powers of ten."""
        values = np.full((len(self._axes), self._width), np.nan, np.float32)
        for row, largest in zip(values, self._largest.values(), strict=True):
            kept = largest[: self._width]
            row[: len(kept)] = np.where(np.isfinite(kept), _power(kept), np.nan)
        broken = [np.count_nonzero(~np.isfinite(own)) for own in self._largest.values()]
        return {"values": values, "broken": np.array(broken, np.float64)}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Find the failure, and set units before it to 0."""
        values = stacked(results, "values")
        there = np.arange(self._width) < np.array([[a.count] for a in self._axes.values()])
        powers = np.where(there & np.isnan(values), CEILING, values.astype(np.float64))
        growth = growths(powers)
        failed = (growth > self._limits(len(growth))) | (there & (powers >= CEILING))
        exploded = (failed & (powers < CEILING)).sum(axis=2).astype(np.float64)
        credit, self._names = np.full(self.tried, np.nan), ("",) * self.tried
        first = np.full(3, np.nan)
        if failed.any():
            at = int(failed.any(axis=(1, 2)).argmax())
            layer = int(failed[at].any(axis=1).argmax())
            grown = np.where(failed[at], np.nan_to_num(growth[at], nan=CEILING), -np.inf)
            first = np.array([results.steps[at], layer, grown[layer].argmax()], np.float64)
            last = int(np.flatnonzero(failed[at].any(axis=1))[-1])
            victim = last, int(grown[last].argmax())
            found = self._credits(results.steps[at], victim, np.nan_to_num(growth[at], nan=CEILING))
            credit[: len(found)] = [fall for fall, _ in found]
            self._names = tuple(name for _, name in found) + self._names[len(found) :]
        return {"exploded": exploded, "credit": credit, "failed": first}

    def _credits(
        self, step: int, victim: tuple[int, int], growth: Array
    ) -> list[tuple[float, str]]:
        """Return by how much a unit falls without each unit of earlier layers, most first."""
        numbers = [int(one) for one in self._context.run.steps]
        network = self._context.binding.bind(self._context.run.checkpoints[numbers.index(step)])
        names, (layer, unit) = list(self._axes), victim
        before = self._reached(network, names[layer], unit)
        places = [
            (at, u)
            for at in range(layer)
            for u in range(min(self._axes[names[at]].count, self._width))
        ]
        places.sort(key=lambda place: -growth[place])
        found = []
        for done, (at, own) in enumerate(places[: self.tried]):
            without = network.patch(
                {names[at]: partial(_silenced, axes=self._axes[names[at]], unit=own)}
            )
            found.append(
                (before - self._reached(without, names[layer], unit), f"{names[at]}/{own}")
            )
            self._context.advance(done + 1, min(len(places), self.tried))
        return sorted(found, key=lambda one: -one[0])

    def _reached(self, network: BoundNetwork, layer: str, unit: int) -> float:
        """Return the power of ten that a unit reaches."""
        axes, found = self._axes[layer], 0.0
        for portion in self._context.portions(self._rows):
            made = np.moveaxis(network.run(portion.inputs, [layer])[layer], axes.samples, 0)
            found = max(found, float(_largest(axes.of(made[: len(portion.rows)]))[unit]))
        return float(_power(np.array(found)))

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return the units that were set to 0."""
        return {"candidate": self._names}

    def _limits(self, steps: int) -> Array:
        """Return (steps, 1, 1): the growth above which a unit has failed.

        The first checkpoint is often that of random weights, above which values of a training that
        goes well may be a hundred times larger: at the second one, it is twice as many powers of
        ten.
        """
        found = np.full((steps, 1, 1), np.log10(self.times))
        found[1:2] *= 2
        return found

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return where the failure starts, and what feeds it."""
        step, layer, unit = result.array("failed")
        if np.isnan(step):
            return [
                f"no failure: all values are finite, none {result.options['times']:g} times larger"
            ]
        place = result.steps.tolist().index(int(step))
        what = (
            "is not finite"
            if np.isnan(result.array("values")[place, int(layer), int(unit)])
            else ("explodes")
        )
        name = f"{result.labels('layer')[int(layer)]}/{unit:.0f}"
        lines = [f"fails first at step {step:.0f}: {name} {what}"]
        pairs = zip(result.labels("candidate"), result.array("credit"), strict=True)
        fed = [f"{name} ({fall:.1f})" for name, fall in pairs if fall >= LEAST_CREDIT]
        return (
            [*lines, f"fed by, in powers of ten that it falls without: {some(fed, 6)}"]
            if fed
            else lines
        )


def _largest(values: Array) -> Array:
    """Return the largest absolute value of every unit; infinity if one is not finite."""
    whole = np.abs(values.astype(np.float64))
    return np.asarray(np.where(np.isfinite(whole), whole, np.inf).max(axis=(0, 2), initial=0.0))


def _power(largest: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log10(largest), FLOOR, CEILING))


def growths(powers: Array) -> Array:
    """Return by how many powers of ten values are above their median of all steps before.

    Args:
        powers: (steps, layers, units); NaN where there is no unit.

    Returns:
        The same shape; 0 at the first step.
    """
    found = np.where(np.isnan(powers), np.nan, 0.0)
    for at in range(1, len(powers)):
        found[at] = powers[at] - np.median(powers[:at], axis=0)
    return found


def _silenced(value: Any, axes: UnitAxes, unit: int) -> Any:
    """Return the value of a node with one unit 0, also where it is not finite."""
    mask = np.zeros((value.shape[axes.samples], axes.count, axes.positions), np.float32)
    mask[:, unit] = 1
    return value.masked_fill(axes.tensor_like(value, mask) > 0, 0)
