"""Put the weights of a checkpoint into a network, by the network's own way or by equal names."""

from __future__ import annotations

from typing import Any

import numpy as np

from accweight_core.errors import ArgumentValueError, MismatchError
from accweight_core.io.reading import OpenFiles
from accweight_core.io.stamp import stamps_of
from accweight_core.probes.network import BoundNetwork, Network
from accweight_core.probes.passes import read_parameter
from accweight_core.schema import Checkpoint
from accweight_core.text import some


def bound_to(network: Network | None, checkpoint: Checkpoint) -> BoundNetwork:
    """Return a network with the weights of a checkpoint.

    Raises:
        MismatchError: If the checkpoint lacks a parameter of the network.
        ArgumentValueError: If there is no network.
    """
    if network is None:
        raise ArgumentValueError("a network is needed; give it with --model NET.onnx")
    bind: Any = getattr(network, "bind", None)
    if bind is not None:
        bound: BoundNetwork = bind(checkpoint)
        return bound
    missing = [name for name in network.parameters if name not in checkpoint.tensors]
    if missing:
        raise MismatchError(
            f"{checkpoint.path}: has no {some(missing)}, which the network has; its parameters are "
            f"called {some(list(checkpoint.tensors))}"
        )
    with OpenFiles(described=stamps_of([checkpoint])) as files:
        weights = {
            name: np.asarray(read_parameter(files, checkpoint, name)) for name in network.parameters
        }
    return network.with_weights(weights)
