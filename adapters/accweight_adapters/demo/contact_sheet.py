"""The contact sheet: all layers over all steps on one page, black to white.

One row per layer, one column per step, from the pictures of a stored analysis. Texels without an
element (gaps, padding) are dark blue, so black always means a weight that has not moved.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from accweight_core.analysis.analysis import Analysis
from accweight_core.errors import StoreError
from accweight_core.pictures.plan import Picture
from accweight_core.schema import Parameter

MOST_STEPS = 8
MOST_LAYERS = 24
MOST_LETTERS = 40
"""Letters shown of a layer's name, its last ones; longer labels leave no room for pictures."""

PANEL_INCHES = 1.55
LEAST_INCHES = 7.0
"""Width below which title and legend do not fit the page."""

Panels = npt.NDArray[np.object_]

_PAGE = "#12161c"
_EMPTY = "#1b232d"
_INK = "#e8ecf0"
_GREY = "#8b97a5"


def contact_sheet(
    analysis: Analysis,
    out: str | os.PathLike[str],
    *,
    scope: Literal["global", "layer"] = "layer",
    steps: int = MOST_STEPS,
) -> Path:
    """Draw all layers over the steps into a PNG.

    Args:
        analysis: A stored analysis with pictures.
        out: The file to write.
        scope: Whether white is the largest value of all layers, or of each layer.
        steps: Most columns; steps are evenly spaced, and the last one is included.

    Returns:
        The path of the file.

    Raises:
        StoreError: If the analysis has no pictures.
    """
    if analysis.store is None or not analysis.header.picture_bases:
        raise StoreError("a contact sheet needs a stored analysis with pictures")
    shown = [p for p in analysis.parameters if p.role in analysis.header.roles and p.elements]
    shown = shown[:MOST_LAYERS]
    columns = _chosen_steps(len(analysis.steps), steps)
    figure, axes = _page(analysis, shown, columns)
    ramp = LinearSegmentedColormap.from_list("moved", ["black", "white"])
    colours = ramp.with_extremes(bad=_EMPTY)
    for row, parameter in enumerate(shown):
        scale = analysis.scale(parameter.name, scope)
        for column, picture in enumerate(_pictures(analysis, parameter, columns)):
            axes[row, column].imshow(
                picture, cmap=colours, vmin=0, vmax=scale or 1, interpolation="nearest"
            )
        _label(axes[row, 0], parameter, scale)
    _legend(figure, axes, colours, scope)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as a box
        FigureCanvasAgg(figure).print_figure(str(out), format="png", facecolor=_PAGE)
    return Path(out)


def _page(
    analysis: Analysis, shown: Sequence[Parameter], columns: Sequence[int]
) -> tuple[Figure, Panels]:
    """Return the empty page, rows as high as their pictures are."""
    heights = []
    for parameter in shown:
        layout = analysis.layout(parameter.name)
        heights.append(min(max(layout.rows / max(layout.cols, 1), 0.34), 1.2))
    width = max(LEAST_INCHES, 2.2 + PANEL_INCHES * len(columns))
    size = (width, 1.5 + (PANEL_INCHES + 0.06) * sum(heights))
    figure = Figure(figsize=size, facecolor=_PAGE, layout="constrained")
    axes = figure.subplots(
        len(shown), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    figure.suptitle(
        f"How far every weight has travelled, step {analysis.steps[0]} to {analysis.steps[-1]}",
        color=_INK,
        fontsize=13,
    )
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[], facecolor=_PAGE)
        panel.spines[:].set_visible(False)
    for column, index in enumerate(columns):
        axes[0, column].set_title(f"step {analysis.steps[index]}", color=_INK, fontsize=9)
    return figure, axes


def _chosen_steps(count: int, most: int) -> list[int]:
    """Return at most `most` step indices, including the first change and the last step."""
    if count <= 1:
        return list(range(count))
    return sorted({round(i) for i in np.linspace(1, count - 1, min(most, count - 1))})


def _pictures(analysis: Analysis, parameter: Parameter, columns: Sequence[int]) -> list[Picture]:
    """Return the pictures of a parameter at some steps, at the resolution of the page."""
    store = analysis.store
    if store is None:
        return []
    index = analysis.parameter_index(parameter.name)
    plan = analysis.header.plan(index)
    level = next((n for n in plan.levels if max(plan.size(n)) <= 512), plan.levels[-1])
    return [store.picture(index, level, "mean", column) for column in columns]


def _label(panel: Axes, parameter: Parameter, scale: float) -> None:
    """Write name, kind, shape and scale left of a row."""
    shape = "x".join(map(str, parameter.shape))
    text = (
        f"{_ascii(parameter.layer[-MOST_LETTERS:])}\n{parameter.kind} {shape}\nwhite = {scale:.3g}"
    )
    panel.set_ylabel(
        text, rotation=0, ha="right", va="center", color=_INK, fontsize=9, labelpad=10,
        parse_math=False,
    )  # fmt: skip


def _ascii(name: str) -> str:
    """Return a name with non-ASCII characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def _legend(figure: Figure, axes: np.ndarray, colours: Colormap, scope: str) -> None:
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), colours),
        ax=list(axes.flat),
        location="bottom",
        fraction=0.03,
        aspect=60,
        pad=0.02,
    )
    of = "each layer's own largest" if scope == "layer" else "the largest of all layers"
    bar.set_label(
        f"cumulative change, as a share of {of} (0 = has not moved)", color=_GREY, fontsize=9
    )
    bar.ax.tick_params(colors=_GREY, labelsize=8)
    bar.outline.set_visible(False)
