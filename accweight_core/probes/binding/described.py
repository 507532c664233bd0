"""The network's side of a binding: its tensors, what they are for, and its own values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from accweight_core.alignment.matching.names import is_made_up
from accweight_core.probes.binding.arrays import Array, dtype_name, is_uniform, signature
from accweight_core.probes.network import Network
from accweight_core.runs.opening import open_run
from accweight_core.schema import Checkpoint, Kind, Layer, Parameter, Run

CONSTANT = re.compile(r"(^|[./])_?Constant(_\d+)*(_output_\d+)?$", re.IGNORECASE)
"""Names of constants that exporters write into a graph."""


@dataclass(frozen=True)
class Described:
    """A network as the aligner sees it.

    Attributes:
        network: The network.
        run: Its own weights as a run of one checkpoint.
        layers: Its layers, with those tensors that an output depends on.
    """

    network: Network
    run: Run
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, network: Network) -> Described:
        """Describe a network by reading its source as the readers do."""
        source = network.source
        run = open_run([source] if isinstance(source, Mapping) else source)
        known = network.parameters
        layers = []
        for layer in run.layers:
            kept = tuple(p for p in layer.parameters if known.get(p.name) == p.shape)
            if kept:
                layers.append(Layer(layer.name, layer.kind, kept))
        return cls(network, run, tuple(layers))

    @property
    def checkpoint(self) -> Checkpoint:
        """Its own weights."""
        return self.run.checkpoints[0]

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """What is known of its tensors, by name; constants that are no parameters are missing."""
        return {p.name: p for layer in self.layers for p in layer.parameters}

    @cached_property
    def _signatures(self) -> dict[tuple[str, str], bytes]:
        return {}

    @cached_property
    def own(self) -> Mapping[str, Array]:
        """Its own values."""
        return self.network.with_weights({}).parameters

    def signature(self, name: str, dtype: str) -> bytes:
        """Return a digest of its own values that is the same for any order."""
        key = name, dtype
        if key not in self._signatures:
            self._signatures[key] = signature(self.own[name], dtype)
        return self._signatures[key]

    def dtype(self, name: str) -> str:
        """Return the element type of one of its tensors."""
        return dtype_name(self.own[name])

    def is_fill(self, name: str) -> bool:
        """Tell whether a tensor may be a constant that the exporter has filled with one number.

        Such as the initial state of an LSTM, the zero from which a bias is expanded, or the ones
        of a norm without weights.
        """
        is_unnamed = name not in self.parameters or is_made_up(name) or CONSTANT.search(name)
        return bool(is_unnamed) and is_uniform(self.own[name])

    def kind(self, name: str) -> Kind:
        """Return the kind of the layer of a tensor."""
        parameter = self.parameters.get(name)
        return parameter.kind if parameter else Kind.OTHER
