"""Samples that a binding is proven with: arrays, or data with targets as probes take them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from accweight_core.errors import ArgumentValueError
from accweight_core.probes.binding.arrays import Array
from accweight_core.probes.network import Inputs, Network


@runtime_checkable
class Samples(Protocol):
    """Data as probes take it."""

    @property
    def inputs(self) -> tuple[Array, ...]:
        """One array per input of the network, samples along the first axis."""

    @property
    def targets(self) -> Array:
        """Class numbers or values; without elements if there are none."""

    @property
    def scaling(self) -> Any:
        """What turns pixels into inputs by its method `of`; None to leave them."""


def given_samples(
    network: Network, data: Inputs | Samples | None, targets: Array | None
) -> tuple[Mapping[str, Array] | None, Array | None]:
    """Return samples by the names of a network's inputs, and their targets.

    Raises:
        ArgumentValueError: If it is not clear which samples are for which input.
    """
    if data is None:
        return None, None
    if isinstance(data, Samples):
        scaled = [data.scaling.of(a) if data.scaling else np.asarray(a) for a in data.inputs]
        names = [port.name for port in network.inputs]
        if len(names) != len(scaled):
            raise ArgumentValueError(
                f"the network has {len(names)} inputs, and the data are for {len(scaled)}"
            )
        told = data.targets if targets is None and data.targets.size else targets
        return dict(zip(names, scaled, strict=True)), told
    if isinstance(data, Mapping):
        return {name: np.asarray(values) for name, values in data.items()}, targets
    if len(network.inputs) != 1:
        listed = ", ".join(port.name for port in network.inputs)
        raise ArgumentValueError(
            f"the network has the inputs {listed}; give their samples as a mapping of names"
        )
    return {network.inputs[0].name: np.asarray(data)}, targets
