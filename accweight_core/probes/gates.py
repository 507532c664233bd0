"""The probe `gates`: how often the gates of recurrent layers are closed, and how often open.

A gate is left saturated where it is below 0.1 and right saturated where it is above 0.9 (Karpathy,
Johnson and Li, arXiv 1506.02078). A forget gate that is always right saturated keeps what the cell
has, one that is always left saturated passes on the present alone; between the two, time wears the
memory away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.errors import ArgumentValueError, UnsupportedOperatorError
from accweight_core.probes.context import Context
from accweight_core.probes.network import GatedNetwork, filled_up, samples_at_once
from accweight_core.probes.probe import Array, Batch, Field, Needs, Probe, Schema, Step, option
from accweight_core.text import some

ALWAYS = 0.99
"""Share of positions from which on a gate is said to be always open, or closed."""

TRIED = 2


@dataclass
class Gates(Probe):
    """How often each gate of LSTM and GRU layers is closed, and how often open."""

    name: ClassVar[str] = "gates"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.FORWARD
    reading: ClassVar[str] = (
        "A point is a gate of one unit: bottom right it is always open, top left always closed, at "
        "bottom left it never saturates. An open forget gate keeps its cell; an open update gate "
        "of a GRU keeps its state. That a gate is open does not say that its unit is of use."
    )

    layers: tuple[str, ...] = option((), "LSTM and GRU layers; by default all")
    left: float = option(0.1, "value below which a gate is closed (left saturated)")
    right: float = option(0.9, "value above which a gate is open (right saturated)")
    points: int = option(1000, "sequences, each class with its share")

    def start(self, context: Context) -> Schema:
        """Return the arrays, by the gates of the layers."""
        if not 0 <= self.left < self.right <= 1:
            raise ArgumentValueError(
                f"probe {self.name!r}: left={self.left:g} and right={self.right:g} are between 0 "
                "and 1, left below right"
            )
        network = _gated(context.first_network, context)
        self._chosen = self.layers or network.gated
        self._at_once = samples_at_once(context.network.inputs)
        rows = context.chosen_rows(self.points)
        portion = next(context.portions(rows[:TRIED]))
        found = network.gates(portion.inputs, self._chosen)
        self._gates = [(layer, gate) for layer, gates in found.items() for gate in gates]
        counts = [found[layer][gate].shape[2] for layer, gate in self._gates]
        self._shape = len(counts), max(counts)
        names = tuple(f"{layer} {gate}" for layer, gate in self._gates)
        places = [(at, unit) for at, count in enumerate(counts) for unit in range(count)]
        self._places = np.array(places).T
        above, below = f"above {self.right:g}", f"below {self.left:g}"
        fields = (
            Field("saturation", ("step", "place", "coordinate"), (0, len(places), 2),
                  f"each gate: share of positions where it is {above} against {below}"),
            Field("open", ("step", "gate"), (0, len(names)),
                  f"mean share of positions where a gate is {above} (right saturated)"),
            Field("closed", ("step", "gate"), (0, len(names)),
                  f"mean share where it is {below} (left saturated)"),
            Field("right", ("step", "gate", "unit"), (0, *self._shape),
                  f"share of positions where the gate of a unit is {above}"),
            Field("left", ("step", "gate", "unit"), (0, *self._shape),
                  f"share of positions where it is {below}"),
        )  # fmt: skip
        labels = {
            "gate": names,
            "place": tuple(f"{names[at]}, unit {unit}" for at, unit in places),
            "coordinate": (
                f"open: share of positions {above}",
                f"closed: share of positions {below}",
            ),
        }
        groups = {"targets": [at for at, _ in places], "classes": list(names), "bounds": [0, 1]}
        return Schema(fields, labels, groups, rows)

    def begin(self, step: Step) -> None:
        """Start the counts of a step."""
        if not isinstance(step.network, GatedNetwork):
            raise ArgumentValueError(f"probe {self.name!r} needs a network with gates")
        self._network = step.network
        self._open, self._closed, self._seen = (np.zeros(self._shape) for _ in range(3))

    def measure(self, batch: Batch) -> None:
        """Count the positions of a batch at which gates are open and closed."""
        found = self._network.gates(filled_up(batch.inputs, self._at_once), self._chosen)
        for at, (layer, gate) in enumerate(self._gates):
            values = found[layer][gate][: len(batch.rows)]
            units = slice(values.shape[2])
            self._open[at, units] += (values > self.right).sum(axis=(0, 1))
            self._closed[at, units] += (values < self.left).sum(axis=(0, 1))
            self._seen[at, units] += np.isfinite(values).sum(axis=(0, 1))

    def end(self) -> Mapping[str, Array]:
        """Return the shares of positions."""
        shape, there = self._shape, self._seen > 0
        right, left = (
            np.divide(one, self._seen, out=np.full(shape, np.nan), where=there)
            for one in (self._open, self._closed)
        )
        ways = np.stack([right, left], axis=2)
        counts = np.maximum(there.sum(axis=1), 1)
        means = np.where(there.any(axis=1), np.nansum(ways, axis=1).T / counts, np.nan)
        saturation = ways[tuple(self._places)]
        return {
            "saturation": saturation,
            "open": means[0],
            "closed": means[1],
            "right": right,
            "left": left,
        }

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return how saturated each gate is at the last step, and which units' always are."""
        right, left = result.array("right")[-1], result.array("left")[-1]
        lines = []
        for at, name in enumerate(result.labels("gate")):
            known = np.isfinite(right[at])
            if not known.any():
                lines.append(f"{name}: no finite value")
                continue
            told = [
                f"always {word}: {some(list(map(str, np.flatnonzero(shares >= ALWAYS))), 8)}"
                for word, shares in (("open", right[at]), ("closed", left[at]))
                if (shares >= ALWAYS).any()
            ]
            means = f"open {right[at][known].mean():.0%}, closed {left[at][known].mean():.0%}"
            lines.append("; ".join([f"{name}: {means} of positions", *told]))
        return lines


def _gated(network: object, context: Context) -> GatedNetwork:
    """Return the network, which tells gates.

    Raises:
        UnsupportedOperatorError: If its engine does not.
        ArgumentValueError: If it has no layer with gates.
    """
    if not isinstance(network, GatedNetwork):
        raise UnsupportedOperatorError(
            f"probe {context.probe!r}: gates are no values of the engine "
            f"{context.network.engine!r}; give the network as an ONNX file with PyTorch installed, "
            "or as a module"
        )
    if not network.gated:
        raise ArgumentValueError(
            f"probe {context.probe!r}: the network has no LSTM or GRU; its layers are "
            f"{some(context.layers, 8)}"
        )
    return network
