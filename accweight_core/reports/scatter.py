"""A scatter plot as positions in a picture, drawn as SVG by the page: it prints, without scripts.

Names stand beside points where there is room; every point has its name when it is pointed at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from accweight_core.reports.formatting import number_text

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 74, 24, 16, 52

LETTER, LINE, OFFSET = 7.2, 14, 9
"""Width of a letter, height of a line, and distance of a name from its point."""

LONGEST = 24
"""Letters of a name beside a point."""

Content = dict[str, Any]


def scatter(points: Sequence[tuple[str, float, float]]) -> Content:
    """Return where points, axes and names are, in units of the picture.

    Args:
        points: Name, x and y; the first ones get their names first. What is not finite is left out.
    """
    known = [one for one in points if math.isfinite(one[1]) and math.isfinite(one[2])]
    across = _axis([x for _, x, _ in known], LEFT, WIDTH - RIGHT)
    up = _axis([y for _, _, y in known], HEIGHT - BOTTOM, TOP)
    placed = [(name, across.at(x), up.at(y)) for name, x, y in known]
    names = _names(placed)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "across": across.ticks(),
        "up": up.ticks(),
        "points": [
            {"name": name, "x": round(x, 1), "y": round(y, 1), "label": label,
             "told": (given_x, given_y)}
            for (name, x, y), label, (_, given_x, given_y)
            in zip(placed, names, known, strict=True)
        ],
    }  # fmt: skip


class _Axis:
    """A scale from 0, or from below it if there is less, to beyond the largest value."""

    def __init__(self, low: float, high: float, step: float, first: float, last: float) -> None:
        self._low, self._high, self._step = low, high, step
        self._first, self._last = first, last

    def at(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return self._first + share * (self._last - self._first)

    def ticks(self) -> list[Content]:
        count = round((self._high - self._low) / self._step)
        values = [self._low + number * self._step for number in range(count + 1)]
        clean = [0.0 if abs(value) < self._step / 1000 else value for value in values]
        return [{"at": round(self.at(v), 1), "text": number_text(v), "zero": v == 0} for v in clean]


def _axis(values: Sequence[float], first: float, last: float) -> _Axis:
    low, high = min([0.0, *values]), max([0.0, *values])
    if low == high:
        high = low + 1.0
    step = _round_step((high - low) / 5)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return _Axis(low, high, step, first, last)


def _round_step(least: float) -> float:
    """Return the next of 1, 2, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def _names(placed: Sequence[tuple[str, float, float]]) -> list[Content | None]:
    """Return where names stand: right or left of their points, or nowhere if there is no room."""
    taken = [(x - 5, y - 5, x + 5, y + 5) for _, x, y in placed]
    found: list[Content | None] = []
    for name, x, y in placed:
        text = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
        width = LETTER * len(text)
        label = None
        for anchor, start in (("start", x + OFFSET), ("end", x - OFFSET - width)):
            box = start, y - LINE / 2, start + width, y + LINE / 2
            inside = box[0] >= LEFT and box[2] <= WIDTH
            if inside and not any(_overlap(box, other) for other in taken):
                at = x + OFFSET if anchor == "start" else x - OFFSET
                label = {"text": text, "x": round(at, 1), "y": round(y + 4, 1), "anchor": anchor}
                taken.append(box)
                break
        found.append(label)
    return found


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
