"""What two analyses share: rows that an alignment puts side by side, with their values.

Where one side has in several layers what the other has in one, the several are folded, as the
parameters of a layer are, so that both sides have one figure over the same weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accweight_core.alignment import Alignment, Match, Values, align
from accweight_core.analysis import Analysis
from accweight_core.name_map import NameMap
from accweight_core.ranking import LayerPlace
from accweight_core.summary import Measured, Per
from accweight_core.totals import folded, metrics

Group = tuple[str, ...]
Rows = Mapping[str, Measured]


@dataclass(frozen=True)
class Shared:
    """Rows of both sides, and those of one.

    Attributes:
        places: In the order of a; ranks are not known yet.
        alone_a: Rows of a alone.
        alone_b: Rows of b alone.
    """

    places: tuple[LayerPlace, ...]
    alone_a: Group
    alone_b: Group


def compared_places(
    a: Analysis,
    b: Analysis,
    by: str,
    at: tuple[int, int],
    per: Per,
    map: NameMap | str | os.PathLike[str] | None,
    values: Values,
) -> tuple[Shared, Alignment]:
    """Return what two analyses share, and the alignment it rests on.

    Args:
        a: One analysis.
        b: The other.
        by: The metric whose values are taken.
        at: Positions of the steps in both.
        per: What a row stands for.
        map: What the user says of names.
        values: Whether weights are compared.
    """
    alignment = align(a, b, map=map, values=values)
    rows = [{row.name: row for row in side.measured(per)} for side in (a, b)]
    order = {name: place for place, name in enumerate(rows[0])}
    places = []
    used: tuple[set[str], set[str]] = (set(), set())
    for match in alignment.matches:
        for names in _pairs(match, rows, per):
            figures = [_value(side, n, by, t) for side, n, t in zip(rows, names, at, strict=True)]
            joined = [", ".join(group) for group in names]
            places.append((order[names[0][0]], _place(match, joined, figures)))
            for side in (0, 1):
                used[side].update(names[side])
    places.sort(key=lambda item: item[0])
    alone = [
        tuple(name for name in side if name not in seen)
        for side, seen in zip(rows, used, strict=True)
    ]
    return Shared(tuple(place for _, place in places), alone[0], alone[1]), alignment


def _place(match: Match, names: Sequence[str], figures: Sequence[float]) -> LayerPlace:
    return LayerPlace(
        layer=names[0],
        rank_a=0,
        rank_b=0,
        value_a=figures[0],
        value_b=figures[1],
        layer_b=names[1],
        how=str(match.how),
        sure=match.confidence,
        shape_differs=match.shape_differs,
    )


def _pairs(match: Match, rows: Sequence[Rows], per: Per) -> list[tuple[Group, Group]]:
    """Return the rows that a match puts side by side, as far as both sides show them."""
    if per == "layer":
        groups = [(match.layers_a, match.layers_b)]
    else:
        groups = [(pair.a, pair.b) for pair in match.parameters]
    shown = [
        tuple(tuple(n for n in names if n in side) for names, side in zip(group, rows, strict=True))
        for group in groups
    ]
    return [(names[0], names[1]) for names in shown if all(names)]


def _value(rows: Rows, names: Group, by: str, step_index: int) -> float:
    """Return the metric of a row, or of several folded into one."""
    members = [rows[name] for name in names]
    if len(members) == 1:
        return float(members[0].metrics[by][step_index])
    steps = len(members[0].metrics[by])
    if not all(member.totals.are_known for member in members):
        return float("nan")
    return float(metrics(folded([m.totals for m in members], steps))[by][step_index])
