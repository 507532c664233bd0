"""How an array of a probe is shown: by its axes, whatever the probe is called.

Figures, pages, exports and the viewer ask here, so that what a probe of another package stores is
shown everywhere.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from accweight_core.store.probe_store import STEP, FieldDocument

if TYPE_CHECKING:
    from accweight_core.analysis.probe_results import ProbeResult

LAYER = "layer"
PIXELS = ("height", "width", "channel")
NOT_ROWS = (STEP, "component", "bound", "feature", "neighbour", "rank", "row")
"""Axes whose places are nothing that a row or a curve could stand for."""

SAMPLES = ("point", "picture", "coordinate")
"""Axes of samples: too many for the rows and columns of a matrix."""


class ResultKind(StrEnum):
    """What can be shown of an array.

    The axes are (step) for numbers; (step, layer) for numbers of layers and (step, any) of other
    things; (step, ..., height, width, channel) of bytes for pictures; (step, point, coordinate) for
    points; (step, stage, point, coordinate) for points on their way; (step, place, coordinate) for
    other things by two quantities, which labels of "coordinate" name; (step, link) for a network of
    pictures with links; (step, component) for a path; (step, step) and (step, class, predicted) for
    maps; (step, layer, unit) for units; (step, any, any) for other matrices, a row for each place
    of the first.
    """

    NUMBERS = "numbers"
    LAYERS = "layers"
    ROWS = "rows"
    PICTURES = "pictures"
    POINTS = "points"
    STAGES = "stages"
    AGAINST = "against"
    LINKS = "links"
    PATH = "path"
    STEPS = "steps"
    CELLS = "cells"
    UNITS = "units"
    MATRIX = "matrix"


_BY_AXES = {
    (STEP,): ResultKind.NUMBERS,
    (STEP, LAYER): ResultKind.LAYERS,
    (STEP, "component"): ResultKind.PATH,
    (STEP, "link"): ResultKind.LINKS,
    (STEP, STEP): ResultKind.STEPS,
    (STEP, "point", "coordinate"): ResultKind.POINTS,
    (STEP, "stage", "point", "coordinate"): ResultKind.STAGES,
    (STEP, "place", "coordinate"): ResultKind.AGAINST,
    (STEP, "class", "predicted"): ResultKind.CELLS,
    (STEP, LAYER, "unit"): ResultKind.UNITS,
}


def kind_of(field: FieldDocument) -> ResultKind | None:
    """Return what can be shown of an array; None if nothing, as of flags, which are bytes."""
    axes = field.axes
    if field.dtype == "uint8":
        is_picture = axes[:1] == (STEP,) and (axes[-3:] == PIXELS or axes[-2:] == PIXELS[:2])
        return ResultKind.PICTURES if is_picture and STEP not in axes[1:] else None
    known = _BY_AXES.get(axes)
    if known in (ResultKind.POINTS, ResultKind.STAGES, ResultKind.AGAINST) and field.shape[-1] < 2:
        return None
    if known is None and len(axes) == 2 and axes[0] == STEP and axes[1] not in NOT_ROWS:
        return ResultKind.ROWS
    others = axes[1:]
    if known is None and len(axes) == 3 and axes[0] == STEP:
        return None if set(others) & {*NOT_ROWS, *SAMPLES} else ResultKind.MATRIX
    return known


def arrays_of(result: ProbeResult, *kinds: ResultKind) -> list[str]:
    """Return the arrays of a result that are of some kinds, in the order of its fields."""
    return [name for name in result.arrays if kind_of(result.fields[name]) in kinds]
