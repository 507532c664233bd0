"""Watching: what sees A_t of a block after every step, as it is or pooled over squares."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

Watcher = Callable[[int, Plane], None]
"""Called as ``watcher(step_index, plane)`` with A_t of the whole block, flat; the next call may
hand out the same memory."""


class Squares(NamedTuple):
    """How a block whose elements are the texels of a sheet, row by row, is pooled.

    Attributes:
        side: Side of a square.
        height: Rows of the sheet.
        width: Texels of a row.
    """

    side: int
    height: int
    width: int


@runtime_checkable
class PoolingWatcher(Protocol):
    """A watcher that A_t may be pooled for, if the elements of its block are texels in a row."""

    @property
    def squares(self) -> Squares | None:
        """How to pool; None to show A_t as it is."""

    def __call__(self, step_index: int, plane: Plane, /) -> None:
        """Take A_t as it is."""

    def pooled(self, step_index: int, sums: Plane, tops: Plane, /) -> None:
        """Take sums and maxima over squares; the next call may hand out the same memory."""
