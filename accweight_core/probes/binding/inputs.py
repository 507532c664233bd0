"""Random samples for the inputs of a network, for a forward pass without data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from accweight_core.probes.binding.arrays import Array
from accweight_core.probes.binding.described import Described
from accweight_core.probes.network import Port
from accweight_core.schema import Role

SAMPLES = 2
LENGTHS = (8, 16, 32, 64, 224)
"""Lengths that are tried for axes that are free."""

SEED = 0


def random_inputs(described: Described) -> Iterator[Mapping[str, Array]]:
    """Yield samples for a network's inputs, with other lengths of free axes each time."""
    tables = [
        parameter.shape[0]
        for parameter in described.parameters.values()
        if parameter.role is Role.EMBEDDING and len(parameter.shape) > 1
    ]
    ports = described.network.inputs
    if any(port.shape is None for port in ports):
        return  # a module does not say what it takes
    is_free = any(n is None for port in ports for n in (port.shape or ())[1:])
    for length in LENGTHS if is_free else LENGTHS[:1]:
        chance = np.random.default_rng(SEED)
        yield {port.name: _drawn(port, length, min(tables, default=2), chance) for port in ports}


def _drawn(port: Port, length: int, entries: int, chance: np.random.Generator) -> Array:
    known = port.shape or ()
    samples = [known[0] or SAMPLES] if known else []
    shape = (*samples, *(n or length for n in known[1:]))
    if port.dtype.startswith(("float", "bfloat")):
        dtype = port.dtype if port.dtype in ("float16", "float64") else "float32"
        return chance.standard_normal(shape).astype(dtype)
    if port.dtype == "bool":
        return np.ones(shape, bool)
    return chance.integers(0, max(entries, 1), shape).astype(port.dtype)
