"""The plain formulas on NumPy arrays, for where torch is not installed.

Where it is, arrays are worked on as tensors. The bits are the same, but for the last one of
the modulus of a complex128, which is rounded by whoever takes the root.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.dtypes import DTYPES
from accweight_core.errors import ArgumentTypeError, MismatchError, UnsupportedDtypeError

Array = npt.NDArray[Any]


def _array(values: Array, *, is_written: bool = False) -> Array:
    """Return an array, or what an array without axes turns into, as an array.

    Args:
        values: What was given.
        is_written: Whether it is to be changed itself.
    """
    if not isinstance(values, np.ndarray | np.generic):
        raise ArgumentTypeError(
            f"expected a NumPy array, got {type(values).__name__}; "
            "make one of it, with numpy.asarray for instance"
        )
    if is_written and not values.flags.writeable:
        raise ArgumentTypeError("the array is written to, and is read-only; give a copy")
    dtype = DTYPES.get(values.dtype.name)
    if dtype is None or dtype.code != dtype.name:
        raise UnsupportedDtypeError(
            f"NumPy has no arithmetic for dtype {values.dtype}; widen it with astype"
        )
    return np.asarray(values)


def _widened(values: Array) -> Array:
    """Return weights in the dtype in which they are subtracted, in native byte order."""
    widened = DTYPES[values.dtype.name].widened
    if not widened:
        raise UnsupportedDtypeError(
            f"weights of dtype {values.dtype} have no scale; dequantise them first"
        )
    return values.astype(widened, copy=False)


@np.errstate(all="ignore")
def step_change(previous: Array, current: Array) -> Array:
    """Return ``abs(current - previous)``, widened first; see `tensors.step_change`.

    >>> step_change(np.array([1.0, -2.0]), np.array([1.5, 2.0]))
    array([0.5, 4. ])
    """
    before, after = _array(previous), _array(current)
    if before.shape != after.shape:
        raise MismatchError(f"shapes differ: {before.shape} and {after.shape}")
    moved = np.asarray(_widened(after) - _widened(before))
    if np.iscomplexobj(moved):
        return np.asarray(np.hypot(moved.real, moved.imag))
    return np.asarray(np.abs(moved))


@np.errstate(all="ignore")
def accumulate_(total: Array, previous: Array, current: Array) -> Array:
    """Add ``step_change(previous, current)`` to `total` in place and return it."""
    room = _array(total, is_written=True)
    room += step_change(previous, current)
    return total


@np.errstate(all="ignore")
def accumulate_compensated_(
    total: Array, compensation: Array, previous: Array, current: Array
) -> Array:
    """Add ``step_change(previous, current)`` to the sum `total` + `compensation`, both in place.

    See `tensors.accumulate_compensated_`; the additions are the same, in the same order.
    """
    rounded, lacking = (_array(part, is_written=True) for part in (total, compensation))
    lacking += step_change(previous, current)
    after = rounded + lacking
    grown = after - rounded
    rounded -= after - grown  # what the addition has lost
    lacking -= grown
    lacking += rounded
    rounded[...] = after
    return total


@np.errstate(all="ignore")
def normalised(total: Array, maximum: float) -> Array:
    """Return ``total / maximum``, and zeros where `maximum` is 0 (nothing moved)."""
    path = _array(total)
    if not maximum > 0:
        return np.zeros(path.shape, path.dtype.newbyteorder("="))
    dtype = path.dtype.newbyteorder("=") if path.dtype.kind in "fc" else np.dtype(np.float32)
    wide = np.dtype(np.float32) if dtype == np.float16 else dtype  # a half is rounded once
    return np.asarray(np.divide(path, maximum, dtype=wide, casting="unsafe")).astype(
        dtype, copy=False
    )
