"""What tells the results of probes apart: digests of the network, the samples and the options."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accweight_core.errors import SourceError, reason_of
from accweight_core.probes.network import Network

PIECE_BYTES = 1 << 20

DIGITS = 12
"""Hexadecimal digits of a digest in the name of a folder."""


def network_digest(network: Network) -> str:
    """Return the SHA-256 of a network: of its file, or of its layers, parameters and ports.

    The weights of a module do not count, as those of checkpoints are put in their place; the code
    of a function does.

    Raises:
        SourceError: If its file cannot be read.
    """
    if isinstance(network.source, Path):
        return _file_digest(network.source)
    ports = [(p.name, p.shape, p.dtype) for p in (*network.inputs, *network.outputs)]
    shapes = {name: list(shape) for name, shape in network.parameters.items()}
    asked = {"layers": network.layers, "parameters": shapes, "ports": ports}
    code = getattr(network, "identity", "")
    return _digest({**asked, "code": code} if code else asked)


def engine_of(network: Network) -> str:
    """Return what runs a network, with the kind of device if that is not the CPU.

    Sums are in another order there, so their results are other ones.
    """
    kind = getattr(getattr(network, "device", None), "type", "cpu")
    return network.engine if kind == "cpu" else f"{network.engine} on {kind}"


def _file_digest(path: Path) -> str:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                found.update(piece)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({reason_of(error)})") from None
    return found.hexdigest()


def probe_digest(asked: Mapping[str, Any]) -> str:
    """Return the digest that names the results of a probe, from everything they depend on."""
    return _digest(asked)[:DIGITS]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
