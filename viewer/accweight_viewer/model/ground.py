"""What is drawn on the ground beside a line of plates: from the input to the output, with ticks.

The line runs on the right of the plates, along their edges: the camera looks from there, so none of
them hides it.
"""

from __future__ import annotations

import numpy as np

from accweight_core.metrics.totals import Floats
from accweight_viewer.model.arrangement import Arrangement

Segments = Floats
"""(n, 2, 3): beginnings and ends."""

BESIDE = 0.25
"""Distance of the line from the plate that is nearest to it."""

BEYOND = 0.35
"""How far the line goes on at both ends, in steps from one layer to the next."""

BARB, TICK = 0.2, 0.12
"""Length of the barbs of the arrow and of the ticks."""


def ground_marks(places: Arrangement) -> Floats:
    """Return (rows, 3): where the line passes each layer; (0, 3) where there is no line."""
    if places.folded or len(places.spots) < 2 or not len(places.sizes):
        return np.zeros((0, 3))
    edges = places.corners[:, 0] + places.sizes[:, 0]
    slope = np.polyfit(places.rows, edges, 1)[0] if len(np.unique(places.rows)) > 1 else 0.0
    begin = float((edges - slope * places.rows).max()) + BESIDE
    marks = places.spots.copy()
    marks[:, 0] = begin + slope * np.arange(len(marks))
    return marks


def ground_ends(places: Arrangement) -> Floats:
    """Return (2, 3): where the line begins and ends; (0, 3) where there is no line."""
    marks = ground_marks(places)
    if not len(marks):
        return marks
    begin = marks[0] - BEYOND * (marks[1] - marks[0])
    end = marks[-1] + BEYOND * (marks[-1] - marks[-2])
    return np.stack([begin, end])


def ground_segments(places: Arrangement) -> Segments:
    """Return the line with an arrow at its end, and a tick at every layer."""
    marks = ground_marks(places)
    if not len(marks):
        return np.zeros((0, 2, 3))
    begin, end = ground_ends(places)
    way = (end - begin) / np.linalg.norm(end - begin)
    aside = np.array([-way[2], 0.0, way[0]])
    barbs = [(end, end + BARB * (side * aside / 2 - way)) for side in (1, -1)]
    ticks = [(mark - [TICK, 0.0, 0.0], mark) for mark in marks]
    segments: Segments = np.array([(begin, end), *barbs, *ticks])
    return segments
