"""Describe ONNX models: the parameters of a graph, without loading their values.

`wire` takes the weights out of the message; `graph` and `trace` find the operators that use each
constant; `shared` separates tensors that were stored once for several layers; `roles`, `names` and
`layers` infer what each constant is; `extents` locates its bytes; `quantised` dequantises codes.
Constants that are not parameters (shapes, indices, single numbers) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnx import ModelProto

from accweight_adapters.measures import measures_in, number_or_text
from accweight_adapters.onnx.extents import Weights, Zeros, type_name
from accweight_adapters.onnx.flattening import network_of
from accweight_adapters.onnx.graph import Constant, GraphError, Value
from accweight_adapters.onnx.heads import heads_of
from accweight_adapters.onnx.layers import (
    CODES,
    Layer,
    Part,
    hints_of,
    layers_of,
)
from accweight_adapters.onnx.quantised import UnknownScaleError, dequantised
from accweight_adapters.onnx.shared import separate
from accweight_adapters.onnx.trace import Ints, constant_behind
from accweight_adapters.onnx.wire import read_model
from accweight_core.errors import FormatError, UnsupportedDtypeError
from accweight_core.schema import Description, HiddenValues, StoredTensor

STEP_KEYS = ("global_step", "step", "iteration", "epoch")
LARGEST_ARGUMENT = 64
"""Most elements of an integer constant that may be a list of axes or a shape."""


def described(path: Path) -> Description:
    """Describe a model: its parameters by layer, in network order.

    Raises:
        FormatError: If the model is damaged, contradicts itself, or points outside its folder.
    """
    weights = Weights(path)
    model = read_model(path)
    try:
        network = network_of(model)
    except GraphError as error:
        raise FormatError(path, f"not a valid ONNX model: {error}; export it again") from None
    ints = partial(small_integers, weights=weights)
    separate(network, ints)
    by_name = {constant.name: constant for constant in network.constants}
    layers = layers_of(network, ints)
    tensors = [
        _with_heads(_stored(layer, part, weights, by_name), layer, part, ints)
        for layer in layers
        for part in layer.parts
    ]
    step, key = _step(model)
    return Description(
        format="ONNX with external data" if weights.external else "ONNX",
        tensors=tuple(tensors),
        step=step,
        step_key=key,
        files=(str(path), *weights.external),
        notes=_notes(layers),
        measures=measures_in(_metadata(model), number_or_text),
    )


def _stored(
    layer: Layer, part: Part, weights: Weights, by_name: Mapping[str, Constant]
) -> StoredTensor:
    """Return a parameter as a `StoredTensor`."""
    constant, tensor = part.constant, part.constant.tensor
    hints = hints_of(layer, part)
    if constant.is_zeros:
        return StoredTensor(constant.name, Zeros(constant.shape).hidden(), hints)
    if constant.sparse_shape is not None:
        reason = "it is stored sparsely; export the model with dense weights"
        hidden = HiddenValues(_Refused(constant.name, reason), type_name(tensor), constant.shape)
        return StoredTensor(constant.name, hidden, hints, reason)
    if type_name(tensor) not in CODES and part.use.dequantiser is None:
        return StoredTensor(constant.name, weights.values(tensor), hints)
    try:
        floats = dequantised(constant, part.use, weights, by_name)
        return StoredTensor(constant.name, floats, hints)
    except UnknownScaleError as error:
        return StoredTensor(constant.name, weights.values(tensor), hints, str(error))


def _with_heads(tensor: StoredTensor, layer: Layer, part: Part, ints: Ints) -> StoredTensor:
    split = heads_of(part.use.operator, layer.name, tensor.shape, tensor.hints.axes, ints)
    return replace(tensor, hints=replace(tensor.hints, split=split)) if split else tensor


class _Refused:
    """Loader of values that cannot be read."""

    def __init__(self, name: str, reason: str) -> None:
        self._text = f"the values of {name!r} cannot be read: {reason}"

    def __call__(self) -> None:
        """Raise a `FormatError` with the reason."""
        raise UnsupportedDtypeError(self._text)


def small_integers(value: Value | None, weights: Weights) -> list[int] | None:
    """Return a small constant of integers, or None for any other value."""
    constant = constant_behind(value)
    if constant is None or type_name(constant.tensor) not in ("int64", "int32"):
        return None
    shape = constant.shape
    if constant.sparse_shape is not None or len(shape) > 1 or sum(shape) > LARGEST_ARGUMENT:
        return None
    return [int(number) for number in weights.load(constant.tensor)().reshape(-1)]


def _metadata(model: ModelProto) -> dict[str, str]:
    return {entry.key: entry.value.strip() for entry in model.metadata_props}


def _step(model: ModelProto) -> tuple[int | None, str]:
    """Return the step in the model's metadata, and its key."""
    entries = _metadata(model)
    for key in STEP_KEYS:
        text = entries.get(key, "")
        if text.isascii() and text.isdigit() and len(text) < 19:
            return int(text), f"metadata_props {key!r}"
    return None, ""


def _notes(layers: list[Layer]) -> tuple[str, ...]:
    parts = [part for layer in layers for part in layer.parts]
    shared = [part for part in parts if part.elsewhere]
    zeros = [part.constant.name for part in parts if part.constant.is_zeros]
    notes = []
    if shared:
        notes.append(
            f"{len(shared)} tensors serve several layers ({shared[0].constant.name!r} also "
            f"{shared[0].elsewhere!r}): tied weights, or values that were equal at export; each "
            "is counted once, in the first layer that uses it"
        )
    if zeros:
        notes.append(
            f"{len(zeros)} biases ({zeros[0]!r} ...) are not in the file: the exporter dropped "
            "them because they were zero, and zeros are read for them"
        )
    return tuple(notes)
