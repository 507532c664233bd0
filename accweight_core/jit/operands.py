"""What rows bring to the loops: the same three groups for those in NumPy and the compiled ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Steps(NamedTuple):
    """Weights of rows in several steps, flat, rows one behind the other.

    Attributes:
        reference: W_0.
        square: (rows,) sums of squares of it.
        before: Weights of the steps before.
        weights: Weights of the steps.
        stride: Elements from step to step in these two.
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
        after: A_t behind the last of them, written; may be `before` itself.
        is_begun: Whether there is such an A_t; else it is 0, and `before` is not looked at.
    """

    before: Array
    after: Array
    is_begun: bool


class Planes(NamedTuple):
    """What is drawn of rows.

    Attributes:
        values: float32, A_t after every step, flat, written; or nothing.
        stride: Elements from step to step in that.
    """

    values: Array
    stride: int

    @classmethod
    def nothing(cls) -> Planes:
        """Return that nothing is drawn."""
        return cls(np.empty(0, np.float32), 0)
