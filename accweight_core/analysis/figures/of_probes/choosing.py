"""Which figures the results of a probe have: what is drawn of an array depends on its axes.

(step)                                      curves over the steps
(step, layer)                               curves, a line per layer
(step, ..., height, width, channel) uint8   a contact sheet, steps down
(step, point, coordinate)                   scatter plots, side by side
(step, stage, point, coordinate)            scatter plots, stages across, steps down
(step, component)                           a path
(step, a, b) and (step, step)               maps: values as colours
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from accweight_core.analysis.figures.of_probes.curves import curves_figure
from accweight_core.analysis.figures.of_probes.maps import map_figure, steps_map_figure
from accweight_core.analysis.figures.of_probes.points import (
    path_figure,
    scatter_figure,
    stages_figure,
)
from accweight_core.analysis.figures.of_probes.sheets import sheet_figure
from accweight_core.analysis.figures.page import Drawing
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.store.probe_store import STEP

PIXELS = ("height", "width", "channel")
MOST_CELLS = 1 << 16
"""Cells of a map that can still be told apart."""

Draw = Callable[[], Drawing]


def figures_of(result: ProbeResult) -> Mapping[str, Draw]:
    """Return what draws each figure of a result, by a name for its file."""
    found: dict[str, Draw] = {}
    if len(result.steps) == 0:
        return found
    axes = {name: result.fields[name].axes for name in result.arrays}
    over_steps = [name for name, along in axes.items() if along == (STEP,)]
    if over_steps:
        found["steps"] = lambda: curves_figure(result, over_steps)
    per_layer = [name for name, along in axes.items() if along == (STEP, "layer")]
    if per_layer:
        found["layers"] = lambda: curves_figure(result, per_layer)
    for name, along in axes.items():
        draw = _drawn(result, name, along)
        if draw is not None:
            found[name] = draw
    return found


def _drawn(result: ProbeResult, name: str, axes: tuple[str, ...]) -> Draw | None:
    """Return what draws an array that has a figure of its own."""
    field = result.fields[name]
    if field.dtype == "uint8" and axes[0] == STEP and axes[-3:] == PIXELS:
        return lambda: sheet_figure(result, name)
    if axes == (STEP, "component"):
        return lambda: path_figure(result, name)
    if axes == (STEP, "point", "coordinate"):
        return lambda: scatter_figure(result, name)
    if axes == (STEP, "stage", "point", "coordinate"):
        return lambda: stages_figure(result, name)
    if axes == (STEP, STEP):
        return lambda: steps_map_figure(result, name)
    is_map = len(axes) == 3 and axes[0] == STEP and STEP not in axes[1:]
    if is_map and axes[1:] == ("class", "predicted") and field.shape[1] ** 2 <= MOST_CELLS:
        return lambda: map_figure(result, name)
    return None
