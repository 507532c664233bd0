"""What a graph of ONNX states: constants, attributes of nodes, types and shapes of values."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, ValueInfoProto
from torch import Tensor

from accweight_adapters.execution.element_types import TYPES, stored_tensor
from accweight_adapters.execution.operators.control import Declared
from accweight_core.errors import UnsupportedOperatorError


def declared_form(value: ValueInfoProto) -> Declared | None:
    """Return what a graph says of the type and shape of a value; None if it leaves one open."""
    tensor = value.type.tensor_type
    if tensor.elem_type not in TYPES or not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
    return TYPES[tensor.elem_type], shape


def stored_constant(proto: TensorProto) -> Tensor:
    """Return a constant of the graph; the error for a type that torch lacks names it."""
    try:
        return stored_tensor(proto)
    except UnsupportedOperatorError as error:
        raise UnsupportedOperatorError(f"tensor {proto.name[:80]!r}: {error}") from None


def attribute_value(attribute: AttributeProto) -> Any:
    """Return the value of an attribute, with strings as text and lists as tuples."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
        return tuple(value)
    if attribute.type == AttributeProto.STRINGS:
        return tuple(text.decode(errors="replace") for text in value)
    return value
