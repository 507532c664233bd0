"""Convert the weights given during training to torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from accweight_core.dtypes import DTYPES
from accweight_core.errors import UnsupportedDtypeError
from accweight_core.io.widening import code_dtype

LONG = {"g": np.float64, "G": np.complex128}
"""What torch has for long doubles, by their codes in NumPy."""


def as_tensor(value: Any) -> Tensor:
    """Return a tensor or array as a tensor on its own device, without a copy if possible."""
    if isinstance(value, Tensor):
        return value.detach()
    array = np.asarray(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    name = array.dtype.name
    if array.dtype.kind in "OSUMm" or array.dtype.names or name.startswith("void"):
        raise UnsupportedDtypeError(f"values of type {array.dtype} are not numbers")
    if name not in DTYPES or code_dtype(name) != array.dtype:  # such as those of ml_dtypes
        array = array.astype(LONG.get(array.dtype.char, np.float32))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()  # torch warns about read-only arrays and rejects negative strides
    return torch.from_numpy(array)
