"""Numbers over the steps, a panel for each; of layers, a line per layer in the network's order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from accweight_core.analysis.figures.curves import WIDTH, label_steps
from accweight_core.analysis.figures.page import (
    BODY,
    MARGIN,
    SMALL,
    THEME,
    TITLE,
    Drawing,
    cut,
    more,
    page,
    text_width,
)
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.probe_scales import (
    are_of_classes,
    bands_of,
    curve_scale,
    told_and_empty,
    without_numbers,
)
from accweight_core.analysis.step_axis import shares
from accweight_core.colours.scale import colour_table
from accweight_core.text import plain, steps_said

PANEL, CAPTION, LABELS = 1.5, 0.24, 0.4
"""Inches of a panel, of the line above it and of the steps below it."""

MOST_NAMED = 12
NAMES = 1.6
"""Inches of the names of layers at the right."""

MOST_POWERS = 5
"""Powers of ten that are named beside a logarithmic panel."""

LINE = 0.15
BAND = 0.22
"""Opacity of a band around a curve."""

DARK_ENOUGH = 0.85
"""Part of the colour map that is legible on white."""

Floats = npt.NDArray[np.float64]


def curves_figure(result: ProbeResult, names: Sequence[str]) -> Drawing:
    """Draw arrays of one number per step, or per step and layer, unit or the like."""
    told, empty = told_and_empty(result, names)
    axes_of = result.fields[names[0]].axes
    layers = result.labels(axes_of[1]) if len(axes_of) > 1 else ()
    height = len(told) * (PANEL + CAPTION + LABELS)
    figure, bottom = page(
        WIDTH,
        height,
        heading(result),
        subtitle(result),
        [_unnamed(layers, axes_of[-1]), without_numbers(empty)],
    )
    of_lines = class_colours if are_of_classes(result, axes_of[-1]) else line_colours
    colours = of_lines(len(layers)) if layers else [THEME.curves[0]]
    room = WIDTH - 2 * MARGIN - (NAMES if layers else 0)
    top, arrays = bottom + height, [result.array(name).astype(np.float64) for name in told]
    bands = {
        name: [result.array(one).astype(np.float64) for one in bounds]
        for name, bounds in bands_of(result).items()
    }
    scales = [
        _scale(np.stack([values, *bands.get(name, [])]))
        for name, values in zip(told, arrays, strict=True)
    ]
    left = MARGIN + 0.1 + max(scale.width for scale in scales)
    for name, values, scale in zip(told, arrays, scales, strict=True):
        field = result.fields[name]
        logarithmic = " (logarithmic)" if scale.logarithmic else ""
        title = f"{name.replace('_', ' ')}: {field.words}{logarithmic}"
        shown = cut(plain(title), WIDTH - 2 * MARGIN, BODY)  # the names at the right are lower
        figure.write(MARGIN, top - 0.14, shown, BODY)
        low = top - CAPTION - PANEL
        axes = _axes(figure, scale, left, low, MARGIN + room - left)
        x = shares(result.steps)
        series = values.reshape(len(values), -1)
        marker = "o" if len(x) == 1 else ""
        if name in bands:
            low_bound, high_bound = bands[name]
            axes.fill_between(
                x, low_bound, high_bound, color=THEME.curves[0], alpha=BAND, linewidth=0
            )
        for place, colour in enumerate(colours):
            (line,) = axes.plot(x, series[:, place], color=colour, linewidth=1.3, marker=marker)
            line.set_clip_on(False)  # a line of zeros lies on the edge
        label_steps(axes, result.steps, x)
        top -= PANEL + CAPTION + LABELS
    _legend(figure, layers, colours, bottom + height - CAPTION)
    return figure


def _unnamed(layers: Sequence[str], what: str) -> str:
    """Return how many layers, or units and the like, have no name beside the curves."""
    return f"{more(len(layers) - MOST_NAMED, what)} without a name" if layers[MOST_NAMED:] else ""


def heading(result: ProbeResult) -> str:
    """Return the title of a figure: the probe with its options, and the layer or node if any."""
    of = result.attributes.get("parameter") or result.attributes.get("node") or ""
    is_told = not of or f"={of}" in result.asked
    return f"{plain(result.asked)}{'' if is_told else ' of ' + plain(of)}"


def subtitle(result: ProbeResult) -> str:
    """Return of which analysis, whether weights were in their places, and of which samples."""
    run = plain(result.path.parent.parent.name)
    steps = steps_said(result.steps.tolist(), span=True)
    proof = f"; weights {result.proof}" if result.proof else ""
    left_out = result.left_out.partition(":")[0]  # the reason would be cut
    further = "".join(f"; {plain(text)}" for text in (left_out, result.data) if text)
    return f"{run}: {steps}{proof}{further}"


def heading_width(result: ProbeResult, most: float, beside: float = 0.0) -> float:
    """Return the inches that title and subtitle take, but at most so many.

    Args:
        result: The result.
        most: Inches at most.
        beside: Inches that are kept free beside the title.
    """
    title = text_width(heading(result), TITLE, "bold") + beside
    return min(max(title, text_width(subtitle(result))) + 0.02, most)


def line_colours(count: int) -> list[tuple[float, float, float]]:
    """Return a colour for every place in the network, dark to light."""
    table = colour_table("viridis") / 255
    chosen = np.linspace(0, DARK_ENOUGH * (len(table) - 1), max(count, 1)).astype(int)
    return [(float(r), float(g), float(b)) for r, g, b in table[chosen]]


def class_colours(count: int) -> list[tuple[float, float, float]]:
    """Return a colour for each of so many classes; from the eleventh on they come again."""
    return [_rgb(THEME.classes[number % len(THEME.classes)]) for number in range(count)]


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


class _Scale(NamedTuple):
    """A vertical scale: its bounds, and a few round values in it."""

    bounds: tuple[float, float]
    ticks: list[float]
    logarithmic: bool

    @property
    def labels(self) -> list[str]:
        """The values as text."""
        return [f"{tick:.6g}" for tick in self.ticks]

    @property
    def width(self) -> float:
        """Inches of the widest of them."""
        return max((text_width(label, SMALL) for label in self.labels), default=0.0)


def _scale(values: Floats) -> _Scale:
    """Return the scale of some values, with its ticks: powers of ten if it is logarithmic."""
    low, high, logarithmic = curve_scale(values)
    if logarithmic:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        ticks = [10.0**power for power in powers[:: -(-len(powers) // MOST_POWERS)]]
    else:
        ticks = [float(t) for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    return _Scale((low, high), ticks, logarithmic)


def _axes(figure: Drawing, scale: _Scale, left: float, bottom: float, width: float) -> Axes:
    """Return axes with lines at the values of a scale; those above each other begin alike."""
    axes = figure.panel(left, bottom, width, PANEL)
    axes.set(xlim=(0, 1), yscale="log" if scale.logarithmic else "linear", ylim=scale.bounds)
    axes.set_yticks(scale.ticks, scale.labels)
    axes.minorticks_off()
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=THEME.dim)
    axes.grid(axis="y", color=THEME.line, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _legend(figure: Drawing, layers: Sequence[str], colours: Sequence[object], top: float) -> None:
    """Write the names of layers in their colours; of many, evenly chosen ones."""
    if not layers:
        return
    count = min(len(layers), MOST_NAMED)
    chosen = np.unique(np.linspace(0, len(layers) - 1, count).round().astype(int))
    left = WIDTH - MARGIN - NAMES + 0.2
    for line, place in enumerate(chosen):
        name = cut(plain(layers[place]), NAMES - 0.2, SMALL, keep="end")
        figure.write(left, top - 0.1 - LINE * line, name, SMALL, color=colours[place])
