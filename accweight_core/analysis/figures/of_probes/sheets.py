"""A contact sheet: pictures through time, a line per step and a column per unit."""

from __future__ import annotations

import numpy as np

from accweight_core.analysis.figures.of_probes.curves import (
    heading,
    heading_width,
    subtitle,
)
from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    cut,
    key_width,
    more,
    page,
    text_width,
    write_key,
)
from accweight_core.analysis.probe_pictures import (
    Pixels,
    are_strips,
    as_seen,
    class_key,
    pictures_at,
    scale_text,
    token_rows,
    unit_names,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.text import plain

MOST_STEPS, MOST_UNITS = 10, 16
ROOM = 8.4
"""Inches of a line of pictures, at most."""

SIDES = 0.3, 0.95
"""Least and largest inches of the longer side of a picture."""

LONGEST = 1.2
"""Inches of the name of the last picture of a line, at most."""

KEY = 0.22
"""Inches of the names of classes below the pictures."""

GAP = 0.06
NAMES, LEAST_LETTERS = 0.34, 5.5
"""Inches of the names of the units."""

TOKENS = 0.16
"""Inches of the tokens of a sequence."""

MOST_LINES, MOST_STRIPS = 6, 8
STRIP, HAIR = 0.16, 0.02
"""Inches of the height of a sequence, and between two steps of it."""


def sheet_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw pictures of units at chosen steps; of sequences, the lines of each below each other."""
    places = np.unique(np.linspace(0, len(result.steps) - 1, MOST_STEPS).round().astype(int))
    steps = result.steps[places]
    images = [as_seen(result, name, pictures_at(result, name, int(step))) for step in steps]
    if are_strips(result, name, images[0]):
        return _strips_figure(result, name)
    there = _not_blank(result, images)
    units = min(len(there), MOST_UNITS)
    high, wide = images[0].shape[1:3]
    side = min(max(ROOM / units - GAP, SIDES[0]), SIDES[1])
    width, height = (side * n / max(high, wide, 1) for n in (wide, high))
    labels = [f"step {step}" for step in steps]
    left = MARGIN + max(text_width(label, SMALL) for label in labels) + 0.12
    key = [(plain(text), colour) for text, colour in class_key(result)]
    body = len(steps) * (height + GAP) + NAMES + (KEY if key else 0)
    names = unit_names(result, name, len(images[0]))
    last = cut(plain(names[there[-1]]), LONGEST, SMALL, keep="end")  # nothing is right of it
    least = left + (units - 1) * (width + GAP) + max(width, text_width(last, SMALL)) + MARGIN
    wide_enough = max(least, heading_width(result, ROOM) + 2 * MARGIN)
    figure, bottom = page(
        wide_enough, body, heading(result), subtitle(result),
        [
            scale_text(result, name) or result.fields[name].words,
            more(len(there) - units, "picture"),
            _left_out(len(result.steps) - len(steps)),
        ],
    )  # fmt: skip
    shown = [*there[: units - 1], there[-1]]  # the last may be that of all others together
    begin = left + (units - 1) * (width + GAP)  # below the last picture, if they fit there
    begin = max(left, min(begin, least - MARGIN - key_width(key)))
    write_key(figure, begin, bottom, wide_enough - begin, key)
    top = bottom + body - NAMES
    widest = max((text_width(plain(names[unit]), SMALL) for unit in shown[:-1]), default=0.0)
    letters = max(SMALL * min(1.0, width / max(widest, 0.01)), LEAST_LETTERS)
    for column, unit in enumerate(shown):
        x = left + column * (width + GAP)
        text = last if unit == shown[-1] else _short(names[unit], width, letters)
        figure.write(x, top + 0.06, text, letters, color=THEME.dim)
    for line, (label, pictures) in enumerate(zip(labels, images, strict=True)):
        y = top - (line + 1) * (height + GAP) + GAP
        figure.write(MARGIN, y + height / 2 - 0.04, label, SMALL, color=THEME.dim)
        for column, unit in enumerate(shown):
            axes = figure.panel(left + column * (width + GAP), y, width, height)
            axes.imshow(pictures[unit], aspect="auto", interpolation="none")
            axes.spines[:].set(visible=True, color=THEME.frame, linewidth=0.4)
    return figure


def _not_blank(result: ProbeResult, images: list[Pixels]) -> list[int]:
    """Return the places of the pictures that show something at some step; one at least."""
    blank, places = result.attributes.get("blank"), range(len(images[0]))
    there = [at for at in places if any((own[at] != blank).any() for own in images)]
    return there or [*places][:1]


def _left_out(count: int) -> str:
    """Return how many steps are not shown, or nothing."""
    verb = "step between is" if count == 1 else "steps between are"
    return f"{count} {verb} not shown" if count else ""


def _strips_figure(result: ProbeResult, name: str) -> Drawing:
    """Draw sequences: a block for each, in which every line is a step."""
    places = np.unique(np.linspace(0, len(result.steps) - 1, MOST_LINES).round().astype(int))
    labels = [f"step {step}" for step in result.steps[places]]
    images = [
        as_seen(result, name, pictures_at(result, name, int(s))) for s in result.steps[places]
    ]
    units, (high, across) = min(len(images[0]), MOST_STRIPS), images[0].shape[1:3]
    line, wide = STRIP * high, min(max(across * STRIP, 3.0), ROOM)
    tokens = token_rows(result, name, images[0]) if high == 1 else []
    written = [tokens_that_fit(own, wide) for own in tokens]
    block = NAMES + TOKENS * any(written) + len(places) * (line + HAIR)
    left = MARGIN + max(text_width(label, SMALL) for label in labels) + 0.12
    wide_enough = max(left + wide, MARGIN + heading_width(result, ROOM)) + MARGIN
    figure, bottom = page(
        wide_enough, units * block, heading(result), subtitle(result),
        [
            scale_text(result, name) or result.fields[name].words,
            more(len(images[0]) - units, "sequence"),
        ],
    )  # fmt: skip
    names = unit_names(result, name, len(images[0]))
    for unit in range(units):
        top = bottom + (units - unit) * block - NAMES
        figure.write(left, top + 0.06, cut(plain(names[unit]), wide, SMALL), SMALL, color=THEME.ink)
        if any(written):
            top -= TOKENS
            for at, token in enumerate(written[unit]):
                middle = left + (at + 0.5) * wide / across
                figure.write(middle, top + 0.05, token, SMALL, ha="center", color=THEME.dim)
        for at, label in enumerate(labels):
            y = top - (at + 1) * (line + HAIR)
            if at in (0, len(labels) - 1):
                figure.write(MARGIN, y + line / 2 - 0.04, label, SMALL, color=THEME.dim)
            axes = figure.panel(left, y, wide, line)
            axes.imshow(images[at][unit], aspect="auto", interpolation="none")
    return figure


def tokens_that_fit(tokens: list[str], wide: float) -> list[str]:
    """Return tokens, cut to their places in a row; nothing if numbers would have no room."""
    room = wide / max(len(tokens), 1) - 0.04
    if room < text_width("000", SMALL):
        return []
    return [cut(plain(token), room, SMALL) for token in tokens]


def _short(name: str, room: float, letters: float) -> str:
    """Return the name of a unit, or what is last in it, as far as there is room."""
    whole = plain(name)
    return whole if text_width(whole, letters) <= room else cut(whole, room, letters, keep="end")
