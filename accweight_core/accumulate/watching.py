"""Watchers: callbacks that see A_t of a block after every step, whole or pooled over squares."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

Watcher = Callable[[int, Plane], None]
"""Called as ``watcher(step_index, plane)`` with A_t of the whole block, flat. The buffer is reused
for the next call."""


class Squares(NamedTuple):
    """How to pool a block whose elements are the texels of a sheet, row by row.

    Attributes:
        side: Side of a square, in texels.
        height: Rows of the sheet.
        width: Columns of the sheet.
    """

    side: int
    height: int
    width: int


@runtime_checkable
class PoolingWatcher(Protocol):
    """A watcher that takes pooled values if the elements of its block are texels in row order."""

    @property
    def squares(self) -> Squares | None:
        """How to pool; None to receive A_t unpooled."""

    def __call__(self, step_index: int, plane: Plane, /) -> None:
        """Take A_t, unpooled."""

    def pooled(self, step_index: int, sums: Plane, tops: Plane, /) -> None:
        """Take sums and maxima over squares; the buffers are reused for the next call."""
