"""The layers as pictures, in network order: a texel per weight, the brighter the farther it moved.

Colours are those of the viewer: each layer has a scale of its own, whose bright end few weights
exceed.
"""

from __future__ import annotations

from accweight_core.analysis.figures.page import (
    BODY,
    MARGIN,
    SMALL,
    THEME,
    Drawing,
    cut,
    more,
    number,
    page,
)
from accweight_core.analysis.shown import Shown
from accweight_core.analysis.summary import Measured
from accweight_core.analysis.thumbnails import PAINTS
from accweight_core.colours.scale import ENTRIES, Entries
from accweight_core.errors import StoreError
from accweight_core.naming import leaf_of
from accweight_core.pictures.texel_map import Layout
from accweight_core.schema import Parameter
from accweight_core.text import plain

MOST_PICTURES = 48
PER_LINE, LEAST_COLUMNS = 6, 4
SIDE = 1.5
"""Inches of the longer side of a picture."""

LEAST = 0.12
"""Inches of the shorter side of a long picture, at least."""

GAP = 0.2
CAPTION = 0.4
"""Inches of the two lines above a picture."""

TEXELS = 320
"""Texels along a picture; a page has no room for more."""

LEFT_OUT = "the pictures of this step were left out, as writing was slower than training"
"""What a step says whose pictures have no weights at all: a tracker has left them out."""


def layers_figure(shown: Shown, step_index: int, top: int | None) -> Drawing:
    """Draw the pictures of all parameters that layers count, at a step.

    Args:
        shown: The analysis.
        step_index: Index of the step.
        top: Pictures to draw, from the first layer on; by default as many as fit a page.

    Raises:
        StoreError: If there are no pictures.
    """
    thumbnails = shown.thumbnails
    every = list(thumbnails.parameters())
    if not every:
        raise StoreError(
            f"{shown.run}: holds no pictures of its layers; analyse the run again, with a larger "
            "--picture-budget"
        )
    chosen = every[: top or MOST_PICTURES]
    columns = min(PER_LINE, max(len(chosen), LEAST_COLUMNS))
    lines = [chosen[first : first + columns] for first in range(0, len(chosen), columns)]
    heights = [max(_size(thumbnails.layout(p))[1] for _, p in line) for line in lines]
    share = thumbnails.scale.high
    drawn = {p.name: thumbnails.entries(r, p, step_index, TEXELS) for r, p in chosen}
    is_left_out = all((entries == ENTRIES).all() for entries in drawn.values())
    figure, bottom = page(
        2 * MARGIN + columns * (SIDE + GAP) - GAP,
        sum(heights) + len(lines) * (CAPTION + GAP) - GAP,
        f"How far every weight has travelled, at step {shown.steps[step_index]}",
        f"{shown.run}: black has not moved; white has moved by the value above its layer, or more",
        [
            LEFT_OUT if is_left_out else "",
            more(len(every) - len(chosen), "picture"),
            f"white is {share:.0%} of the longest path in the layer, at the last step",
            shown.not_counted,
        ],
    )
    top_edge = bottom + sum(heights) + len(lines) * (CAPTION + GAP) - GAP
    for line, height in zip(lines, heights, strict=True):
        for column, (row, parameter) in enumerate(line):
            left = MARGIN + column * (SIDE + GAP)
            size = _size(thumbnails.layout(parameter))
            _picture(figure, drawn[parameter.name], left, top_edge - CAPTION, size)
            _caption(figure, shown, row, parameter, share, left, top_edge)
        top_edge -= CAPTION + height + GAP
    return figure


def _size(layout: Layout) -> tuple[float, float]:
    """Return width and height of a picture in inches."""
    longer = max(layout.rows, layout.cols, 1)
    return max(SIDE * layout.cols / longer, LEAST), max(SIDE * layout.rows / longer, LEAST)


def _picture(
    figure: Drawing, entries: Entries, left: float, top: float, size: tuple[float, float]
) -> None:
    """Draw a picture and its frame below a caption."""
    width, height = size
    axes = figure.panel(left, top - height, width, height)
    axes.imshow(PAINTS[entries], aspect="auto", interpolation="none")
    axes.spines[:].set(visible=True, color=THEME.frame, linewidth=0.5)


def _caption(
    figure: Drawing,
    shown: Shown,
    row: Measured,
    parameter: Parameter,
    share: float,
    left: float,
    top: float,
) -> None:
    """Write the name of a picture, its shape, and the change that is white."""
    name = shown.names[row.name]
    if len(row.parameters) > 1:
        name += " " + plain(leaf_of(parameter.name, row.name))
    figure.write(left, top - 0.14, cut(name, SIDE, BODY, "bold", keep="end"), weight="bold")
    shape = "\N{MULTIPLICATION SIGN}".join(map(str, parameter.shape)) or "scalar"
    white = number(share * float(row.metrics["max"][-1]))
    detail = f"{shape}, white {white}"
    figure.write(left, top - 0.29, cut(detail, SIDE, SMALL), SMALL, color=THEME.dim)
