"""Attention heads of frameworks that keep an axis for them.

Keras and Flax store a projection of queries as (inputs, heads, width), and the layer that joins the
heads as (heads, width, outputs). So shape and axes say how many heads there are; grouped keys and
values have a shorter axis.
"""

from __future__ import annotations

import re
from typing import Final

from accweight_core.schema import Axis, Part, Split

PROJECTION: Final = (Axis.INPUT, Axis.OUTPUT, Axis.OUTPUT)
JOINT: Final = (Axis.INPUT, Axis.INPUT, Axis.OUTPUT)

NAMED = re.compile(r"(?P<what>query|key|value)(_proj|_dense)?(_\d+)?")
OUTPUT = re.compile(r"(attention_output|output_dense|out|out_proj|o_proj)(_\d+)?")


def heads_by_axes(
    last: str, shape: tuple[int, ...], axes: tuple[Axis, ...] | None, origin: str
) -> Split | None:
    """Return the heads of a kernel, None if it has no axis of heads.

    Args:
        last: Last part of the name of its layer.
        shape: Its shape.
        axes: Meaning of its axes.
        origin: What says so, in words.

    >>> heads_by_axes("query", (32, 4, 8), PROJECTION, "Keras").heads_of("q")
    4
    """
    projection, output = NAMED.fullmatch(last), OUTPUT.fullmatch(last)
    if projection and axes == PROJECTION:
        part = Part(projection["what"][0], shape[1] * shape[2], shape[1])
        return Split(Axis.OUTPUT, (part,), origin=origin) if part.size else None
    if output and axes == JOINT:
        part = Part("o", shape[0] * shape[1], shape[0])
        return Split(Axis.INPUT, (part,), origin=origin) if part.size else None
    return None
