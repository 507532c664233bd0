"""Rows that two analyses share: layers or parameters, matched, with their values on both sides.

Where one layer of one side matches several of the other, the sums of the several are merged, so
that both values cover the same weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from accweight_core.alignment.alignment import Values, align
from accweight_core.alignment.matching.result import Alignment, Match
from accweight_core.alignment.rates import PER_RATE
from accweight_core.analysis.summary import Measured, Per
from accweight_core.metrics.table import Floats
from accweight_core.metrics.totals import folded, metrics
from accweight_core.runs.name_map import NameMap

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis

Group = tuple[str, ...]
Rows = Mapping[str, Measured]

BESIDE = ("relative", "efficiency", "rotation")
"""Scale-free metrics that a comparison shows beside the one it is by."""


@dataclass(frozen=True)
class LayerPlace:
    """Rank and value of one layer in both analyses, among the layers they share.

    Attributes:
        layer: Name in a; several, separated by commas, if b has them merged into one.
        rank_a: Rank in a.
        rank_b: Rank in b.
        value_a: Value in a.
        value_b: Value in b.
        layer_b: Name in b.
        how: Evidence of the match; see `accweight_core.alignment.alignment`.
        sure: Confidence of the match, 0 to 1.
        shape_differs: Whether the shapes differ beyond the order of axes.
        beside: Values of scale-free metrics in a and in b, by metric; and the mean path per unit of
            learning rate, where that is known.
    """

    layer: str
    rank_a: int
    rank_b: int
    value_a: float
    value_b: float
    layer_b: str = ""
    how: str = "name"
    sure: float = 1.0
    shape_differs: bool = False
    beside: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def moved(self) -> int:
        """Ranks gained from a to b; negative if lost."""
        return self.rank_a - self.rank_b


@dataclass(frozen=True)
class Shared:
    """Rows that two analyses share, and the rest.

    Attributes:
        places: Shared rows in the order of a, without ranks.
        alone_a: Rows only in a.
        alone_b: Rows only in b.
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
    rate_sums: tuple[float, float] | None = None,
) -> tuple[Shared, Alignment]:
    """Return the rows that two analyses share, and the alignment used.

    Args:
        a: One analysis.
        b: The other.
        by: The metric.
        at: Index of the step in a and in b.
        per: Whether rows are layers or parameters.
        map: The user's map of names.
        values: Whether weights are compared.
        rate_sums: Sums of the learning rate over the steps of a and b, if they are known.
    """
    found = matched_rows(a, b, per, map, values)
    told = [name for name in BESIDE if name in a.metrics and name in b.metrics]
    places = []
    for match, names in found.pairs:
        figures = {
            metric: tuple(
                float(series_of(side, group, metric)[index])
                for side, group, index in zip(found.rows, names, at, strict=True)
            )
            for metric in (by, *told)
        }
        joined = [", ".join(group) for group in names]
        beside = {name: figures[name] for name in told}
        if rate_sums is not None:
            beside[PER_RATE] = tuple(
                float(series_of(side, group, "mean")[index]) / total
                for side, group, index, total in zip(found.rows, names, at, rate_sums, strict=True)
            )
        places.append(_place(match, joined, figures[by], beside))
    return Shared(tuple(places), *found.alone), found.alignment


@dataclass(frozen=True)
class MatchedRows:
    """Rows of two analyses that belong together.

    Attributes:
        rows: The rows of a and of b, by name.
        pairs: Each match with its names in a and in b, in the order of a.
        alone: Names without a partner, of a and of b.
        alignment: The alignment of the layers.
    """

    rows: tuple[Rows, Rows]
    pairs: tuple[tuple[Match, tuple[Group, Group]], ...]
    alone: tuple[Group, Group]
    alignment: Alignment


def matched_rows(
    a: Analysis,
    b: Analysis,
    per: Per,
    map: NameMap | str | os.PathLike[str] | None,
    values: Values,
) -> MatchedRows:
    """Return the rows of two analyses that belong together.

    Args:
        a: One analysis.
        b: The other.
        per: Whether rows are layers or parameters.
        map: The user's map of names.
        values: Whether weights are compared.
    """
    alignment = align(a, b, map=map, values=values)
    rows = ({row.name: row for row in a.measured(per)}, {row.name: row for row in b.measured(per)})
    order = {name: place for place, name in enumerate(rows[0])}
    pairs = [(match, names) for match in alignment.matches for names in _pairs(match, rows, per)]
    pairs.sort(key=lambda pair: order[pair[1][0][0]])
    used = [{name for _, names in pairs for name in names[side]} for side in (0, 1)]
    alone = [
        tuple(name for name in side if name not in seen)
        for side, seen in zip(rows, used, strict=True)
    ]
    return MatchedRows(rows, tuple(pairs), (alone[0], alone[1]), alignment)


def _place(
    match: Match,
    names: Sequence[str],
    figures: tuple[float, ...],
    beside: Mapping[str, tuple[float, ...]],
) -> LayerPlace:
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
        beside={metric: (values[0], values[1]) for metric, values in beside.items()},
    )


def _pairs(match: Match, rows: Sequence[Rows], per: Per) -> list[tuple[Group, Group]]:
    """Return the matched rows, as far as both analyses have them."""
    if per == "layer":
        groups = [(match.layers_a, match.layers_b)]
    else:
        groups = [(pair.a, pair.b) for pair in match.parameters]
    shown = [
        tuple(tuple(n for n in names if n in side) for names, side in zip(group, rows, strict=True))
        for group in groups
    ]
    return [(names[0], names[1]) for names in shown if all(names)]


def series_of(rows: Rows, names: Group, metric: str) -> Floats:
    """Return a metric of a row over its steps, or of several rows merged."""
    members = [rows[name] for name in names]
    if len(members) == 1:
        return members[0].metrics[metric]
    steps = len(members[0].metrics[metric])
    if not all(member.totals.are_known for member in members):
        return np.full(steps, np.nan)
    return metrics(folded([m.totals for m in members], steps))[metric]
