"""The range of the colours, for one run or several together: set by hand, or fitted.

Fitted ends are those that show most of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from accweight_core.colours.scale import (
    ColourScale,
    bright_end,
    colour_table,
    dark_end,
    fitted,
)
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.settings import Scope, Settings


def colour_scale(runs: Sequence[ShownRun], settings: Settings, *, signed: bool) -> ColourScale:
    """Return the colour scale of changes, or of signed differences."""
    light = "_light" if settings.theme == "light" else ""
    name = f"difference{light}" if signed else settings.colour_map
    low = 0.0 if signed else low_end(runs, settings)
    high = fitted_high(runs, settings.scope) if settings.fitted else settings.high
    return ColourScale(colour_table(name), settings.logarithmic, low, max(high, low + 1e-6), signed)


def low_end(runs: Sequence[ShownRun], settings: Settings) -> float:
    """Return the dark end: set by hand, or fitted if colours are logarithmic."""
    if settings.low > 0 or not (settings.logarithmic and settings.fitted):
        return settings.low
    return fitted_low(runs, settings.scope)


def fitted_high(runs: Sequence[ShownRun], scope: Scope) -> float:
    """Return the bright end that distinguishes most changes; of several runs the brightest."""
    return fitted([_end(run, scope, bright_end, np.max) for run in runs])


def fitted_low(runs: Sequence[ShownRun], scope: Scope) -> float:
    """Return the dark end of logarithmic colours that few changes fall below; 0 if none moved."""
    ends = [end for run in runs if (end := _end(run, scope, dark_end, np.min)) > 0]
    return float(f"{min(ends):.2g}") if ends else 0.0


def _end(
    run: ShownRun, scope: Scope, end: Callable[..., float], over_all: Callable[..., Any]
) -> float:
    """Return an end of the colours of a run, as a share of its scale.

    Args:
        run: The run.
        scope: How changes are normalised.
        end: `bright_end` or `dark_end`.
        over_all: Taken over the layers if they have one scale; else their median is.
    """
    if not run.layers:
        return 0.0
    mean, deviation = (run.metric(name)[:, -1] for name in ("mean", "std"))
    if scope == "global":
        return end(mean, deviation, np.full(len(mean), run.largest), over_all)
    return end(mean, deviation, run.layer_largest, np.median)
