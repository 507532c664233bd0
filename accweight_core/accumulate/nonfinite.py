"""Find the first NaN or infinity of a run: the earliest step, then the first in network order.

A NaN spreads: the parameter that is walked first need not be the one that was hit first. So under
`strict` a walk goes on past what it finds, keeps the earliest place, and raises at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_core.errors import NonFiniteError
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats
from accweight_core.schema import Checkpoint

_NONFINITE = SUMS.index("nonfinite")


class FirstNonFinite:
    """Collects where parameters hold elements that are not finite, and keeps the first place."""

    def __init__(self, checkpoints: Sequence[Checkpoint]) -> None:
        self._checkpoints = checkpoints
        self._first: tuple[int, int, str, int] | None = None

    def found_in(self, index: int, name: str, values: Floats) -> bool:
        """Tell whether a parameter holds NaN or infinity at any step, and keep the place.

        Args:
            index: Position of the parameter in network order.
            name: Its name.
            values: (steps, sums).
        """
        counts = values[:, _NONFINITE]
        if not counts.any():
            return False
        step = int(np.flatnonzero(counts)[0])
        place = step, index, name, int(counts[step])
        self._first = place if self._first is None else min(self._first, place)
        return True

    def refuse(self) -> None:
        """Raise if anything was found.

        Raises:
            NonFiniteError: Names the earliest step, and of the parameters that are hit at that
                step the first in network order, with the file.
        """
        if self._first is None:
            return
        step, _, name, count = self._first
        checkpoint = self._checkpoints[step]
        raise NonFiniteError(
            f"parameter {name!r} has {count} non-finite elements at step {checkpoint.step} "
            f"({checkpoint.path}), the first of this run; without --strict they are counted "
            "and left out of the change"
        )
