"""What is between two measured places: points go from one to the next on straight lines.

It is drawn, and not measured.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from accweight_core.errors import ArgumentValueError

Places = npt.NDArray[np.float64]


def between(before: Places, after: Places, share: float) -> Places:
    """Return points on their way from one place to the next.

    Of an affine map, this is the map with ``(1 - s) I + s W`` in place of W.

    Args:
        before: (points, axes) at s = 0.
        after: Likewise at s = 1.
        share: s, from 0 to 1; there, points are `before` and `after` themselves, though the other
            ones be nowhere.

    Raises:
        ArgumentValueError: If it is outside.
    """
    if not 0 <= share <= 1:
        raise ArgumentValueError(f"the share of the way is {share:g}; expected 0 to 1")
    if share in (0, 1):
        return after if share else before
    return (1 - share) * before + share * after
