"""Whether a label would lie across the plate of another layer."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.camera import FIELD_OF_VIEW, Camera

Boxes = npt.NDArray[np.float64]

ALONG, HIGH = (0.02, 0.35, 0.65, 0.98), (0.25, 0.8)
"""Where plates are looked for within a text, as shares of its box: across it, and of each two."""

SAMPLES = np.array([(x, y) for x in ALONG for y in HIGH])

MOST_CROSSED = 0.25
"""Share of these at which a text may lie across another plate: its ends, not its middle."""


def lie_across(
    boxes: Boxes,
    own: npt.NDArray[np.int64],
    camera: Camera,
    viewport: tuple[float, float],
    places: Arrangement,
    nearer_hidden: int = 0,
    most: float | npt.NDArray[np.float64] = MOST_CROSSED,
) -> npt.NDArray[np.bool_]:
    """Tell which texts lie across a plate that is not their own.

    Args:
        boxes: (n, 4) left, top, right and bottom in pixels.
        own: (n, 2) the first of the plates that a text belongs to, and the one after the last.
        camera: The camera.
        viewport: Width and height in pixels.
        places: Positions of the plates.
        nearer_hidden: Rows before this one are hidden.
        most: Share of a text that may, for all or for each.
    """
    if not len(boxes) or not len(places.sizes):
        return np.zeros(len(boxes), bool)
    size = boxes[:, 2:] - boxes[:, :2]
    points = boxes[:, None, :2] + SAMPLES[None] * size[:, None]
    hit = _first_plates(points.reshape(-1, 2), camera, viewport, places, nearer_hidden)
    hit = hit.reshape(len(boxes), len(SAMPLES))
    mine = (hit >= own[:, :1]) & (hit < own[:, 1:])
    foreign = ((hit >= 0) & ~mine).reshape(len(boxes), len(ALONG), len(HIGH))
    across: npt.NDArray[np.bool_] = np.logical_or.reduce(foreign, axis=2)
    crossed: npt.NDArray[np.bool_] = across[:, 1:-1].any(axis=1) | (across.mean(axis=1) > most)
    return crossed


def _first_plates(
    points: Boxes,
    camera: Camera,
    viewport: tuple[float, float],
    places: Arrangement,
    nearer_hidden: int,
) -> npt.NDArray[np.int64]:
    """Return (n,) the plate that is seen at each point, -1 for none."""
    width, height = viewport
    right, up, forward = camera.pose.axes
    reach = math.tan(FIELD_OF_VIEW / 2)
    across = (2 * points[:, :1] / width - 1) * reach * width / height
    above = (1 - 2 * points[:, 1:] / height) * reach
    ways = forward + right * across + up * above
    eye = np.asarray(camera.pose.position)
    corners, sizes = places.corners, places.sizes
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        away = (corners[:, 2] - eye[2]) / ways[:, 2:3]
    x = eye[0] + away * ways[:, 0:1] - corners[:, 0]
    y = corners[:, 1] - (eye[1] + away * ways[:, 1:2])
    inside = (away > 0) & (x >= 0) & (x <= sizes[:, 0]) & (y >= 0) & (y <= sizes[:, 1])
    inside &= places.rows >= nearer_hidden
    nearest = np.where(inside, away, np.inf).argmin(axis=1)
    return np.where(inside.any(axis=1), nearest, -1)
