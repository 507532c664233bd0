"""Text tables that are readable in 80 columns, with numbers of four digits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from accweight_core.short_names import short_names

if TYPE_CHECKING:
    import rich.table

BAR_WIDTH = 8
GAP = "  "
FLEXIBLE = ("layer", "parameter", "parameters", "checkpoint", "layer of a", "layer of b", "why")
"""Columns that are folded if the terminal is narrow."""


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        columns: Cells of each column, one per row, by column name.
        right: Names of the columns aligned to the right, as for numbers.
    """

    columns: Mapping[str, Sequence[str]]
    right: frozenset[str] = frozenset()

    @classmethod
    def of_rows(cls, names: Iterable[str], rows: Iterable[Sequence[str]], *right: str) -> Table:
        """Return a table of rows, each with one cell per column name."""
        names, rows = list(names), list(rows)
        cells = zip(*rows, strict=True) if rows else repeat(())
        return cls(dict(zip(names, map(list, cells), strict=bool(rows))), frozenset(right))

    def __len__(self) -> int:
        """Return the number of rows."""
        return max(map(len, self.columns.values()), default=0)

    @property
    def width(self) -> int:
        """Width of a line in characters."""
        widest = sum(max(map(width_of, (name, *cells))) for name, cells in self.columns.items())
        return widest + len(GAP) * (len(self.columns) - 1)

    def lines(self) -> list[str]:
        """Return a line of names and one line per row, without trailing spaces."""
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

    def shortened(self) -> Table:
        """Return the table with layers in short names."""
        layers = self.columns.get("layer")
        if layers is None:
            return self
        short = short_names(layers)
        return Table({**self.columns, "layer": [short[name] for name in layers]}, self.right)

    def folded(self) -> rich.table.Table:
        """Return a rich table that folds long cells into several lines."""
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
    """Return the width of a text in terminal cells; some characters take two, some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def number(value: float | None) -> str:
    """Return a number with four digits, a dash for None and NaN."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) < 1e6 and value == int(value) else f"{value:.4g}"


def bar(value: float, largest: float) -> str:
    """Return a horizontal bar with a resolution of an eighth of a character."""
    if not (largest > 0 and value > 0):
        return ""
    eighths = max(1, round(BAR_WIDTH * 8 * value / largest))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
