"""An ONNX graph run by ONNX Runtime: forward passes only, on its own kernels.

Weights are inputs of the session, so that one session serves all checkpoints; there is one per set
of nodes to keep, because these must be outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from accweight_adapters.execution.arrays import checked_inputs, fitting_arrays
from accweight_adapters.execution.prepared import PreparedModel, all_nodes, prepared
from accweight_core.errors import (
    FormatError,
    MissingLibraryError,
    UnknownNameError,
    UnsupportedOperatorError,
)
from accweight_core.probes.network import OUTPUT, Array, Inputs, Network, Proof, Unit
from accweight_core.text import some

NEWEST_IR = 10
"""Version of the file format that all supported versions of the runtime read."""

MOST_SESSIONS = 8
NOTHING_BUT_CRASHES = 4
"""What the runtime writes to the terminal: its errors are raised, its warnings are about speed."""

NO_SPINNING = "session.intra_op.allow_spinning", "0"
"""Has its threads sleep while they wait: they took half of the processor seconds of a pass, as long
as probes work between batches."""


class OrtNetwork(Network):
    """The network in an ONNX file, run by ONNX Runtime."""

    engine = "ort"

    def __init__(self, model: PreparedModel, path: Path) -> None:
        self._path = path
        self.inputs, self.outputs = model.inputs, model.outputs
        self.own = {name: numpy_helper.to_array(t) for name, t in model.parameters.items()}
        self.parameters = {name: value.shape for name, value in self.own.items()}
        self._proto = _with_weights_as_inputs(model)
        values = [name for node in model.proto.graph.node for name in node.output if name]
        made = set(values)
        of_layers = {name: value for name, value in model.layers.items() if value in made}
        self.values = {**of_layers, **{n: n for n in values if n not in of_layers}}
        self.layers = tuple(of_layers)
        within = {name for node in all_nodes(model.proto.graph.node) for name in node.output}
        self.inner = {*within, *(n for n, v in model.layers.items() if v in within)} - {
            *self.values
        }
        self._sessions: dict[tuple[str, ...], Any] = {}
        self.session(())

    @classmethod
    def opened(cls, path: Path, *, device: str = "cpu") -> OrtNetwork:
        """Return the network in a file.

        Raises:
            FormatError: If it is damaged.
            MissingLibraryError: If ONNX Runtime is not installed.
            UnsupportedOperatorError: If the runtime refuses the model.
        """
        if device.lower() != "cpu":
            raise UnsupportedOperatorError(
                f"ONNX Runtime is used on the CPU alone, not on {device!r}; take the engine 'onnx'"
            )
        return cls(prepared(path), path)

    @property
    def source(self) -> Path:
        """The file."""
        return self._path

    def with_weights(self, weights: Mapping[str, Array]) -> OrtBound:
        """Return the network with these weights, by its own names; see `Network.with_weights`."""
        return OrtBound(self, {**self.own, **fitting_arrays(weights, self.own)})

    def session(self, values: tuple[str, ...]) -> Any:
        """Return the session whose outputs are those of the model and these values."""
        if values not in self._sessions:
            if len(self._sessions) >= MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[values] = _session(self._proto, values, self._path)
        return self._sessions[values]


class OrtBound:
    """An ONNX graph with the weights of one checkpoint, run by ONNX Runtime."""

    proof: Proof = "not verified"

    def __init__(self, network: OrtNetwork, arrays: Mapping[str, Array]) -> None:
        self.network = network
        self.parameters: Mapping[str, Array] = dict(arrays)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Layers by name, then all other values."""
        return tuple(self.network.values)

    def run(self, x: Inputs, keep: Sequence[str] = ()) -> dict[str, Array]:
        """Return what the network makes of samples; see `BoundNetwork.run`."""
        network = self.network
        for name in keep:
            if name not in network.values:
                inside = name in network.inner
                raise UnknownNameError(
                    f"the engine 'ort' keeps no values inside of branches and loops, such as "
                    f"{name!r}; the engine 'onnx' does"
                    if inside
                    else f"the network has no node {name!r}; its nodes are {some(self.nodes, 8)}"
                )
        outputs = [port.name for port in network.outputs]
        kept = [network.values[name] for name in keep]
        session = network.session(tuple(dict.fromkeys(n for n in kept if n not in outputs)))
        feeds = {**checked_inputs(network.inputs, x), **self.parameters}
        taken = {value.name for value in session.get_inputs()}
        try:
            made = session.run(
                [*outputs, *kept], {n: _plain(v) for n, v in feeds.items() if n in taken}
            )
        except Exception as error:  # classes of its own, of no common base
            raise UnsupportedOperatorError(f"ONNX Runtime fails: {_line(error)}") from None
        return dict(zip([OUTPUT, *outputs[1:], *keep], made, strict=True))

    def gradient(
        self, x: Inputs, of: tuple[str, Unit], wrt: Sequence[str] | None = None
    ) -> Array | dict[str, Array]:
        """Refuse: the runtime has no gradients of inputs."""
        raise UnsupportedOperatorError("ONNX Runtime has no gradients here; take the engine 'onnx'")

    def patch(self, functions: Mapping[str, Callable[[Any], Any]]) -> Self:
        """Refuse: values cannot be replaced within the runtime."""
        raise UnsupportedOperatorError("ONNX Runtime cannot be patched; take the engine 'onnx'")

    def proven(self, proof: Proof) -> Self:
        """Return the same network with this proof."""
        other = copy.copy(self)
        other.proof = proof
        return other


def _with_weights_as_inputs(model: PreparedModel) -> ModelProto:
    """Return the model without its parameters, which are inputs instead."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    graph = proto.graph
    constants = [t for t in graph.initializer if t.name not in model.parameters]
    kept = [onnx.TensorProto.FromString(t.SerializeToString()) for t in constants]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for name, tensor in model.parameters.items():
        value = onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        graph.input.append(value)
    return proto


def _session(proto: ModelProto, values: Sequence[str], path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingLibraryError("onnxruntime", "ort", "running a network by it") from None
    asked = ModelProto()
    asked.CopyFrom(proto)
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in values)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = NOTHING_BUT_CRASHES
    options.add_session_config_entry(*NO_SPINNING)
    try:
        return onnxruntime.InferenceSession(
            asked.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # classes of its own, of no common base
        text = _line(error)
        if "INVALID_PROTOBUF" in text or "INVALID_GRAPH" in text:
            raise FormatError(path, f"not a valid ONNX model: {text}") from None
        raise UnsupportedOperatorError(f"ONNX Runtime cannot run the model: {text}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _plain(value: Array) -> Array:
    return np.asarray(value, order="C")  # `ascontiguousarray` gives a number an axis
