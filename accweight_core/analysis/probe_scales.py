"""The scales of what probes found: the same in figures and on pages, from all steps.

Figures draw fewer steps than pages, and pages fewer than there are; a scale of the drawn steps
alone would show the same result in two ways.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from accweight_core.analysis.probe_results import ProbeResult

WIDE = 1000
"""How many times the smallest value the largest is, from which on curves are logarithmic."""

BANDS = "bands"
"""Attribute of a result: the two arrays that bound the band around another one, by its name.

The three are one chart, a line and a band.
"""

EDGE = 0.04
"""Room above and below curves, as a share of their range."""

Values = npt.NDArray[Any]


class CurveScale(NamedTuple):
    """A vertical scale of curves: its bounds, and whether it is logarithmic."""

    low: float
    high: float
    logarithmic: bool


ROUNDING = 1e-9
"""Part of its values that curves reach over at least, if they are to be told from a constant."""


def curve_scale(values: Values) -> CurveScale:
    """Return the scale of curves; a linear one begins at 0 if that costs little.

    Args:
        values: All of them, any shape; those that are not finite are left out.

    >>> curve_scale(np.array([0.001, 10.0])).logarithmic, curve_scale(np.array([0.0, 10.0])).low
    (True, 0.0)
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return CurveScale(0.0, 1.0, logarithmic=False)
    low, high = float(finite.min()), float(finite.max())
    if high - low <= ROUNDING * max(-low, high):  # nothing but rounding is between them
        return CurveScale(min(1.1 * low, 0.0), max(1.1 * high, 0.0) or 1.0, logarithmic=False)
    if low > 0 and high >= WIDE * low:
        factor = (high / low) ** EDGE
        return CurveScale(low / factor, high * factor, logarithmic=True)
    low = 0.0 if 0 < low < 0.5 * high else low
    edge = EDGE * (high - low)
    return CurveScale(low - edge * (low != 0), high + edge, logarithmic=False)


def matrix_scale(result: ProbeResult, name: str) -> tuple[float, float]:
    """Return the values that are darkest and brightest in a matrix, 0 between them.

    Args:
        result: The result.
        name: The array, whose first axis are the steps.

    Raises:
        StoreError: If it is damaged.
    """
    values = result.array(name)
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
    return low, high if high > low else low + 1.0


def are_of_classes(result: ProbeResult, axis: str) -> bool:
    """Tell whether curves along an axis are of what points are coloured by: they share colours."""
    names = tuple(str(one) for one in result.attributes.get("classes") or ())
    return axis == "class" or (bool(names) and result.labels(axis) == names)


def bands_of(result: ProbeResult) -> dict[str, tuple[str, str]]:
    """Return the names of the lower and the upper bound of each array that is drawn with a band."""
    found = {}
    for name, bounds in (result.attributes.get(BANDS) or {}).items():
        known = [one for one in (name, *bounds) if one in result.arrays]
        if len(known) == 3 and len({result.fields[one].axes for one in known}) == 1:
            found[name] = (bounds[0], bounds[1])
    return found


def told_and_empty(result: ProbeResult, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arrays that are drawn as curves, and those that have no number at any step.

    If none has a number, all are drawn, so that it is said below them. Bounds of a band are
    drawn with what is in it.
    """
    bounds = {bound for pair in bands_of(result).values() for bound in pair}
    names = [name for name in names if name not in bounds]
    empty = [name for name in names if not np.isfinite(result.array(name)).any()]
    told = [name for name in names if name not in empty]
    return told or empty, empty


def without_numbers(names: Iterable[str]) -> str:
    """Return which arrays are not drawn as they have no numbers; nothing if there are none."""
    words = ", ".join(name.replace("_", " ") for name in names)
    return f"without numbers here: {words}" if words else ""
