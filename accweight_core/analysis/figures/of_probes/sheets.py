"""A contact sheet: pictures through time, a line per step and a column per unit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.figures.of_probes.curves import heading, subtitle
from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    cut,
    more,
    page,
    text_width,
)
from accweight_core.analysis.probe_pictures import pictures_at, scale_text, unit_names
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.text import plain

MOST_STEPS, MOST_UNITS = 10, 16
ROOM = 8.4
"""Inches of a line of pictures, at most."""

SIDES = 0.3, 0.95
"""Least and largest inches of the longer side of a picture."""

GAP = 0.06
NAMES = 0.34
"""Inches of the names of the units."""

Pixels = npt.NDArray[np.uint8]


def sheet_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw pictures of units at chosen steps."""
    places = np.unique(np.linspace(0, len(result.steps) - 1, MOST_STEPS).round().astype(int))
    steps = result.steps[places]
    images = [pictures_at(result, name, int(step)) for step in steps]
    units = min(len(images[0]), MOST_UNITS)
    high, wide = images[0].shape[1:3]
    side = min(max(ROOM / units - GAP, SIDES[0]), SIDES[1])
    width, height = (side * n / max(high, wide, 1) for n in (wide, high))
    labels = [f"step {step}" for step in steps]
    left = MARGIN + max(text_width(label, SMALL) for label in labels) + 0.12
    body = len(steps) * (height + GAP) + NAMES
    least = left + units * (width + GAP) + MARGIN
    figure, bottom = page(
        max(least, 4.6), body, heading(result), subtitle(result),
        [
            scale_text(result, name) or result.fields[name].words,
            more(len(images[0]) - units, "picture"),
            f"{len(result.steps) - len(steps)} steps between are not shown"
            if len(steps) < len(result.steps)
            else "",
        ],
    )  # fmt: skip
    names = unit_names(result, name, len(images[0]))
    top = bottom + body - NAMES
    for unit in range(units):
        x = left + unit * (width + GAP)
        figure.write(x, top + 0.06, _short(names[unit], width), SMALL, color=THEME.dim)
    for line, (label, pictures) in enumerate(zip(labels, images, strict=True)):
        y = top - (line + 1) * (height + GAP) + GAP
        figure.write(MARGIN, y + height / 2 - 0.04, label, SMALL, color=THEME.dim)
        for unit in range(units):
            axes = figure.panel(left + unit * (width + GAP), y, width, height)
            axes.imshow(_coloured(pictures[unit]), aspect="auto", interpolation="none")
            axes.spines[:].set(visible=True, color=THEME.frame, linewidth=0.4)
    return figure


def _short(name: str, room: float) -> str:
    """Return the name of a unit, or what is last in it, as far as there is room."""
    whole = plain(name)
    return whole if text_width(whole, SMALL) <= room else cut(whole, room, SMALL, keep="end")


def _coloured(picture: Pixels) -> Pixels:
    return picture if picture.shape[-1] == 3 else picture[..., :1].repeat(3, axis=-1)
