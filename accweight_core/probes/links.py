"""Weights between units of layers that follow each other, for drawings of a network with links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from accweight_core.probes.binding.described import Described
from accweight_core.probes.network import BoundNetwork, Network
from accweight_core.probes.probe import Array
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
        ends: The two units of each link: places among all units drawn, column by column.
        _matrices: Name of the weights of each column that has links to the one before it, whether
            they are stored as inputs x outputs, and the lengths that are drawn.
    """

    ends: tuple[tuple[int, int], ...]
    _matrices: tuple[tuple[str, bool, int, int], ...]

    @classmethod
    def of(cls, network: Network, columns: Sequence[Column]) -> Links:
        """Return the links of a network.

        Columns are linked if the second one is a layer with one matrix, which has an input for each
        unit of the first. Others, such as those around a norm, have no links.

        Args:
            network: The network.
            columns: Its inputs, and layers in the order of the network.
        """
        layers = {layer.name: layer for layer in Described.of(network).layers}
        ends: list[tuple[int, int]] = []
        matrices: list[tuple[str, bool, int, int]] = []
        begin = 0
        for before, column in pairwise(columns):
            first, begin = begin, begin + before.shown
            known = layers.get(column.name)
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
        return cls(tuple(ends), tuple(matrices))

    def weights(self, network: BoundNetwork) -> Array:
        """Return (links,): the weight of each link in a network with the weights of a step."""
        found = [np.zeros(0)]
        for name, is_first_input, targets, sources in self._matrices:
            matrix = network.parameters[name]
            rows = matrix.T if is_first_input else matrix
            found.append(rows[:targets, :sources].reshape(-1))
        return np.concatenate(found).astype(np.float64)
