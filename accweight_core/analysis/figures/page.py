"""The page of a figure: its size, heading and notes, typography and colours.

Positions are in inches from the lower left corner, so that a figure of many layers grows instead of
getting smaller text. Names come from files: they are drawn as plain text, without mathematics.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from accweight_core.colours.themes import LIGHT

THEME = LIGHT

MARGIN = 0.3
"""Inches around everything."""

TITLE, BODY, SMALL = 12.0, 8.5, 7.5
"""Sizes of text in points."""

HEADING = 0.62
"""Inches of title and subtitle."""

NOTE = 0.17
"""Inches of a line of notes."""

REAL_TEXT = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "accweight"}
"""Settings under which text in SVG and PDF stays text; equal figures have equal bytes."""

UNDATED: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {},
    "svg": {"Date": None},
}
"""Metadata of each format that is written; the same figure is the same file on another day."""


class Drawing(Figure):
    """A figure that notebooks show by itself, and that is saved with real text."""

    def __init__(self, width: float, height: float) -> None:
        """Create an empty page of this size in inches."""
        super().__init__(figsize=(width, height), facecolor=THEME.panel)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        """Return the figure for a notebook."""
        return self.content("png", dpi=144)

    def content(self, ending: str, dpi: float = 200) -> bytes:
        """Return the bytes of the figure as a file of this ending: png, svg or pdf."""
        file = io.BytesIO()
        self.savefig(file, format=ending, dpi=dpi, metadata=UNDATED[ending])
        return file.getvalue()

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Write the figure as `Figure.savefig` does, with text that stays text."""
        with mpl.rc_context(REAL_TEXT), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box
            super().savefig(*args, **kwargs)

    def panel(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Return axes at this place, in inches, without frame and ticks."""
        across, high = self.get_size_inches()
        place = (left / across, bottom / high, width / across, height / high)
        axes = self.add_axes(place, facecolor=THEME.panel)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def write(
        self, left: float, bottom: float, text: str, size: float = BODY, **style: Any
    ) -> Text:
        """Write a line of text at this place, in inches."""
        across, high = self.get_size_inches()
        look: dict[str, Any] = {"color": THEME.ink, "va": "baseline", "parse_math": False} | style
        return self.text(left / across, bottom / high, text, fontsize=size, **look)


def page(
    width: float, body: float, title: str, subtitle: str, notes: Sequence[str] = ()
) -> tuple[Drawing, float]:
    """Return a page with its heading and notes, and the bottom of its body, in inches.

    Args:
        width: Width of the page.
        body: Height of what is between heading and notes.
        title: What is shown.
        subtitle: Of which run, and what it means.
        notes: Sentences below the body, such as what is left out; long ones take several lines.
    """
    notes = [line for note in notes for line in _lines(note, width - 2 * MARGIN)]
    below = MARGIN + NOTE * len(notes) + (0.06 if notes else 0)
    top, room = HEADING + body + below, width - 2 * MARGIN
    figure = Drawing(width, top + MARGIN)
    figure.write(MARGIN, top - 0.16, cut(title, room, TITLE, "bold"), TITLE, weight="bold")
    figure.write(MARGIN, top - 0.38, cut(subtitle, room, BODY), color=THEME.dim)
    for line, note in enumerate(reversed(notes)):
        figure.write(MARGIN, MARGIN + NOTE * line, cut(note, room, SMALL), SMALL, color=THEME.dim)
    return figure, below


def key_width(key: Sequence[tuple[str, Any]]) -> float:
    """Return the inches that `write_key` takes for all names."""
    return sum(text_width(name, SMALL, "bold") + 0.12 for name, _ in key)


def write_key(
    figure: Drawing, left: float, bottom: float, room: float, key: Sequence[tuple[str, Any]]
) -> None:
    """Write names, each in its colour, as far as there is room.

    Args:
        figure: The page.
        left: Where the first one begins, in inches.
        bottom: Where they stand.
        room: Inches for all of them.
        key: Names and colours.
    """
    edge = left + room
    for name, colour in key:
        if left + text_width(name, SMALL, "bold") > edge:
            break
        figure.write(left, bottom, name, SMALL, color=colour, weight="bold")
        left += text_width(name, SMALL, "bold") + 0.12


def _lines(note: str, room: float) -> list[str]:
    """Return a note as lines of at most so many inches: what is cut off may turn its meaning."""
    lines: list[str] = []
    for word in note.split(" ") if note else ():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, SMALL) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def text_width(text: str, size: float = BODY, weight: str = "normal") -> float:
    """Return the width of a line of text in inches."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        width, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(size=size, weight=weight), ismath=False
        )
    return float(width) / 72


def cut(
    text: str,
    room: float,
    size: float = BODY,
    weight: str = "normal",
    keep: Literal["begin", "end"] = "begin",
) -> str:
    """Return as much of a line as fits into so many inches, with an ellipsis where it is cut."""
    shown, dots = text, "\N{HORIZONTAL ELLIPSIS}"
    while text and text_width(shown, size, weight) > room:
        text = text[:-1] if keep == "begin" else text[1:]
        shown = f"{text.rstrip()}{dots}" if keep == "begin" else f"{dots}{text.lstrip(' ./_')}"
    return shown


def more(count: int, noun: str = "layer") -> str:
    """Return how many are not drawn, or nothing."""
    return f"and {count:,} more {noun}{'s' * (count != 1)}" if count else ""


def number(value: float) -> str:
    """Return a number with three digits."""
    return f"{value:.3g}"
