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

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.probes.collecting import Largest
from accweight_core.probes.context import Context
from accweight_core.probes.known import padded_rows
from accweight_core.probes.network import BoundNetwork
from accweight_core.probes.patches import without_unit
from accweight_core.probes.probe import (
    Array,
    Batch,
    Needs,
    Probe,
    Results,
    Schema,
    array,
    final,
    option,
    stacked,
)
from accweight_core.probes.units import unit_counts
from accweight_core.text import some

CEILING, FLOOR = 39.0, -39.0
"""Logarithm of what is not finite, and of 0: beyond those of float32."""

LEAST_CREDIT = 0.05
"""Fall of the logarithm from which on a unit feeds another one."""


@dataclass
class Failure(Probe):
    """Where values break down first, not finite or exploding, and which units feed that."""

    name, version, needs = "failure", 3, Needs.FORWARD
    takes_broken = True
    reading = (
        "Cells are the largest value of a unit, as a power of ten; grey is not finite. The failure "
        "began between the step named and the one before it."
    )

    times: float = option(100.0, "how many times its median before a value has to be", above=1)
    tried: int = option(
        64, "earlier units set to 0: those that failed first, then those that grew most", least=1
    )
    points: int = option(128, "samples, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays of all layers."""
        self._axes, self._context = context.axes_of(()), context
        self._rows = context.chosen_rows(self.points)
        self._largest = context.collect(Largest(self._of_batch))
        counts = unit_counts(self._axes)
        self._width = max(counts.values())
        self._there = np.arange(self._width) < np.array([*counts.values()])[:, None]
        return Schema.of(
            {"layer": [*counts], "unit": self._width, "candidate": self.tried, "number": 3},
            array("values", "step layer unit",
                  "power of ten of the largest absolute value of a unit", "float32"),
            array("broken", "step layer", "units with values that are not finite"),
            final("exploded", "step layer", "units that are many times larger than before"),
            final("credit", "candidate", "powers of ten by which the failed unit falls without it"),
            final("failed", "number", "step, layer and unit of the failure"),
            rows=self._rows,
        )  # fmt: skip

    def _of_batch(self, batch: Batch) -> Mapping[str, Array]:
        """Return the largest value of every unit of a batch, by layer."""
        return {name: _largest(axes.of(batch.outputs[name])) for name, axes in self._axes.items()}

    def end(self) -> Mapping[str, Array]:
        """Return the powers of ten."""
        largest = [self._largest[name] for name in self._axes]
        powers = [np.where(np.isfinite(own), _power(own), np.nan) for own in largest]
        broken = [np.count_nonzero(~np.isfinite(own)) for own in largest]
        return {"values": padded_rows(powers, self._width, np.float32), "broken": np.array(broken)}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Find the failure, and set units before it to 0."""
        values = stacked(results, "values")
        powers = np.where(self._there & np.isnan(values), CEILING, values.astype(np.float64))
        growth = growths(powers)
        # the first checkpoint is often that of random weights, above which values of a training
        # that goes well may be a hundred times larger: the second one may be twice as far above it
        ways = np.where(np.arange(len(growth)) == 1, 2, 1)
        limits = ways[:, None, None] * np.log10(self.times)
        failed = (growth > limits) | (self._there & (powers >= CEILING))
        first, credits_ = np.full(3, np.nan), []
        if failed.any():
            at = int(failed.any(axis=(1, 2)).argmax())
            grown = np.nan_to_num(growth[at], nan=CEILING)
            layers = np.flatnonzero(failed[at].any(axis=1))
            worst = np.where(failed[at], grown, -np.inf).argmax(axis=1)
            first = np.array([results.steps[at], layers[0], worst[layers[0]]])
            suspects = grown.copy()  # where it starts, however much grows behind it
            suspects[layers[0]][failed[at, layers[0]]] += 2 * CEILING - FLOOR
            credits_ = self._credits(results.steps[at], layers[-1], worst[layers[-1]], suspects)
        self._names = [name for _, name in credits_] + [""] * (self.tried - len(credits_))
        (credit,) = padded_rows([np.array([fall for fall, _ in credits_])], self.tried)
        exploded = (failed & (powers < CEILING)).sum(axis=2)
        return {"exploded": exploded, "credit": credit, "failed": first}

    def _credits(self, step: int, layer: int, unit: int, growth: Array) -> list[tuple[float, str]]:
        """Return by how much a unit falls without each unit of earlier layers, most first."""
        network = self._context.binding.bind(self._context.checkpoint(step))
        names, there = list(self._axes), self._there[:layer]
        before = self._reached(network, names[layer], unit)
        order = np.argsort(-growth[:layer][there], kind="stable")[: self.tried]
        found = []
        for at, own in self._context.one_by_one(np.argwhere(there)[order].tolist()):
            without = without_unit(network, names[at], self._axes[names[at]], own)
            fall = before - self._reached(without, names[layer], unit)
            found.append((fall, f"{names[at]}/{own}"))
        return sorted(found, key=lambda one: -one[0])

    def _reached(self, network: BoundNetwork, layer: str, unit: int) -> float:
        """Return the power of ten that a unit reaches."""
        batches = self._context.batches(network, self._rows, [layer])
        found = [_largest(self._axes[layer].of(one.outputs[layer]))[unit] for one in batches]
        return float(_power(np.max(found)))

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return the units that were set to 0."""
        return {"candidate": tuple(self._names)}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return where the failure starts, and what feeds it."""
        step, layer, unit = result.array("failed")
        if np.isnan(step):
            times = result.options["times"]
            return [f"no failure: all values are finite, none {times:g} times larger"]
        value = result.array("values", int(step))[int(layer), int(unit)]
        what = "is not finite" if np.isnan(value) else "explodes"
        name = f"{result.labels('layer')[int(layer)]}/{unit:.0f}"
        pairs = zip(result.labels("candidate"), result.array("credit"), strict=True)
        fed = [f"{one} ({fall:.1f})" for one, fall in pairs if fall >= LEAST_CREDIT]
        told = [f"fed by, in powers of ten that it falls without: {some(fed, 6)}"] if fed else []
        return [f"fails first at step {step:.0f}: {name} {what}", *told]


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
