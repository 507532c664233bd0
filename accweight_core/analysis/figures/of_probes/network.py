"""A network as columns of pictures, one per unit, with links as wide as weights are large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from accweight_core.analysis.figures.of_probes.curves import heading, subtitle
from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    cut,
    number,
    page,
    write_key,
)
from accweight_core.analysis.probe_pictures import class_key
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.unit_network import ABOVE, BELOW, UnitNetwork, network_pictures
from accweight_core.text import plain

MOST_STEPS, MOST_UNITS = 3, 16
SIDE, GAP, APART = 0.36, 0.07, 1.15
"""Inches of a picture, between two in a column, and between columns."""

LARGE, CAPTION, BETWEEN = 1.9, 0.22, 0.28
WIDEST = 5.0
"""Points of the largest weight."""

Floats = npt.NDArray[np.float64]
Spot = tuple[float, float, float]
"""Left, bottom and side of a picture in inches, from the lower left corner of its step."""


def network_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw the network at the first, middle and last step, weights on one scale."""
    network = UnitNetwork.of(result, name)
    columns, weights, high = network.columns, network.weights, network.high
    places = np.unique(np.linspace(0, len(result.steps) - 1, MOST_STEPS).round().astype(int))
    tallest = min(max(count for _, count in columns), MOST_UNITS)
    tall = max(tallest * (SIDE + GAP) - GAP, LARGE)
    spots = _spots([count for _, count in columns], tall)
    wide = spots[-1][0] + LARGE
    key = [(plain(text), colour) for text, colour in class_key(result)]
    figure, bottom = page(
        wide + 2 * MARGIN, len(places) * (tall + CAPTION + BETWEEN), heading(result),
        subtitle(result),
        [
            f"orange is above 0, blue below; the widest link is a weight of {number(high)}",
            f"{MOST_UNITS} units of a layer are drawn" if _is_cut(columns) else "",
        ],
    )  # fmt: skip
    for line, place in enumerate(places[::-1]):
        base = bottom + line * (tall + CAPTION + BETWEEN)
        room = figure.panel(MARGIN, base, wide, tall)
        room.set(xlim=(0, wide), ylim=(0, tall))
        _draw_links(room, network.ends, weights[place] / high, spots)
        pictures = network_pictures(result, int(result.steps[place]))
        for picture, spot in zip(pictures, spots, strict=True):
            if spot[2]:
                axes = figure.panel(MARGIN + spot[0], base + spot[1], spot[2], spot[2])
                axes.imshow(picture, aspect="auto", interpolation="none")
                axes.spines[:].set(visible=True, color=THEME.frame, linewidth=0.4)
        for column, (text, _) in enumerate(columns):
            left = MARGIN + column * (SIDE + APART)
            told = cut(plain(text), SIDE + APART - 0.1, SMALL)
            figure.write(left, base + tall + 0.06, told, SMALL, color=THEME.dim)
        told = f"step {result.steps[place]}"
        above = base + (tall + LARGE) / 2 + 0.06
        figure.write(MARGIN + spots[-1][0], above, told, SMALL, weight="bold")
        below = base + (tall - LARGE) / 2 - 0.15
        write_key(figure, MARGIN + spots[-1][0], below, LARGE, key)
    return figure


def _is_cut(columns: Sequence[tuple[str, int]]) -> bool:
    return any(count > MOST_UNITS for _, count in columns)


def _spots(counts: list[int], tall: float) -> list[Spot]:
    """Return where the pictures of all units are, and that of the result; of side 0 if nowhere."""
    found: list[Spot] = []
    for column, count in enumerate(counts):
        shown = min(count, MOST_UNITS)
        top = (tall + shown * (SIDE + GAP) - GAP) / 2
        left = column * (SIDE + APART)
        found += [(left, top - SIDE - unit * (SIDE + GAP), SIDE) for unit in range(shown)]
        found += [(left, 0.0, 0.0)] * (count - shown)
    return [*found, (len(counts) * (SIDE + APART) - APART + 0.4, (tall - LARGE) / 2, LARGE)]


def _draw_links(
    room: Axes, ends: Sequence[tuple[int, int]], shares: Floats, spots: list[Spot]
) -> None:
    """Draw a curve for each weight, a share of the largest."""
    for (source, target), share in zip(ends, shares, strict=True):
        (left, low, side), (right, up, other) = spots[source], spots[target]
        if not (side and other and np.isfinite(share)):
            continue
        start, end = (left + side, low + side / 2), (right, up + other / 2)
        middle = (start[0] + end[0]) / 2
        curve = Path(
            [start, (middle, start[1]), (middle, end[1]), end],
            [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
        )
        colour, wide = (ABOVE if share > 0 else BELOW), WIDEST * abs(float(share))
        room.add_patch(PathPatch(curve, fill=False, edgecolor=colour, linewidth=wide, alpha=0.82))
