"""The probe `gates`: how often the gates of recurrent layers are closed, and how often open.

A gate is left saturated where it is below 0.1 and right saturated where it is above 0.9 (Karpathy,
Johnson and Li, arXiv 1506.02078). A forget gate that is always right saturated keeps what the cell
has, one that is always left saturated passes on the present alone; between the two, time wears the
memory away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import Sums
from accweight_core.probes.context import Context
from accweight_core.probes.known import mean_of_known, padded_rows, ratio
from accweight_core.probes.network import filled_up, samples_at_once
from accweight_core.probes.probe import Array, Batch, Needs, Probe, Schema, Step, array, option
from accweight_core.text import some

ALWAYS = 0.99
"""Share of positions from which on a gate is said to be always open, or closed."""


@dataclass
class Gates(Probe):
    """How often each gate of LSTM and GRU layers is closed, and how often open."""

    name, version, needs = "gates", 1, Needs.FORWARD
    reading = (
        "A point is a gate of one unit: bottom right it is always open, top left always closed, at "
        "bottom left it never saturates. An open forget gate keeps its cell; an open update gate "
        "of a GRU keeps its state. That a gate is open does not say that its unit is of use."
    )

    layers: tuple[str, ...] = option((), "LSTM and GRU layers; by default all")
    left: float = option(0.1, "value below which a gate is closed (left saturated)", least=0)
    right: float = option(0.9, "value above which a gate is open (right saturated)", most=1)
    points: int = option(1000, "sequences, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the gates of the layers."""
        if not self.left < self.right:
            raise ArgumentValueError(
                f"probe {self.name!r}: expected left below right, got {self.left:g}, {self.right:g}"
            )
        network = context.gated_network
        self._chosen = self.layers or network.gated
        self._at_once = samples_at_once(context.network.inputs)
        self._sums = context.collect(Sums(self._counted))
        rows = context.chosen_rows(self.points)
        found = network.gates(next(context.portions(rows[:2])).inputs, self._chosen)
        self._gates = [(layer, gate) for layer, gates in found.items() for gate in gates]
        self._units = [found[layer][gate].shape[2] for layer, gate in self._gates]
        return self._schema(rows)

    def _schema(self, rows: Array) -> Schema:
        names = [f"{layer} {gate}" for layer, gate in self._gates]
        gate_of = np.repeat(np.arange(len(names)), self._units).tolist()
        units = [unit for count in self._units for unit in range(count)]
        above, below, share = f"above {self.right:g}", f"below {self.left:g}", "share of positions"
        lengths = {
            "gate": names,
            "place": [f"{names[at]}, unit {u}" for at, u in zip(gate_of, units, strict=True)],
            "coordinate": [f"open: {share} {above}", f"closed: {share} {below}"],
            "unit": max(self._units),
        }
        return Schema.of(
            lengths,
            array("saturation", "step place coordinate",
                  f"each gate: {share} where it is {above} against {below}"),
            array("open", "step gate", f"mean {share} where a gate is {above} (right saturated)"),
            array("closed", "step gate", f"mean share where it is {below} (left saturated)"),
            array("right", "step gate unit", f"{share} where the gate of a unit is {above}"),
            array("left", "step gate unit", f"{share} where it is {below}"),
            attributes={"targets": gate_of, "classes": names, "bounds": [0, 1]},
            rows=rows,
        )  # fmt: skip

    def begin(self, step: Step) -> None:
        """Take the network of a step."""
        self._network: Any = step.bound  # which tells gates, as the first one does

    def _counted(self, batch: Batch) -> Mapping[str, Array]:
        """Return the positions of a batch at which gates are open and closed, and of all."""
        found = self._network.gates(filled_up(batch.inputs, self._at_once), self._chosen)
        values = [found[layer][gate][: len(batch.rows)] for layer, gate in self._gates]
        return {
            "open": _positions(gate > self.right for gate in values),
            "closed": _positions(gate < self.left for gate in values),
            "seen": _positions(np.isfinite(gate) for gate in values),
        }

    def end(self) -> Mapping[str, Array]:
        """Return the shares of positions."""
        right, left = (ratio(self._sums[one], self._sums["seen"]) for one in ("open", "closed"))
        ends = np.cumsum(self._units)[:-1]
        rows = [padded_rows(np.split(one, ends), max(self._units)) for one in (right, left)]
        means = mean_of_known(np.stack(rows, axis=2))
        return {
            "saturation": np.stack([right, left], axis=1),
            "open": means[:, 0],
            "closed": means[:, 1],
            "right": rows[0],
            "left": rows[1],
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return how saturated each gate is at the last step, and which units' always are."""
        right, left = result.array("right")[-1], result.array("left")[-1]
        lines = []
        for name, opened, closed in zip(result.labels("gate"), right, left, strict=True):
            known = np.isfinite(opened)
            if not known.any():
                lines.append(f"{name}: no finite value")
                continue
            means = f"open {opened[known].mean():.0%}, closed {closed[known].mean():.0%}"
            line = f"{name}: {means} of positions"
            for word, shares in (("open", opened), ("closed", closed)):
                always = np.flatnonzero(shares >= ALWAYS)
                line += f"; always {word}: {some(list(map(str, always)), 8)}" if always.size else ""
            lines.append(line)
        return lines


def _positions(chosen: Iterable[Array]) -> Array:
    """Return the number of positions that are chosen of every unit, gate by gate.

    Args:
        chosen: (samples, times, units) per gate.
    """
    return np.concatenate([one.sum(axis=(0, 1)) for one in chosen])
