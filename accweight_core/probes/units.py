"""Values of nodes as (samples, units, positions): which axis has the units, and which the samples.

Convolutions have their channels along axis 1, layers of transformers their features along the last
one, after the tokens; recurrent nodes of ONNX begin with the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accweight_core.errors import UnknownNameError
from accweight_core.probes.probe import Array


@dataclass(frozen=True, slots=True)
class UnitAxes:
    """Where the samples and the units of a node are.

    Attributes:
        samples: Axis of the samples.
        units: Axis of the units.
        count: Number of units.
    """

    samples: int
    units: int
    count: int

    def of(self, values: Array) -> Array:
        """Return values as (samples, units, positions)."""
        moved = np.moveaxis(values, (self.samples, self.units), (0, 1))
        return moved.reshape(*moved.shape[:2], -1)


def unit_axes(
    value: Array, samples: int, layer: str, parameters: Mapping[str, Sequence[int]]
) -> UnitAxes | None:
    """Return the axes of a node, None if it has none for the samples.

    Args:
        value: The value of the node for some samples.
        samples: Their number.
        layer: Name of the node.
        parameters: Shapes of the parameters of the network: the bias of a layer has its units.
    """
    along = 0
    if value.ndim == 0 or value.shape[0] != samples:
        if value.ndim != 4 or value.shape[2] != samples:
            return None
        along = 2  # time, directions, samples, units: what recurrent operators of ONNX return
    if value.ndim == 1:
        return None
    if along:
        return UnitAxes(along, 3, value.shape[3])
    biases = {
        shape[0]
        for name, shape in parameters.items()
        if len(shape) == 1 and name.rpartition(".")[0] == layer
    }
    last = value.ndim - 1
    if value.shape[1] in biases and not (last > 1 and value.shape[last] in biases):
        axis = 1
    elif value.shape[last] in biases:
        axis = last
    else:
        axis = last if value.ndim == 3 else 1
    return UnitAxes(0, axis, value.shape[axis])


def checked_axes(value: Array, samples: int, node: str, probe: str) -> UnitAxes:
    """Return the axes of a node that has samples.

    Raises:
        UnknownNameError: If it has none.
    """
    found = unit_axes(value, samples, node, {})
    if found is None:
        raise UnknownNameError(
            f"probe {probe!r}: node {node!r} has shape {value.shape}, no axis of which is the "
            f"{samples} samples; choose another node"
        )
    return found
