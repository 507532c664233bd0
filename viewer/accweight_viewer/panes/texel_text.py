"""Texts about plates and texels, for picture windows and readout."""

from __future__ import annotations

import math
from typing import NamedTuple

from accweight_core.text import plain
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import Plate, PlateSource
from accweight_viewer.model.settings import Plane, Scope
from accweight_viewer.model.texels import AnyValue, TexelDifference, TexelUnit, TexelValue
from accweight_viewer.model.unit_values import UnitValues
from accweight_viewer.panes.formatting import MISSING, number_text, step_text

DOT = " \N{MIDDLE DOT} "
NOT_FINITE = "NaN or infinite"
TIMES = "\N{MULTIPLICATION SIGN}"


class Description(NamedTuple):
    """Text on the left and on the right, and a second line in smaller letters.

    Attributes:
        brief: What stands for `detail` where that has no room.
    """

    name: str
    value: str
    detail: str = ""
    share: str = ""
    brief: str = ""


def exact_text(value: float) -> str:
    """Return a number with six significant digits.

    >>> exact_text(0.123456789), exact_text(12.0)
    ('0.123457', '12')
    """
    return f"{value:.6g}" if math.isfinite(value) else MISSING


def signed_text(value: float) -> str:
    """Return a number with a typographic sign.

    >>> signed_text(0.5)
    '+0.5'
    """
    return f"{value:+.4g}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else MISSING


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as text.

    >>> shape_text(()), shape_text((3,))
    ('scalar', '3')
    """
    return TIMES.join(map(str, shape)) or "scalar"


def element_text(pick: Pick) -> str:
    """Return a weight as a Python expression: name and index."""
    index = pick.index
    return f"{pick.plate.name}[{', '.join(map(str, index))}]" if index else pick.plate.name


def square_text(side: int) -> str:
    """Return the text for the weights that a texel covers."""
    return f"{side}{TIMES}{side} weights" if side else "all weights"


def plate_description(
    source: PlateSource, plate: Plate, level: int, plane: Plane, step: str
) -> Description:
    """Return the description of a plate and of its texels at a level."""
    side = 1 << level
    if isinstance(source, UnitValues):
        brief = source.array.of_units
        meaning = f"{brief} of each unit"
    elif not plate.pictured:
        brief = f"{plane} of all weights"
        meaning = f"no picture stored: {brief}"
    elif level:
        brief = f"{plane} of {side}{TIMES}{side}"
        meaning = f"each texel the {plane} of {square_text(side)}"
    else:
        brief, meaning = "every weight", "each texel one weight"
    shape = shape_text(plate.parameter.shape) + DOT
    return Description(plate.name, "", shape + meaning, step, shape + brief)


def texel_description(pick: Pick, value: AnyValue, step: str) -> Description:
    """Return the description of a texel."""
    if isinstance(value, TexelUnit):
        return unit_description(pick, value, step)
    if isinstance(value, TexelDifference):
        return difference_description(pick, value, step)
    return value_description(pick, value, step)


def texel_line(source: PlateSource, pick: Pick, position: int, value: AnyValue) -> str:
    """Return the description of a texel at a position of its source, in a line; names escaped."""
    step = f"step {step_text(int(source.steps[position]))}"
    told = texel_description(pick, value, step)
    named = plain(told.name), plain(told.detail)
    return "   ".join(filter(None, (*named, told.value, told.share)))


def share_text(share: float, scope: Scope) -> str:
    """Return a normalised change in words.

    >>> share_text(0.42, "layer"), share_text(1.0, "global")
    ("42 % of the layer's largest", "100 % of the network's largest")
    """
    if not math.isfinite(share):
        return MISSING
    return f"{100 * share:.3g} % of the {'layer' if scope == 'layer' else 'network'}'s largest"


def value_description(pick: Pick, value: TexelValue, step: str) -> Description:
    """Return the description of a texel of a run."""
    if math.isnan(value.value):
        return Description(element_text(pick), "", pick.described(), step)
    if math.isinf(value.value):
        return Description(element_text(pick), NOT_FINITE, pick.described(), step)
    share = share_text(value.normalised, value.scope)
    if value.side == 1:
        text = f"moved {exact_text(value.value)}"
        return Description(element_text(pick), text, pick.described(), share + DOT + step)
    text = f"mean of {square_text(value.side)} moved {exact_text(value.value)}"
    share = f"max {exact_text(value.largest)}{DOT}{share}"
    return Description(element_text(pick), text, pick.described(), share + DOT + step)


def unit_text(value: TexelUnit) -> str:
    """Return the value of a unit, with what it is.

    >>> unit_text(TexelUnit(0.5, 1.0, "3", "activations"))
    'unit 3: activations 0.5'
    """
    return f"unit {value.unit}: {value.called} {exact_text(value.value)}"


def unit_description(pick: Pick, value: TexelUnit, step: str) -> Description:
    """Return the description of a texel that shows what its unit does."""
    share = share_text(value.normalised, value.scope)
    return Description(element_text(pick), unit_text(value), pick.described(), share + DOT + step)


def difference_description(pick: Pick, value: TexelDifference, step: str) -> Description:
    """Return the description of a texel of a difference."""
    if math.isnan(value.value):
        return Description(element_text(pick), "", pick.described(), step)
    if math.isinf(value.value):
        return Description(element_text(pick), NOT_FINITE, pick.described(), step)
    both = f"{number_text(value.first)} \N{MINUS SIGN} {number_text(value.second)}"
    text = f"difference {signed_text(value.value)}"
    return Description(element_text(pick), text, pick.described(), both + DOT + step)
