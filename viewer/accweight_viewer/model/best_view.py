"""The direction from which a line of plates is seen best in a window of a given shape.

A low view from the side shows a wide, flat band; a high one from the front a narrow column. Which
fills the window, and hides little, depends on the sizes of the plates, so some directions are
tried.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from accweight_core.metrics.totals import Floats
from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.camera import FIELD_OF_VIEW, Pose, framing
from accweight_viewer.model.ground import ground_lines
from accweight_viewer.model.occlusion import hidden_shares

YAWS = tuple(math.radians(-angle) for angle in (10, 16, 22, 28, 34, 40, 46, 52))
PITCHES = tuple(math.radians(-angle) for angle in (8, 14, 20, 26, 32, 38))

OF_SHELVES = PITCHES[:2]
"""Pitches from which shelves are seen apart: from higher ones a line would run behind the next."""

MOST_HIDDEN = 0.24
"""Share of a plate that others may hide, if there is a direction at which they hide less."""

FILLING = 0.35
"""Exponent of the share of the window that the plates span, beside their size."""

MOST_PLATES = 60
"""Plates up to which directions are tried: 50 directions take 0.2 s with as many."""

USUAL = -0.6, -0.4
"""(yaw, pitch) for more plates."""

HEADROOM = 0.3
"""Space above plates for their names, as a share of their height."""


def best_view(places: Arrangement, aspect: float, margin: float) -> Pose:
    """Return the pose that shows all plates of a line, as large and as little hidden as possible.

    Args:
        places: Positions of the plates.
        aspect: Width of the window over its height.
        margin: Share of the window left free on each side.
    """
    points = _framed(places) if len(places.sizes) else places.box()
    if not 2 <= len(places.sizes) <= MOST_PLATES:
        return framing(points, *USUAL, aspect, margin)
    pitches = OF_SHELVES if places.has_shelves else PITCHES
    poses = [
        framing(points, *angles, aspect, margin) for angles in itertools.product(YAWS, pitches)
    ]
    return max(poses, key=lambda pose: _merit(pose, places, aspect))


def _framed(places: Arrangement) -> Floats:
    """Return the corners of all plates, points above them, and the ends of the line below."""
    box = places.box()
    above = places.corners + np.outer(HEADROOM * places.sizes[:, 1], (0.0, 1.0, 0.0))
    points: Floats = np.concatenate([box, above, ground_lines(places).reshape(-1, 3)])
    return points


def _merit(pose: Pose, places: Arrangement, aspect: float) -> tuple[bool, float]:
    """Return how good a pose is: none is hidden too much; then the mean side of what is seen.

    Of two that are about as good, the one that fills the window in both directions is better.
    """
    hidden = hidden_shares(np.asarray(pose.position), places)
    worst = float(hidden.max())
    if worst > MOST_HIDDEN:
        return False, -worst
    areas, extent = _on_screen(pose, places)
    seen = areas / aspect * (1 - hidden)
    filled = float(np.prod(extent)) / aspect
    return True, float(np.sqrt(seen).mean()) * filled**FILLING


def _on_screen(pose: Pose, places: Arrangement) -> tuple[Floats, Floats]:
    """Return the areas of plates on the screen, and width and height of them all.

    The unit is the window's height.
    """
    count = len(places.sizes)
    right, up, forward = pose.axes
    away = places.box().reshape(4, count, 3) - np.asarray(pose.position)
    scale = 0.5 / math.tan(FIELD_OF_VIEW / 2) / np.maximum(away @ forward, 1e-6)
    x, y = away @ right * scale, away @ up * scale
    ring = [0, 1, 3, 2]  # corners of `box`: left, right, left below, right below
    following = [*ring[1:], ring[0]]
    areas: Floats = np.abs((x[ring] * y[following] - x[following] * y[ring]).sum(axis=0)) / 2
    return areas, np.array([np.ptp(x), np.ptp(y)])
