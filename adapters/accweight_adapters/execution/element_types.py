"""Element types of ONNX in torch, and arrays as tensors and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from accweight_core.errors import UnsupportedOperatorError

TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.INT16: torch.int16,
    TensorProto.INT8: torch.int8,
    TensorProto.UINT64: torch.uint64,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
    TensorProto.COMPLEX64: torch.complex64,
    TensorProto.COMPLEX128: torch.complex128,
}

BY_NAME = {
    "bfloat16": (np.uint16, torch.bfloat16),
    "float8_e4m3fn": (np.uint8, torch.float8_e4m3fn),
    "float8_e4m3fnuz": (np.uint8, torch.float8_e4m3fnuz),
    "float8_e5m2": (np.uint8, torch.float8_e5m2),
    "float8_e5m2fnuz": (np.uint8, torch.float8_e5m2fnuz),
}
"""Types that NumPy has by extension: the type of their codes, and torch's."""

UNSIGNED = frozenset({torch.uint16, torch.uint32, torch.uint64})
"""Types for which torch has few operations."""


def torch_type(number: int) -> torch.dtype:
    """Return the type of torch for an element type of ONNX.

    Raises:
        UnsupportedOperatorError: If torch has none, as for strings and 4-bit numbers.
    """
    if number in TYPES:
        return TYPES[number]
    named = {value: name.lower() for name, value in TensorProto.DataType.items()}
    what = named.get(number, f"number {number}")
    raise UnsupportedOperatorError(
        f"values of type {what} cannot be computed with here; export the model in float32"
    )


def as_tensor(array: npt.ArrayLike) -> Tensor:
    """Return an array as a tensor of the same type, without a copy where that is possible.

    Raises:
        UnsupportedOperatorError: If torch does not have its type.
    """
    values = np.asarray(array)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not (values.flags.writeable and values.flags.c_contiguous):
        values = np.array(values, order="C")
    if values.dtype.name in BY_NAME:
        codes, dtype = BY_NAME[values.dtype.name]
        return torch.from_numpy(values.view(codes)).view(dtype)
    try:
        return torch.from_numpy(values)
    except TypeError:
        reason = f"values of type {values.dtype.name} cannot be computed with here"
        raise UnsupportedOperatorError(reason) from None


def as_array(tensor: Tensor) -> npt.NDArray[Any]:
    """Return a tensor as an array; types that NumPy lacks are widened to float32."""
    values = tensor.detach().cpu()
    if values.dtype in (torch.bfloat16, *(dtype for _, dtype in BY_NAME.values())):
        values = values.float()
    array: npt.NDArray[Any] = values.resolve_conj().numpy()
    return array


def stored_tensor(proto: TensorProto) -> Tensor:
    """Return a tensor of a model.

    Raises:
        UnsupportedOperatorError: If torch does not have its type.
    """
    torch_type(proto.data_type)
    return as_tensor(numpy_helper.to_array(proto))
