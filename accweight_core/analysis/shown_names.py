"""What places along an axis are called where they are drawn, which stand out, and their groups.

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


def group_borders(result: ProbeResult, axis: str) -> list[int]:
    """Return the places along an axis at which another group begins; none without groups.

    Groups are an array of one axis, `group` or, as ``unit_group``, named after the axis: those of
    the places that its labels name, or of places that are in the order of their groups.
    """
    labels = result.labels(axis)
    for name in ("group", f"{axis}_group"):
        if name not in result.arrays or len(result.fields[name].axes) != 1:
            continue
        own, groups = result.labels(result.fields[name].axes[0]), result.array(name).tolist()
        group_of = dict(zip(own, groups, strict=True))
        if len(own) == len(labels) and len(group_of) == len(own):
            is_named = group_of.keys() == set(labels)
            order = [group_of[one] for one in labels] if is_named else sorted(groups)
            return [at for at in range(1, len(order)) if order[at] != order[at - 1]]
    return []
