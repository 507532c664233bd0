"""Packs: small parameters that are walked together and share one array of pictures.

A network may have thousands of biases and scales. A folder and three files for each took five times
as long as measuring them. So their pictures share one array of (steps, texels), one after the
other in row-major order, in network order; larger parameters in between are skipped. A pack is
walked, written and finished as a unit.
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
"""Texels (elements, if nothing is drawn) of the largest parameter that is packed: larger pictures
have stored coarser levels."""

PACK_TEXELS = 1 << 16
"""Most texels of a pack, so that it fits the cache and every thread gets some."""

PACK_BYTES = 8 << 20
"""Most bytes of a pack during the walk: its pictures and its sums at all steps."""

MEMBER_BYTES = PACK_BYTES // 4
"""Parameters that need more than this, because of very many steps, are not packed."""


def planned_packs(texels: Sequence[int], steps: int) -> tuple[tuple[int, ...], ...]:
    """Return the positions of the parameters of each pack.

    Args:
        texels: Texels of every parameter; 0 for those that must not be packed.
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
    """Tell whether a picture with one texel per element has no coarser levels."""
    return max(layout.rows, layout.cols) <= COARSEST


@dataclass(frozen=True)
class Pack:
    """Small parameters that share one array of pictures.

    Attributes:
        number: Position among the packs of the analysis.
        members: Positions of the parameters, ascending.
        layouts: Their layouts.
    """

    number: int
    members: tuple[int, ...]
    layouts: tuple[Layout, ...]

    @cached_property
    def starts(self) -> list[int]:
        """First texel of each member, followed by the total number of texels."""
        return [0, *accumulate(layout.rows * layout.cols for layout in self.layouts)]

    @property
    def texels(self) -> int:
        """Texels of all members."""
        return self.starts[-1]

    def attributes(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the array's attributes, which say where each parameter's picture lies.

        Args:
            names: Names of the members.
        """
        return {
            "parameters": list(names),
            "indices": list(self.members),
            "first_texels": self.starts[:-1],
            "rows": [layout.rows for layout in self.layouts],
            "columns": [layout.cols for layout in self.layouts],
        }


class PackSheet:
    """The pictures of a pack during the walk."""

    def __init__(self, pack: Pack, steps: int) -> None:
        """Allocate the pictures, filled with NaN.

        Args:
            pack: The pack.
            steps: Number of steps.
        """
        self._pack = pack
        self.texels = np.full((steps, pack.texels), np.nan, np.float32)

    def drawn(self, members: Sequence[int]) -> Callable[[int, Picture], None]:
        """Return a function that draws some members with equal numbers of elements.

        Args:
            members: Their positions in the pack.

        Returns:
            Called as ``draw(step, totals)`` with A_t of (members, elements).
        """
        layouts, starts = self._pack.layouts, self._pack.starts
        texels = np.stack([places(layouts[member]) + starts[member] for member in members])

        def draw(step: int, totals: Picture) -> None:
            self.texels[step, texels] = totals

        return draw


@lru_cache(maxsize=256)
def places(layout: Layout) -> npt.NDArray[np.int64]:
    """Return the texel of every element of a parameter, in row-major order."""
    return whole(layout, 0).first.places(0)
