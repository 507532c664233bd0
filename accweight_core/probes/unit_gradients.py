"""What single units depend on: gradients of one unit per sample, many samples side by side."""

from __future__ import annotations

import numpy as np

from accweight_core.probes.network import BoundNetwork, portions_of
from accweight_core.probes.patches import with_units
from accweight_core.probes.probe import Array
from accweight_core.probes.units import UnitAxes

AT_ONCE = 64
"""Samples that are run side by side."""


def unit_gradients(
    network: BoundNetwork,
    node: str,
    axes: UnitAxes,
    x: Array,
    units: Array,
    places: Array,
    size: int = 0,
) -> Array:
    """Return the gradient of a unit of a node for every sample, by the sample.

    Args:
        network: The network with its weights.
        node: The node.
        axes: Where its samples and units are.
        x: The samples.
        units: (samples,) the unit that each is asked about.
        places: (samples,) its position.
        size: Samples that the network takes at a time; 0 for any.

    Returns:
        An array of the shape of x.
    """
    found = []
    for rows, filled in portions_of(len(x), size, AT_ONCE):
        own = with_units(network, node, axes, units[filled], places[filled])
        found.append(np.asarray(own.gradient(x[filled], (node, None)))[: len(rows)])
    return np.concatenate(found)
