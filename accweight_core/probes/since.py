"""Since which step something holds, and goes on to hold until the last one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accweight_core.probes.network import Array


def held_since(holds: Array, steps: Sequence[int]) -> Array:
    """Return the first step from which on it holds at all steps.

    Args:
        holds: (steps, things).
        steps: The steps.

    Returns:
        (things,); NaN where it does not hold at the last step.

    >>> held_since(np.array([[1, 0, 1], [1, 1, 0], [1, 1, 0]]) > 0, [0, 5, 10])
    array([ 0.,  5., nan])
    """
    stays = np.logical_and.accumulate(holds[::-1], axis=0)[::-1]
    found: Array = np.asarray(steps, np.float64)[stays.argmax(axis=0)]
    found[~stays[-1]] = np.nan
    return found
