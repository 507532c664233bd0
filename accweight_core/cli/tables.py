"""Tables that read well in 80 columns: cells of text, and numbers in four digits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import rich.table

BAR_WIDTH = 8
GAP = "  "
FLEXIBLE = ("layer", "parameter", "parameters", "checkpoint", "layer of a", "layer of b", "why")
"""Columns that give way where the terminal is narrow."""


@dataclass(frozen=True)
class Table:
    """Columns of text under their names.

    Attributes:
        columns: The cells of each column, one per row, by its name.
        right: Names of the columns that are aligned to the right: numbers.
    """

    columns: Mapping[str, Sequence[str]]
    right: frozenset[str] = frozenset()

    @classmethod
    def of_rows(cls, names: Iterable[str], rows: Iterable[Sequence[str]], *right: str) -> Table:
        """Return the table of these rows, each a cell per name."""
        names, rows = list(names), list(rows)
        cells = zip(*rows, strict=True) if rows else repeat(())
        return cls(dict(zip(names, map(list, cells), strict=bool(rows))), frozenset(right))

    def __len__(self) -> int:
        """Return the number of rows."""
        return max(map(len, self.columns.values()), default=0)

    @property
    def width(self) -> int:
        """Characters that a line takes."""
        widest = sum(max(map(width_of, (name, *cells))) for name, cells in self.columns.items())
        return widest + len(GAP) * (len(self.columns) - 1)

    def lines(self) -> list[str]:
        """Return the names and the rows, each in one line without spaces at its end."""
        aligned = []
        for name, cells in self.columns.items():
            found = (name, *cells)
            widths = list(map(width_of, found))
            widest = max(widths)
            gaps = [" " * (widest - width) for width in widths]
            pairs = zip(found, gaps, strict=True)
            is_right = name in self.right
            aligned.append([gap + cell if is_right else cell + gap for cell, gap in pairs])
        return [GAP.join(cells).rstrip() for cells in zip(*aligned, strict=True)]

    def folded(self) -> rich.table.Table:
        """Return a table that takes several lines for a cell where the terminal is narrow."""
        from rich.table import Table as Folded
        from rich.text import Text

        table = Folded(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
        for name in self.columns:
            justify: Any = "right" if name in self.right else "left"
            table.add_column(name, justify=justify, no_wrap=name not in FLEXIBLE, overflow="fold")
        for cells in zip(*self.columns.values(), strict=True):
            table.add_row(*map(Text, cells))
        return table


def width_of(text: str) -> int:
    """Return the characters of a terminal that a text takes; some letters take two, some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def number(value: float | None) -> str:
    """Return a number in four digits, a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e6 else f"{value:.4g}"


def bar(value: float, largest: float) -> str:
    """Return a bar of eighths of a character."""
    if not (largest > 0 and value > 0):
        return ""
    eighths = max(1, round(BAR_WIDTH * 8 * value / largest))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
