"""Packs: small parameters that are walked together, and whose pictures lie in one array.

A network may have thousands of biases and scales. A folder and three files for each of them took
five times as long as measuring them, so their pictures are laid beside each other in one array of
(steps, texels), each of them row by row, in the order of the network; larger parameters between
them are passed over. A pack is walked as one, written as one and finished as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.sums import SUMS
from accweight_core.pictures.plan import COARSEST, Picture
from accweight_core.pictures.texel_map import Layout
from accweight_core.pictures.tiling import whole

SMALL_TEXELS = COARSEST**2
"""Texels, or elements where nothing is drawn, of the largest parameters that are packed: pictures
of which coarser levels are stored have more."""

PACK_TEXELS = 1 << 16
"""Most texels of a pack: what is walked together then fits the cache, and threads get a share."""

PACK_BYTES = 8 << 20
"""Most bytes that a pack takes while it is walked: its pictures and its sums at all steps."""

MEMBER_BYTES = PACK_BYTES // 4
"""Parameters that take more than that, over very many steps, gain nothing by being packed."""


def planned_packs(texels: Sequence[int], steps: int) -> tuple[tuple[int, ...], ...]:
    """Return which parameters are packed together, by their positions.

    Args:
        texels: Of every parameter that is small; 0 for those that are not packed.
        steps: Number of steps.
    """
    packs: list[tuple[int, ...]] = []
    members: list[int] = []
    filled = taken = 0
    for index, size in enumerate(texels):
        size_bytes = steps * (4 * size + 8 * len(SUMS))
        if not 0 < size <= SMALL_TEXELS or size_bytes > MEMBER_BYTES:
            continue
        if members and (filled + size > PACK_TEXELS or taken + size_bytes > PACK_BYTES):
            packs.append(tuple(members))
            members, filled, taken = [], 0, 0
        members.append(index)
        filled, taken = filled + size, taken + size_bytes
    return (*packs, tuple(members)) if members else tuple(packs)


def is_small(layout: Layout) -> bool:
    """Tell whether a picture, drawn element by element, has no coarser levels."""
    return max(layout.rows, layout.cols) <= COARSEST


@dataclass(frozen=True)
class Pack:
    """Small parameters whose pictures lie in one array.

    Attributes:
        number: Position among the packs of the analysis.
        members: Positions of the parameters, ascending.
        layouts: Their pictures.
    """

    number: int
    members: tuple[int, ...]
    layouts: tuple[Layout, ...]

    @cached_property
    def starts(self) -> list[int]:
        """First texel of each member, and behind the last one the number of texels."""
        return [0, *accumulate(layout.rows * layout.cols for layout in self.layouts)]

    @property
    def texels(self) -> int:
        """Texels of all members."""
        return self.starts[-1]

    def attributes(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what tells any reader of the array where the picture of a parameter lies.

        Args:
            names: Of the members.
        """
        return {
            "parameters": list(names),
            "indices": list(self.members),
            "first_texels": self.starts[:-1],
            "rows": [layout.rows for layout in self.layouts],
            "columns": [layout.cols for layout in self.layouts],
        }


class PackSheet:
    """The pictures of a pack while it is walked."""

    def __init__(self, pack: Pack, steps: int, walked: int) -> None:
        """Prepare pictures that hold no element yet.

        Args:
            pack: What is drawn.
            steps: Number of steps.
            walked: How many of them, the last ones, are drawn; the others are copied.
        """
        self._pack = pack
        self._copied = steps - walked
        self.texels = np.full((steps, pack.texels), np.nan, np.float32)

    def drawn(self, members: Sequence[int]) -> Callable[[int, Picture], None]:
        """Return what draws some members that have the same number of elements.

        Args:
            members: Their positions in the pack.

        Returns:
            Called as ``draw(step, totals)`` with A_t of (members, elements); steps count from the
            first one that is walked.
        """
        layouts, starts = self._pack.layouts, self._pack.starts
        texels = np.stack([places(layouts[member]) + starts[member] for member in members])

        def draw(step: int, totals: Picture) -> None:
            self.texels[self._copied + step, texels] = totals

        return draw

    def copy(self, member: int, picture: Picture) -> None:
        """Take the steps of a picture that were drawn before: (steps, rows, columns)."""
        first, stop = self._pack.starts[member : member + 2]
        self.texels[: self._copied, first:stop] = picture.reshape(self._copied, -1)


@lru_cache(maxsize=256)
def places(layout: Layout) -> npt.NDArray[np.int64]:
    """Return the texel of every element of a parameter; texels are counted in rows."""
    return whole(layout, 0).first.places(0)
