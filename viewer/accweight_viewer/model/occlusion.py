"""What plates hide: points of the world, and shares of other plates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from accweight_core.metrics.totals import Floats
from accweight_viewer.model.arrangement import Arrangement

SAMPLES = 8
"""Points in each direction at which a plate is looked at."""


def are_covered(
    points: Floats, eye: Floats, places: Arrangement, nearer_hidden: int = 0
) -> npt.NDArray[np.bool_]:
    """Tell which points of the world are hidden by a plate.

    Args:
        points: (n, 3) points; those on a plate are not hidden by it.
        eye: Position of the camera.
        places: Positions of the plates.
        nearer_hidden: Plates of nearer rows are not drawn, so they hide nothing.
    """
    standing = places.rows >= nearer_hidden
    corners, sizes = places.corners[standing], places.sizes[standing]
    way = points - eye
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        share = (corners[:, 2] - eye[2]) / way[:, 2:3]
        x = eye[0] + share * way[:, 0:1] - corners[:, 0]
        y = corners[:, 1] - (eye[1] + share * way[:, 1:2])
    between = (share > 0) & (share < 0.999)
    inside = (x >= 0) & (x <= sizes[:, 0]) & (y >= 0) & (y <= sizes[:, 1])
    hidden: npt.NDArray[np.bool_] = (between & inside).any(axis=1)
    return hidden


def hidden_shares(eye: Floats, places: Arrangement) -> Floats:
    """Return (plates,): the share of every plate that others hide from a point, 0 to 1."""
    count = len(places.sizes)
    at = (np.arange(SAMPLES) + 0.5) / SAMPLES
    across, down = (grid.ravel() for grid in np.meshgrid(at, at))
    points = np.repeat(places.corners[:, None, :], len(at) ** 2, axis=1)
    points[..., 0] += across * places.sizes[:, :1]
    points[..., 1] -= down * places.sizes[:, 1:]
    hidden = are_covered(points.reshape(-1, 3), eye, places)
    shares: Floats = hidden.reshape(count, -1).mean(axis=1) if count else np.zeros(0)
    return shares
