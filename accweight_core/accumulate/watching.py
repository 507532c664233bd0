"""Watchers: callbacks that see A_t of a block after every step, whole or pooled over squares."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

Watcher = Callable[[int, Plane], None]
"""Called as ``watcher(step_index, plane)`` with A_t of the whole block, flat. The buffer is reused
for the next call."""


class Squares(NamedTuple):
    """How to pool a block whose elements are the texels of a sheet, row by row, or kernels.

    Kernels of 3 x 3 are four texels apart, those of one output below each other.

    Attributes:
        side: Side of a square, in texels.
        height: Rows of the sheet.
        width: Columns of the sheet.
        counts: (height / side, width / side), sizes rounded up: elements of each square.
        room: Where all steps are drawn at once, if there is such a place.
        inputs: Kernels of an output, one below the other; 0 if the elements are texels in order.
    """

    side: int
    height: int
    width: int
    counts: Plane
    room: Room | None = None
    inputs: int = 0


class Room(NamedTuple):
    """Where the squares of every step of a block are drawn.

    Attributes:
        memory: float32, flat, with everything below in it.
        means: (steps, height / side, width / side), a view; rows are contiguous.
        tops: Same shape and strides, maxima.
    """

    memory: Plane
    means: Plane
    tops: Plane

    @classmethod
    def of(cls, means: Plane, tops: Plane) -> Room | None:
        """Return the room of two views of one array; None if they are not."""
        owner = means.base
        if owner is None or owner is not tops.base or not owner.flags.c_contiguous:
            return None
        return cls(owner.reshape(-1), means, tops)


class PoolingWatcher(Protocol):
    """A watcher that takes pooled values if the elements of its block are texels in row order."""

    @property
    def squares(self) -> Squares | None:
        """How to pool; None to receive A_t unpooled."""

    def __call__(self, step_index: int, plane: Plane, /) -> None:
        """Take A_t, unpooled."""

    def pooled(self, first_step: int, means: Plane, tops: Plane, /) -> None:
        """Take means and maxima over squares at consecutive steps, (steps, rows, columns) each.

        Those of a room are there already; other buffers are reused for the next call.
        """
