"""Many small pictures of one size as one: side by side, in rows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def sprite(pictures: Pixels, columns: int | None = None) -> tuple[Pixels, int]:
    """Return pictures side by side in one, and how many are in a row; what is left over is black.

    Args:
        pictures: (n, height, width, channels).
        columns: Pictures per row; by default so many that the whole is nearly square.
    """
    count, high, wide, channels = pictures.shape
    across = columns or max(math.ceil(math.sqrt(count * high / max(wide, 1))), 1)
    down = max(math.ceil(count / across), 1)
    whole = np.zeros((down * across, high, wide, channels), np.uint8)
    whole[:count] = pictures
    laid = whole.reshape(down, across, high, wide, channels).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(laid.reshape(down * high, across * wide, channels)), across
