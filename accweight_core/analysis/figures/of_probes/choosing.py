"""Which figures the results of a probe have: what is drawn of an array depends on its kind.

numbers, layers   curves over the steps; of layers, a line per layer, and so of units, classes
pictures          a contact sheet, steps down
links             a network of pictures, with links between them
points            scatter plots, side by side
stages            scatter plots, stages across, steps down
against           scatter plots with named axes, side by side
path              a path
steps, cells      maps: values as colours
matrix, units     rows of values as colours, at the first and the last step
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from accweight_core.analysis.figures.of_probes.curves import curves_figure
from accweight_core.analysis.figures.of_probes.maps import map_figure, steps_map_figure
from accweight_core.analysis.figures.of_probes.matrix import matrix_figure
from accweight_core.analysis.figures.of_probes.network import network_figure
from accweight_core.analysis.figures.of_probes.points import (
    path_figure,
    scatter_figure,
    stages_figure,
)
from accweight_core.analysis.figures.of_probes.sheets import sheet_figure
from accweight_core.analysis.figures.page import Drawing
from accweight_core.analysis.probe_kinds import ResultKind, arrays_of, kind_of
from accweight_core.analysis.probe_names import in_file
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.unit_network import is_network
from accweight_core.text import numbered

MOST_CELLS = 1 << 16
"""Cells of a map that can still be told apart."""

MOST_LINES = 64
"""Lines that can still be told apart."""

Draw = Callable[[], Drawing]

_DRAWN: Mapping[ResultKind, Callable[[ProbeResult, str], Drawing]] = {
    ResultKind.PICTURES: sheet_figure,
    ResultKind.LINKS: network_figure,
    ResultKind.PATH: path_figure,
    ResultKind.POINTS: scatter_figure,
    ResultKind.STAGES: stages_figure,
    ResultKind.AGAINST: scatter_figure,
    ResultKind.STEPS: steps_map_figure,
    ResultKind.CELLS: map_figure,
    ResultKind.MATRIX: matrix_figure,
    ResultKind.UNITS: matrix_figure,
}


def figures_of(result: ProbeResult) -> Mapping[str, Draw]:
    """Return what draws each figure of a result, by a name for its file.

    An axis may be called anything, also as an array is. No name has a hyphen, which parts it from
    that of the result.
    """
    if len(result.steps) == 0:
        return {}
    found = {f"curves:{name}": draw for name, draw in _curves(result).items()}
    for name in result.arrays:
        draw = _drawn(result, name)
        if draw is not None:
            found[name] = draw
    short = {key: in_file(key.removeprefix("curves:")).replace("-", "_") for key in found}
    names = numbered(short, "_")
    return {names[key]: draw for key, draw in found.items()}


def _curves(result: ProbeResult) -> dict[str, Draw]:
    """Return what draws curves over the steps, by what has a curve."""
    found: dict[str, Draw] = {}
    over_steps = arrays_of(result, ResultKind.NUMBERS)
    if over_steps:
        found["steps"] = lambda: curves_figure(result, over_steps)
    per_layer = arrays_of(result, ResultKind.LAYERS)
    if per_layer:
        found["layers"] = lambda: curves_figure(result, per_layer)
    for axis, names in _rows(result).items():
        found[axis] = partial(curves_figure, result, names)
    return found


def _rows(result: ProbeResult) -> dict[str, list[str]]:
    """Return the arrays of one number per step and unit, class and the like, by that axis."""
    found: dict[str, list[str]] = {}
    for name in arrays_of(result, ResultKind.ROWS):
        axis, count = result.fields[name].axes[1], result.fields[name].shape[1]
        if count <= MOST_LINES:
            found.setdefault(axis, []).append(name)
    return found


def _drawn(result: ProbeResult, name: str) -> Draw | None:
    """Return what draws an array that has a figure of its own."""
    field = result.fields[name]
    kind = kind_of(field)
    if (
        kind is None
        or kind not in _DRAWN
        or (kind is ResultKind.CELLS and field.shape[1] ** 2 > MOST_CELLS)
        or (kind is ResultKind.LINKS and not is_network(result))
    ):
        return None
    return lambda: _DRAWN[kind](result, name)
