"""When a layer moved: half and 90% of its path, its last movement, and since when it rests.

Checkpoints may lie at uneven distances, so movements are compared per step of training. The
resolution is that of the checkpoints: "by step 20" means that it was so at the checkpoint of step
20, and not yet at the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.table import Floats

HALF, MOST = 0.5, 0.9
"""Shares of the path whose steps are told."""

RESTING = 0.1
"""Movement per step, as a share of the largest, up to which a layer counts as settled."""


@dataclass(frozen=True)
class Timing:
    """When a layer moved.

    Attributes:
        half: First step with half of the path behind; None if nothing moved.
        most: First step with 90% of the path behind.
        last: Last movement per step, over the largest one; NaN if nothing moved.
        settled: First step after which every movement per step is at most a tenth of the largest;
            None if the last one is larger, or if nothing moved.
    """

    half: int | None
    most: int | None
    last: float
    settled: int | None

    def to_json(self) -> dict[str, float | int | None]:
        """Return plain JSON values."""
        return {
            "path_50_step": self.half,
            "path_90_step": self.most,
            "last_to_largest": self.last,
            "settled_step": self.settled,
        }


NEVER = Timing(None, None, float("nan"), None)
"""The timing of what has not moved."""


def timing(steps: npt.NDArray[np.int64], moved: Floats) -> Timing:
    """Return when a layer moved.

    Args:
        steps: (steps,), ascending.
        moved: (steps,) movement since the step before, such as `step_mean`; the first is not used.
    """
    moved = np.nan_to_num(moved[1:])
    if not moved.sum() > 0:
        return NEVER
    path, pace = np.cumsum(moved), moved / np.diff(steps)
    after = steps[1:]
    half, most = (int(after[np.argmax(path >= share * path[-1])]) for share in (HALF, MOST))
    busy = np.flatnonzero(pace > RESTING * pace.max())
    settled = int(after[busy[-1]]) if busy[-1] < len(pace) - 1 else None
    return Timing(half, most, float(pace[-1] / pace.max()), settled)
