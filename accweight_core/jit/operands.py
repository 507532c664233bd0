"""Arguments of the loops in three groups, the same for NumPy and compiled loops."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

Array = npt.NDArray[Any]


class Steps(NamedTuple):
    """Weights of rows in several steps, flat, rows contiguous.

    Attributes:
        reference: W_0.
        square: (rows,) sums of squares of W_0.
        before: Weights of the step before each step.
        weights: Weights of the steps.
        stride: Elements from step to step in `before` and `weights`.
    """

    reference: Array
    square: Array
    before: Array
    weights: Array
    stride: int


class Path(NamedTuple):
    """A_t of rows, flat.

    Attributes:
        before: A_t before the steps.
        after: A_t after the last step; output; may be `before` itself.
        is_begun: Whether `before` holds values; else A_t starts at 0 and `before` is not read.
    """

    before: Array
    after: Array
    is_begun: bool


class Planes(NamedTuple):
    """Output buffer for pictures.

    Attributes:
        values: float32, A_t after every step, flat; empty if nothing is drawn.
        stride: Elements from step to step in `values`.
    """

    values: Array
    stride: int

    @classmethod
    def nothing(cls) -> Planes:
        """Return empty buffers: nothing is drawn."""
        return cls(np.empty(0, np.float32), 0)


def flat_memory(array: Array) -> Array:
    """Return the memory of an array from its first to its last element, as a flat view."""
    if array.flags.c_contiguous:
        return array.reshape(-1)
    pairs = zip(array.shape, array.strides, strict=True)
    reach = sum((n - 1) * stride // array.itemsize for n, stride in pairs) + 1
    return as_strided(array, (reach if array.size else 0,), (array.itemsize,))
