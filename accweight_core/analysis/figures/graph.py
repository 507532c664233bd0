"""The graph as a figure: layers as cards with their colours at a step, in their modules."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from accweight_core.analysis.figures.page import (
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    cut,
    number,
    page,
)
from accweight_core.analysis.graph_colours import MAP, graph_scale, stripes
from accweight_core.analysis.shown import Shown
from accweight_core.graphs import layout
from accweight_core.graphs.modules import Item, ModuleTree
from accweight_core.metrics.table import Floats
from accweight_core.text import plain

PER_INCH = 100
"""Units of a drawing per inch."""

ROOM = 1280.0, 900.0
LEAST_WIDTH = 6.4
EDGE = 4
"""Units around a drawing."""

LEGEND = 0.5
"""Inches of the colours below the drawing."""

CODES = {"M": [Outline.MOVETO], "L": [Outline.LINETO], "Q": [Outline.CURVE3] * 2,
         "C": [Outline.CURVE4] * 3}  # fmt: skip


def graph_figure(
    shown: Shown,
    tree: ModuleTree,
    unfolded: Collection[int],
    by: str,
    words: str,
    values: Floats,
    place: int,
) -> Drawing:
    """Draw a graph.

    Args:
        shown: The analysis.
        tree: Modules of its graph.
        unfolded: Numbers of the modules that are open.
        by: Name of the number that colours are.
        words: What it is.
        values: (layers, steps) of it, in network order.
        place: Index of the step.

    Raises:
        MissingLibraryError: If QuickJS is not installed.
    """
    drawn = layout.laid_out(tree, unfolded, ROOM)
    wide, high = (drawn.width + 2 * EDGE) / PER_INCH, (drawn.height + 2 * EDGE) / PER_INCH
    width = max(wide + 2 * MARGIN, LEAST_WIDTH)
    step = int(shown.steps[place])
    notes = [f"{drawn.implied} edges that others imply are not drawn" if drawn.implied else ""]
    title = f"{shown.run}: {by} at step {step}"
    subtitle = f"{words[:1].upper()}{words[1:]}; graph: {plain(tree.graph.origin)}"
    figure, below = page(width, high + LEGEND, plain(title), subtitle, notes)
    axes = figure.panel((width - wide) / 2, below + LEGEND, wide, high)
    axes.set_xlim(-EDGE, drawn.width + EDGE)
    axes.set_ylim(drawn.height + EDGE, -EDGE)
    scale = graph_scale(values, MAP, light=True)
    rows = {row.name: at for at, row in enumerate(shown.rows)}
    for box in drawn.boxes:
        _round(axes, box, 8, facecolor=(0, 0, 0, 0.035), edgecolor=THEME.line)
        _write(axes, box.x + 8, box.y + 12, tree.items[box.item].title, box.width - 14)
    for line in drawn.lines:
        codes = [code for name, _ in line for code in CODES[name]]
        points = [(at[n], at[n + 1]) for _, at in line for n in range(0, len(at), 2)]
        outline = Outline(points, codes)
        axes.add_patch(PathPatch(outline, fill=False, edgecolor=THEME.frame, linewidth=0.8))
    for card in drawn.cards:
        item = tree.items[card.item]
        numbers = [values[rows[leaf.name], place] for leaf in item.leaves() if leaf.name in rows]
        _card(axes, card, item, [*stripes(np.array(numbers), scale)])
    _legend(figure, below, width, scale.colours / 255, scale.value_at(0.0), scale.value_at(1.0), by)
    return figure


def _card(
    axes: Axes, card: layout.Place, item: Item, colours: list[tuple[int, int, int] | None]
) -> None:
    middle = card.x + card.width / 2
    if item.kind == "join":
        _round(axes, card, 10, facecolor=THEME.panel, edgecolor=THEME.frame)
        _write(axes, middle, card.y + card.height / 2, item.label, card.width, ha="center")
        return
    if item.kind in ("input", "output"):
        _round(axes, card, 14, facecolor=THEME.panel, edgecolor=THEME.frame, linestyle="--")
        _write(axes, middle, card.y + card.height / 2, item.label, card.width - 8, ha="center")
        return
    if item.kind == "module":
        behind = layout.Place(card.item, card.x + 3, card.y - 3, card.width, card.height)
        _round(axes, behind, 6, facecolor=THEME.panel, edgecolor=THEME.frame)
    _round(axes, card, 6, facecolor=THEME.raised, edgecolor=THEME.frame)
    _write(axes, middle, card.y + 11, item.title, card.width - 8, ha="center", color=THEME.ink)
    width, left = (card.width - 10) / max(len(colours), 1), card.x + 5
    for at, colour in enumerate(colours or [None]):
        shade = THEME.gap if colour is None else tuple(part / 255 for part in colour)
        axes.add_patch(
            Rectangle(
                (left + at * width, card.y + 21), width - (0.6 if len(colours) > 1 else 0), 9,
                facecolor=shade, linewidth=0,
            )
        )  # fmt: skip


def _round(axes: Axes, at: layout.Place, radius: float, **style: Any) -> None:
    shape = f"round,pad=0,rounding_size={radius}"
    axes.add_patch(
        FancyBboxPatch((at.x, at.y), at.width, at.height, boxstyle=shape, linewidth=0.8, **style)
    )


def _write(axes: Axes, x: float, y: float, text: str, room: float, **style: Any) -> None:
    shown = cut(plain(text), room / PER_INCH, SMALL)
    look: dict[str, Any] = {"color": THEME.dim, "va": "center", "parse_math": False} | style
    axes.text(x, y, shown, fontsize=SMALL, **look)


def _legend(
    figure: Drawing, below: float, width: float, colours: Floats, low: float, high: float, by: str
) -> None:
    left, wide = width / 2 - 1.2, 2.4
    axes = figure.panel(left, below + 0.14, wide, 0.09)
    axes.imshow(colours[None], aspect="auto")
    figure.write(left - 0.06, below + 0.14, number(low), SMALL, ha="right", color=THEME.dim)
    figure.write(left + wide + 0.06, below + 0.14, number(high), SMALL, color=THEME.dim)
    figure.write(left + wide / 2, below + 0.28, by, SMALL, ha="center", color=THEME.dim)
