"""Weights between units of layers that follow each other, for drawings of a network with links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from accweight_core.probes.binding.described import Described
from accweight_core.probes.network import BoundNetwork, Network
from accweight_core.probes.probe import Array, Field, array
from accweight_core.probes.units import UnitAxes, unit_counts
from accweight_core.schema import Axis, Role


class Column(NamedTuple):
    """Units that are drawn below each other.

    Attributes:
        name: The layer; of the inputs, their own name.
        width: How many units it has.
        shown: How many of them are drawn, from the first on.
    """

    name: str
    width: int
    shown: int


@dataclass(frozen=True)
class Links:
    """The weights between units of columns side by side.

    Attributes:
        columns: The inputs, and layers in the order of the network.
        ends: The two units of each link: places among all units drawn, column by column.
        _matrices: Name of the weights of each column that has links to the one before it, whether
            they are stored as inputs x outputs, and the lengths that are drawn.
    """

    columns: tuple[Column, ...]
    ends: tuple[tuple[int, int], ...]
    _matrices: tuple[tuple[str, bool, int, int], ...]

    @classmethod
    def of(cls, network: Network, inputs: int, layers: Mapping[str, UnitAxes], units: int) -> Links:
        """Return the links of a network.

        Columns are linked if the second one is a layer with one matrix, which has an input for each
        unit of the first. Others, such as those around a norm, have no links.

        Args:
            network: The network.
            inputs: How many numbers it is given.
            layers: Layers or other nodes, in its order, with the places of their units.
            units: Units of each that are drawn at most, from the first on.
        """
        counts = unit_counts(layers, units)
        columns = (
            Column("inputs", inputs, inputs),
            *(Column(name, axes.count, counts[name]) for name, axes in layers.items()),
        )
        described = {layer.name: layer for layer in Described.of(network).layers}
        ends: list[tuple[int, int]] = []
        matrices: list[tuple[str, bool, int, int]] = []
        begin = 0
        for before, column in pairwise(columns):
            first, begin = begin, begin + before.shown
            known = described.get(column.name)
            weights = [p for p in known.parameters if p.role is Role.WEIGHT] if known else []
            if len(weights) != 1 or set(weights[0].axes) != {Axis.INPUT, Axis.OUTPUT}:
                continue
            is_first_input = weights[0].axes[0] is Axis.INPUT
            shape = weights[0].shape[::-1] if is_first_input else weights[0].shape
            if tuple(shape) != (column.width, before.width):
                continue
            matrices.append((weights[0].name, is_first_input, column.shown, before.shown))
            ends += [
                (first + source, begin + target)
                for target in range(column.shown)
                for source in range(before.shown)
            ]
        return cls(columns, tuple(ends), tuple(matrices))

    def names(self, units: Sequence[str]) -> tuple[str, ...]:
        """Return what the links are called, by the names of all units drawn."""
        return tuple(f"{units[source]} to {units[target]}" for source, target in self.ends)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The array of their weights, as a probe stores it; none where there are no links."""
        stored = array("links", "step link", "units as they see the plane, linked by weights")
        return (stored,) if self.ends else ()

    @property
    def attributes(self) -> dict[str, Any]:
        """What a drawing has to know beside the weights."""
        return {
            "columns": [[column.name, column.shown] for column in self.columns],
            "ends": [list(pair) for pair in self.ends],
        }

    def values(self, network: BoundNetwork) -> dict[str, Array]:
        """Return the arrays of `fields` for a network with the weights of a step."""
        return {"links": self._weights(network)} if self.ends else {}

    def _weights(self, network: BoundNetwork) -> Array:
        found = [np.zeros(0)]
        for name, is_first_input, targets, sources in self._matrices:
            matrix = network.parameters[name]
            rows = matrix.T if is_first_input else matrix
            found.append(rows[:targets, :sources].reshape(-1))
        return np.concatenate(found).astype(np.float64)
