"""What is drawn on the ground beside a line of plates: from the input to the output, with ticks.

A line runs on the right of the plates, along their edges: the camera looks from there, so none of
them hides it. Each shelf has its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    """Return (rows, 3): where a line passes each layer; (0, 3) where there is no line."""
    if places.folded or len(places.spots) < 2 or not len(places.sizes):
        return np.zeros((0, 3))
    marks: Floats = places.spots.copy()
    for shelf in _shelves(places):
        marks[shelf, 0] = _beside(places, shelf)
    return marks


def _shelves(places: Arrangement) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each line, the first line first."""
    floors = places.spots[:, 1]
    return np.split(np.arange(len(floors)), np.flatnonzero(np.diff(floors)) + 1)


def _beside(places: Arrangement, shelf: npt.NDArray[np.int64]) -> Floats:
    """Return where the line beside the plates of a shelf passes its rows."""
    here = np.isin(places.rows, shelf)
    edges: Floats = places.corners[here, 0] + places.sizes[here, 0]
    rows = places.rows[here]
    if not len(rows):
        edges, rows = places.spots[shelf, 0], shelf
    slope = float(np.polyfit(rows, edges, 1)[0]) if len(np.unique(rows)) > 1 else 0.0
    begin = float((edges - slope * rows).max()) + BESIDE
    beside: Floats = begin + slope * shelf.astype(np.float64)
    return beside


def ground_lines(places: Arrangement) -> Segments:
    """Return (lines, 2, 3): where each line begins and ends."""
    marks = ground_marks(places)
    if not len(marks):
        return np.zeros((0, 2, 3))
    lines = []
    for shelf in _shelves(places):
        first, last = marks[shelf[0]], marks[shelf[-1]]
        step = (last - first) / max(len(shelf) - 1, 1)
        if len(shelf) == 1:
            step = np.array([0.0, 0.0, -1.0])
        lines.append((first - BEYOND * step, last + BEYOND * step))
    return np.array(lines)


def ground_ends(places: Arrangement) -> Floats:
    """Return (2, 3): where the first line begins and the last one ends; (0, 3) without lines."""
    lines = ground_lines(places)
    return np.stack([lines[0, 0], lines[-1, 1]]) if len(lines) else np.zeros((0, 3))


def ground_segments(places: Arrangement) -> Segments:
    """Return the lines, with an arrow at the end of the last, and a tick at every layer."""
    lines = ground_lines(places)
    if not len(lines):
        return np.zeros((0, 2, 3))
    begin, end = lines[-1]
    way = (end - begin) / np.linalg.norm(end - begin)
    aside = np.array([-way[2], 0.0, way[0]])
    barbs = [(end, end + BARB * (side * aside / 2 - way)) for side in (1, -1)]
    ticks = [(mark - [TICK, 0.0, 0.0], mark) for mark in ground_marks(places)]
    segments: Segments = np.array([*map(tuple, lines), *barbs, *ticks])
    return segments
