"""The inputs of an ONNX model: names, element types and shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from accweight_core.errors import FormatError
from accweight_core.samples.samples import Input


def inputs_of(model: onnx.ModelProto, path: Path) -> tuple[Input, ...]:
    """Return the inputs of a model.

    Raises:
        FormatError: If one is not a tensor of numbers.
    """
    found = []
    for value in model.graph.input:
        tensor = value.type.tensor_type
        try:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        except (KeyError, ValueError, TypeError):
            raise FormatError(path, f"input {value.name!r} is not a tensor of numbers") from None
        found.append(Input(value.name, dtype, tuple(d.dim_value for d in tensor.shape.dim)))
    if not found:
        raise FormatError(path, "the model has no input that its output depends on")
    return tuple(found)
