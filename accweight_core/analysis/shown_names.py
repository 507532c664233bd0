"""What places along an axis are called where they are drawn, and which of them stand out.

Labels tell places apart, so no two are equal. What is drawn may say more, or the same twice: the
token at each time of a sequence, the class that a unit of the last layer stands for.
"""

from __future__ import annotations

from accweight_core.analysis.probe_results import ProbeResult

SHOWN_AS, MARKED = "shown_as", "marked"
"""Attributes of a result: names by axis, and places that stand out by axis."""


def shown_names(result: ProbeResult, axis: str) -> tuple[str, ...]:
    """Return the names of the places along an axis as they are drawn; by default its labels."""
    labels = result.labels(axis)
    names = (result.attributes.get(SHOWN_AS) or {}).get(axis) or ()
    return tuple(names) if len(names) == len(labels) else labels


def marked_places(result: ProbeResult, axis: str) -> list[int]:
    """Return the places along an axis whose names stand out."""
    return list((result.attributes.get(MARKED) or {}).get(axis) or [])
