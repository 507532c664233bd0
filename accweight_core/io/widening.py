"""Convert stored elements exactly to the dtype in which they are subtracted (widening).

NumPy has neither bfloat16 nor 8-bit floats. Their codes are read as unsigned integers: a bfloat16
is the upper half of a float32, and the 256 codes of an 8-bit float are looked up in a table.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.dtypes import DTYPES
from accweight_core.errors import UnsupportedDtypeError
from accweight_core.jit import tiers
from accweight_core.schema import StoredTensor

Array = npt.NDArray[Any]

_EIGHT_BITS = {
    "float8_e4m3fn": (3, 7),
    "float8_e4m3fnuz": (3, 8),
    "float8_e5m2": (2, 15),
    "float8_e5m2fnuz": (2, 16),
}
"""Bits of the mantissa, and bias of the exponent."""


def working_dtype(tensor: StoredTensor) -> np.dtype[Any]:
    """Return the dtype in which a tensor is subtracted.

    Raises:
        UnsupportedDtypeError: If its values cannot be analysed; the message says why.
    """
    dtype = DTYPES.get(tensor.dtype)
    if tensor.refusal or dtype is None or not dtype.widened:
        reason = tensor.refusal or f"{tensor.dtype} values have no known scale and zero point"
        raise UnsupportedDtypeError(
            f"parameter {tensor.name!r} cannot be analysed: {reason}; "
            f"leave it out with --skip {tensor.name!r}"
        )
    return np.dtype(dtype.widened)


def code_dtype(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of stored elements: the same dtype, or that of their codes."""
    return np.dtype(DTYPES[name].code)


def widen(stored: Array, name: str, out: Array) -> None:
    """Convert stored elements exactly into `out`.

    Args:
        stored: The elements, of `code_dtype(name)`.
        name: Name of the stored dtype.
        out: Output of the same shape, of a dtype that represents all values exactly.
    """
    if stored.dtype != code_dtype(name):
        raise TypeError(f"elements of {name} come as {code_dtype(name)}, got {stored.dtype}")
    is_flat = stored.flags.c_contiguous and out.flags.c_contiguous
    if name == "float16" and out.dtype == np.float32 and is_flat:
        tiers.widen_halves(stored.reshape(-1).view(np.uint16), out.reshape(-1))
    elif DTYPES[name].code == name:
        out[...] = stored
    elif out.dtype != np.float32:
        narrow = np.empty(out.shape, np.float32)
        widen(stored, name, narrow)
        out[...] = narrow
    elif name == "bfloat16":
        np.left_shift(stored, 16, out=out.view(np.uint32), dtype=np.uint32)
    elif is_flat:
        tiers.look_up(stored.reshape(-1), values_of_codes(name), out.reshape(-1))
    else:
        out[...] = values_of_codes(name)[stored]


@cache
def values_of_codes(name: str) -> npt.NDArray[np.float32]:
    """Return the value of each code of an 8-bit float dtype.

    ``(-1)^sign * 2^(exponent - bias) * 1.mantissa``, and ``2^(1 - bias) * 0.mantissa`` where the
    exponent is 0. In e5m2, as in IEEE, the largest exponent is for infinities and NaN; in e4m3fn
    only the largest code is NaN; in the dtypes ending in uz, NaN has the code of -0.
    """
    bits, bias = _EIGHT_BITS[name]
    codes = np.arange(256)
    exponent, mantissa = (codes & 127) >> bits, codes & ((1 << bits) - 1)
    fraction = mantissa / (1 << bits) + (exponent > 0)
    values = np.ldexp(fraction, np.maximum(exponent, 1) - bias)
    if name.endswith("uz"):
        values[128] = np.nan
    elif name == "float8_e4m3fn":
        values[codes & 127 == 127] = np.nan
    else:
        largest = exponent == 31
        values[largest] = np.where(mantissa[largest] == 0, np.inf, np.nan)
    found: npt.NDArray[np.float32] = np.where(codes < 128, values, -values).astype(np.float32)
    return found


def as_widened(value: Any, name: str = "") -> Array:
    """Return an array or tensor, widened, in its own shape.

    Args:
        value: An array, or a torch tensor on any device. For a dtype that NumPy lacks, codes are
            given as unsigned integers of the same width.
        name: The dtype that the codes stand for; needed only for codes.

    Raises:
        UnsupportedDtypeError: If the values are integers and not codes.
    """
    if is_torch(value):
        return _of_torch(value)
    array = np.asarray(value)
    if name in DTYPES and array.dtype.name == DTYPES[name].code != name:
        out = np.empty(array.shape, np.float32)
        widen(array, name, out)
        return out
    if array.dtype.name in DTYPES and array.dtype.kind in "fc":
        return array.astype(DTYPES[array.dtype.name].widened, copy=False)
    if array.dtype.kind in "biu":
        raise UnsupportedDtypeError(
            f"weights of dtype {array.dtype} have no scale; dequantise them first"
        )
    return array.astype(np.float32)  # bfloat16 and 8-bit floats of ml_dtypes


def is_torch(value: Any) -> bool:
    """Tell whether a value is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _of_torch(tensor: Any) -> Array:
    """Return a torch tensor as a widened array."""
    from accweight_core.kernels import widened_dtype

    found: Array = tensor.detach().to("cpu", widened_dtype(tensor.dtype)).resolve_conj().numpy()
    return found
