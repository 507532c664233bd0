"""The graph of a network next to its checkpoints, for the meaning of parameters.

`accweight train` writes one under its own name; the tools of ONNX Runtime write the models for
training. In all of these, parameters are inputs of the graph, not constants, with the shapes of the
checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from accweight_core.errors import FormatError
from accweight_core.schema import Hints, StoredTensor

NETWORK: Final = "network.onnx"
"""File that `accweight train` writes: the network without its weights."""

BY_RUNTIME: Final = ("eval_model.onnx", "training_model.onnx")
"""Files of ONNX Runtime's tools: the network with its loss, and the one with gradients."""

COMPANIONS: Final = (NETWORK, *BY_RUNTIME, "optimizer_model.onnx")

ONNX_TYPES: Final[Mapping[str, int]] = {"float32": 1, "float16": 10, "float64": 11, "bfloat16": 16}

Shapes = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Name, dtype and shape of each parameter."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Information from files next to a checkpoint.

    Attributes:
        hints: Hints from the graph for parameters, by name, in network order.
        files: Files next to the checkpoint that are not checkpoints.
        notes: Remarks for the user.
    """

    hints: Mapping[str, Hints] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def network_beside(path: Path, tensors: Mapping[str, StoredTensor]) -> Beside:
    """Return the hints from the graph next to the checkpoint at `path`."""
    files = [path.with_name(name) for name in COMPANIONS if path.with_name(name).is_file()]
    model = next((file for file in files if file.name in (NETWORK, *BY_RUNTIME)), None)
    names = tuple(map(str, files))
    if model is None:
        return Beside(files=names)
    shapes = tuple((t.name, t.dtype, t.shape) for t in tensors.values())
    try:
        hints = _hints(model, model.stat().st_mtime_ns, shapes)
    except (FormatError, OSError) as error:
        reason = str(error).removeprefix(f"{model}: ")
        note = f"{model.name} beside it cannot be used ({reason}); kinds of layers are guessed"
        return Beside(files=names, notes=(note,))
    return Beside(hints, names)


@lru_cache(maxsize=4)
def _hints(model: Path, changed_ns: int, shapes: Shapes) -> Mapping[str, Hints]:
    """Return the hints of a model by parameter name; cached for the checkpoints of a run."""
    from onnx import TensorProto

    from accweight_adapters.onnx.description import small_integers
    from accweight_adapters.onnx.extents import Weights
    from accweight_adapters.onnx.flattening import network_of
    from accweight_adapters.onnx.graph import GraphError, Value
    from accweight_adapters.onnx.layers import hints_of, layers_of
    from accweight_adapters.onnx.trace import constant_behind
    from accweight_adapters.onnx.wire import read_model

    proto = read_model(model)
    weights = Weights(model)
    constants = {tensor.name for tensor in proto.graph.initializer}
    added = {name for name, *_ in shapes} - constants
    for name, dtype, shape in shapes:
        if name in added:
            proto.graph.initializer.append(
                TensorProto(name=name, dims=shape, data_type=ONNX_TYPES.get(dtype, 0))
            )

    def integers(value: Value | None) -> list[int] | None:
        constant = constant_behind(value)
        known = constant is None or constant.name not in added  # others have no values here
        return small_integers(value, weights) if known else None

    try:
        layers = layers_of(network_of(proto), integers)
    except GraphError as error:
        raise FormatError(model, str(error)) from None
    known = {name for name, *_ in shapes}
    return {
        part.constant.name: hints_of(layer, part)
        for layer in layers
        for part in layer.parts
        if part.constant.name in known
    }
