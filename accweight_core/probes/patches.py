"""Networks in which single units of a node are set to 0, or all but them."""

from __future__ import annotations

from typing import Any

import numpy as np

from accweight_core.probes.network import BoundNetwork
from accweight_core.probes.probe import Array
from accweight_core.probes.units import UnitAxes


def with_mask(network: BoundNetwork, node: str, axes: UnitAxes, mask: Array) -> BoundNetwork:
    """Return a network in which a node is multiplied by a mask.

    Args:
        network: The network.
        node: The node.
        axes: Where its samples and units are.
        mask: (samples, units, positions).
    """

    def masked(value: Any) -> Any:
        return value * axes.tensor_like(value, mask)

    return network.patch({node: masked})


def with_units(
    network: BoundNetwork, node: str, axes: UnitAxes, units: Array, positions: Array | int | slice
) -> BoundNetwork:
    """Return a network in which a node is 0 but for one unit of each sample.

    Args:
        network: The network.
        node: The node.
        axes: Where its samples and units are.
        units: (samples,) the unit of each.
        positions: (samples,) the position at which it is left; or one of all; or several.
    """
    mask = np.zeros((len(units), axes.count, axes.positions), np.float32)
    mask[range(len(units)), units, positions] = 1
    return with_mask(network, node, axes, mask)


def without_unit(network: BoundNetwork, node: str, axes: UnitAxes, unit: int) -> BoundNetwork:
    """Return a network in which one unit of a node is 0, also where it is not finite."""

    def silenced(value: Any) -> Any:
        mask = np.zeros((value.shape[axes.samples], axes.count, axes.positions), np.float32)
        mask[:, unit] = 1
        return value.masked_fill(axes.tensor_like(value, mask) > 0, 0)

    return network.patch({node: silenced})
