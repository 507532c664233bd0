"""Comparison of two analyses: aligned layers, and how well their rankings agree.

Agreement is given in four figures. Spearman's and Kendall's correlation weigh all ranks alike;
rank-biased overlap weighs the top (Webber, Moffat and Zobel, 2010); the overlap of the first k
is the share of layers that are in the top k of both. Where one layer of one side matches several
of the other, the sums of the several are merged, so that both values cover the same weights.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from accweight_core.alignment.alignment import Values, align
from accweight_core.alignment.matching.result import Alignment, Match
from accweight_core.alignment.rank_correlation import kendall, spearman
from accweight_core.analysis.ranking import Chosen, chosen_metric, descending
from accweight_core.analysis.summary import Measured, Per
from accweight_core.arguments import checked_choice
from accweight_core.errors import MismatchError
from accweight_core.metrics.table import INSTEAD, checked_metric
from accweight_core.metrics.totals import folded, metrics
from accweight_core.runs.name_map import NameMap

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis

Group = tuple[str, ...]
Rows = Mapping[str, Measured]

RBO_PERSISTENCE = 0.9
"""Weight of each rank relative to the rank before, in rank-biased overlap."""

SEVERAL = 3.0
"""How many times the values of a matched layer differ before that is said."""

SEVERAL_FOLDED = 1.2
"""The same for a layer that a norm seems to be folded into."""

SHARES = frozenset({"efficiency", "sign_flips", "nonfinite"})
"""Metrics whose values are no lengths: several times a small share is still a small one."""

SHOWN = 5
"""Layers listed in a note."""


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

    @property
    def moved(self) -> int:
        """Ranks gained from a to b; negative if lost."""
        return self.rank_a - self.rank_b


@dataclass(frozen=True)
class Comparison:
    """How well two rankings agree.

    Attributes:
        by: The metric.
        spearman: Spearman's rank correlation; NaN for fewer than two shared layers.
        kendall: Kendall's tau-b.
        rbo: Rank-biased overlap of the complete rankings, 1 for identical ones.
        top_overlap: Share of layers that the first k of both have in common, by k.
        layers: Shared layers, in the order of a.
        only_a: Layers without a match in b.
        only_b: Layers without a match in a.
        hints: Likely reasons for missing matches, by layer name.
        notes: Warnings about the figures.
    """

    by: str
    spearman: float
    kendall: float
    rbo: float
    top_overlap: Mapping[int, float]
    layers: tuple[LayerPlace, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    hints: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def compare(
    a: Analysis | str | os.PathLike[str],
    b: Analysis | str | os.PathLike[str],
    by: str | None = None,
    *,
    step_a: int | None = None,
    step_b: int | None = None,
    per: Per = "layer",
    map: NameMap | str | os.PathLike[str] | None = None,
    values: Values = "auto",
) -> Comparison:
    """Compare the rankings of two analyses by one metric.

    Layers are aligned first, so the analyses may differ in format, width or depth. Only layers
    that both have are ranked and correlated.

    Args:
        a: One analysis, or its path.
        b: The other.
        by: The metric; by default `relative`, or what the notes say where that is undefined.
        step_a: Step of `a`; the last one by default.
        step_b: Step of `b`; the last one by default.
        per: Whether layers or parameters are ranked.
        map: A map file of corresponding layers; it overrides all other evidence.
        values: Whether weights are compared where names are ambiguous; see `align`.

    Raises:
        MismatchError: If they share no layer.
        UnknownNameError: If there is no such metric or step.
        StoreError: If there is no analysis at a path.
        ArgumentTypeError: If one is a run that has not been analysed.
    """
    from accweight_core.analysis.analysis import as_analysis

    a, b = as_analysis(a), as_analysis(b)
    checked_choice(per, ("layer", "parameter"), "per")
    at = a.step_index(step_a), b.step_index(step_b)
    chosen = _chosen(a, b, by, at, per)
    by = chosen.by
    shared, alignment = compared_places(a, b, by, at, per, map, values)
    if not shared.places:
        raise MismatchError(
            f"the two analyses share no {per} name: "
            f"{_some(shared.alone_a)} against {_some(shared.alone_b)}; to compare them, "
            "give a file with --map that says which belong together"
        )
    values_a = {place.layer: place.value_a for place in shared.places}
    values_b = {place.layer: place.value_b for place in shared.places}
    order_a, order_b = _order(values_a, list(values_a)), _order(values_b, list(values_a))
    rank_a = {name: rank for rank, name in enumerate(order_a, start=1)}
    rank_b = {name: rank for rank, name in enumerate(order_b, start=1)}
    by_name = {place.layer: place for place in shared.places}
    known = [n for n in by_name if not math.isnan(values_a[n]) and not math.isnan(values_b[n])]
    pairs = [values_a[name] for name in known], [values_b[name] for name in known]
    return Comparison(
        by=by,
        spearman=spearman(*pairs),
        kendall=kendall(*pairs),
        rbo=rank_biased_overlap(order_a, order_b),
        top_overlap={
            k: len({*order_a[:k]} & {*order_b[:k]}) / k for k in (1, 3, 5, 10) if k <= len(by_name)
        },
        layers=tuple(
            replace(by_name[name], rank_a=rank_a[name], rank_b=rank_b[name]) for name in order_a
        ),
        only_a=shared.alone_a,
        only_b=shared.alone_b,
        hints={
            item.layer: item.hint for item in (*alignment.only_a, *alignment.only_b) if item.hint
        },
        notes=(
            *chosen.notes,
            *_cautions(shared.places, per),
            *_apart(shared.places, by, alignment),
            *alignment.notes,
        ),
    )


def _chosen(a: Analysis, b: Analysis, by: str | None, at: tuple[int, int], per: Per) -> Chosen:
    """Return the metric to compare by: the one asked for, else one that both sides have."""
    both = [name for name in a.metrics if name in b.metrics]
    if by is not None:
        return Chosen(checked_metric(by, both))
    found = [
        chosen_metric(side.measured(per), None, index)
        for side, index in zip((a, b), at, strict=True)
    ]
    order = (*INSTEAD, *both)
    chosen = max(found, key=lambda side: order.index(side.by) if side.by in order else len(order))
    checked_metric(chosen.by, both)
    return chosen


def _cautions(places: Sequence[LayerPlace], per: Per) -> list[str]:
    """Return warnings about the figures."""
    notes = []
    if len(places) < 2:
        notes.append(f"only one {per} is in both: a rank correlation needs two")
    guessed = sum(place.sure < 0.5 for place in places)
    if guessed:
        notes.append(
            f"{guessed} of {len(places)} {per}s were matched with less than 50% confidence: "
            "check them with accweight align, and correct them with --map"
        )
    return notes


def _apart(places: Sequence[LayerPlace], by: str, alignment: Alignment) -> list[str]:
    """Return a warning if values of matched rows differ several times, which ranks do not show."""
    if by in SHARES:
        return []
    hints = [item.hint for item in (*alignment.only_a, *alignment.only_b)]
    folded = {p.layer for p in places if any(f"into {p.layer}?" in hint for hint in hints)}
    apart = [
        (place, times)
        for place in places
        if (times := _times(place)) >= (SEVERAL_FOLDED if place.layer in folded else SEVERAL)
    ]
    if not apart:
        return []
    apart.sort(key=lambda item: -item[1])
    listed = ", ".join(
        f"{place.layer} {place.value_a:.3g} in a and {place.value_b:.3g} in b ({times:.2g} times)"
        for place, times in apart[:SHOWN]
    )
    more = f", and {len(apart) - SHOWN} more" if apart[SHOWN:] else ""
    lines = [f"{by} of matched layers differs, which their ranks do not show: {listed}{more}"]
    if 2 * len(apart) > len(places) > 1:
        lines[0] += "; as most differ, the runs differ in scale (learning rate, length, step)"
    if any(place.layer in folded for place, _ in apart):
        lines[0] += (
            "; an exporter that folds a norm changes the weights: export without folding, "
            "see docs/formats.md"
        )
    return lines


def _times(place: LayerPlace) -> float:
    """Return how many times larger one value is than the other; 0 if that says nothing."""
    small, large = sorted((place.value_a, place.value_b))
    return large / small if small > 0 and math.isfinite(large) else 0.0


def _order(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: descending(values[name]))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def rank_biased_overlap(
    a: Sequence[str], b: Sequence[str], persistence: float = RBO_PERSISTENCE
) -> float:
    """Return the extrapolated rank-biased overlap of two orders of the same items.

    ``RBO = p^n X_n / n + (1 - p) / p * sum over d of p^d X_d / d``, with X_d the number of
    items that the first d places share (Webber, Moffat and Zobel, 2010, equation 30).

    Args:
        a: Items, best first.
        b: The same items in another order.
        persistence: p, between 0 and 1: how far down the ranks matter.

    >>> rank_biased_overlap(["a", "b", "c"], ["a", "b", "c"])
    1.0
    """
    seen_a: set[str] = set()
    seen_b: set[str] = set()
    total, overlap, weight = 0.0, 0, 1.0
    for depth, (left, right) in enumerate(zip(a, b, strict=True), start=1):
        seen_a.add(left)
        seen_b.add(right)
        overlap = len(seen_a & seen_b)
        weight *= persistence
        total += weight * overlap / depth
    result = weight * overlap / len(a) + (1 - persistence) / persistence * total
    return round(result, 12)


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


def _value(rows: Rows, names: Group, by: str, step_index: int) -> float:
    """Return the metric of a row, or of several rows merged."""
    members = [rows[name] for name in names]
    if len(members) == 1:
        return float(members[0].metrics[by][step_index])
    steps = len(members[0].metrics[by])
    if not all(member.totals.are_known for member in members):
        return float("nan")
    return float(metrics(folded([m.totals for m in members], steps))[by][step_index])
