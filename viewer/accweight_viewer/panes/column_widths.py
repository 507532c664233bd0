"""How the width of the layer table is shared out among its columns.

Names come first, then numbers, then kinds. Where there is little room titles are shortened, then
kinds are left out, then the last numbers; one column of numbers is always there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

NAME_ROOM = 150
"""Width of names below which other columns give way."""

METRIC_TITLE, WIDEST_METRIC = 112, 150
"""Width up to which a title widens its column, and greatest width of a metric column."""


@dataclass(frozen=True)
class ColumnWidths:
    """Widths in pixels.

    Attributes:
        kind: Of the column of kinds; 0 if it is left out.
        metrics: Of the columns of numbers that are shown; others are left out.
    """

    kind: int
    metrics: tuple[int, ...]


def shared_out(
    room: int, longest: int, kind: int, number: int, titles: Sequence[int]
) -> ColumnWidths:
    """Return how wide columns are.

    >>> shared_out(400, 100, 60, 60, [80, 90])
    ColumnWidths(kind=60, metrics=(115, 125))
    >>> shared_out(290, 200, 60, 60, [80, 90])
    ColumnWidths(kind=0, metrics=(70, 70))
    >>> shared_out(250, 200, 60, 60, [80, 90])
    ColumnWidths(kind=0, metrics=(60,))

    Args:
        room: Width of all columns: names, kinds, numbers.
        longest: Width of the longest name.
        kind: Width of the kinds.
        number: Least width of a number.
        titles: Widths at which the titles of the numbers can be read.
    """
    least = min(longest, NAME_ROOM)
    wanted = [max(number, min(title, METRIC_TITLE)) for title in titles]
    if sum(wanted) + kind + least <= room:
        spare = max(room - longest - kind - sum(wanted), 0) // max(len(wanted), 1)
        return ColumnWidths(kind, _widened(wanted, spare))
    fitting = max(1, sum(total <= room - least for total in accumulate([number] * len(titles))))
    shown = wanted[:fitting]
    excess = sum(shown) - max(room - least, number * fitting)
    if excess > 0:  # the widest titles give way
        shown = _narrowed(shown, number, excess)
    spare = max(room - longest - sum(shown), 0) // max(fitting, 1)
    return ColumnWidths(0, _widened(shown, spare))


def _widened(widths: Sequence[int], by: int) -> tuple[int, ...]:
    return tuple(min(width + by, max(width, WIDEST_METRIC)) for width in widths)


def _narrowed(widths: Sequence[int], least: int, excess: int) -> list[int]:
    """Return widths that are smaller by `excess` in all, the largest ones first."""
    low, high = least, max(widths)
    while low < high:  # the widest limit that takes enough away
        limit = (low + high + 1) // 2
        if sum(width - min(width, limit) for width in widths) >= excess:
            low = limit
        else:
            high = limit - 1
    return [min(width, low) for width in widths]
