"""Comparison of two analyses: aligned layers, and how well their rankings agree.

Agreement is given in four figures. Spearman's and Kendall's correlation weigh all ranks alike;
rank-biased overlap weighs the top (Webber, Moffat and Zobel, 2010); the overlap of the first k
is the share of layers that are in the top k of both. Of few layers, ranks agree by chance: the
permutation p says how often. And ranks hide values, so their ratios are told as well.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from accweight_core.alignment.alignment import Values
from accweight_core.alignment.cautions import agreement_text, run_cautions, scale_text
from accweight_core.alignment.matching.result import Alignment
from accweight_core.alignment.rank_correlation import kendall, spearman
from accweight_core.alignment.rank_tests import spearman_band, spearman_p
from accweight_core.alignment.rates import rate_sums
from accweight_core.alignment.shared_rows import LayerPlace, compared_places
from accweight_core.analysis.ranking import Chosen, chosen_metric, descending
from accweight_core.analysis.summary import Per
from accweight_core.analysis.training_figures import check_is_no_figure
from accweight_core.arguments import checked_choice
from accweight_core.errors import MismatchError
from accweight_core.metrics.table import INSTEAD, checked_metric
from accweight_core.runs.name_map import NameMap

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis

RBO_PERSISTENCE = 0.9
"""Weight of each rank relative to the rank before, in rank-biased overlap."""

SEVERAL = 3.0
"""How many times the values of a matched layer differ before that is said."""

SEVERAL_FOLDED = 1.2
"""The same for a layer that a norm seems to be folded into."""

SHARES = frozenset({"efficiency", "sign_flips", "nonfinite"})
"""Metrics whose values are no lengths: several times a small share is still a small one."""

SHOWN, SHOWN_OF_MOST = 5, 2
"""Layers listed in a note; and if most differ."""


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
        pairs: Number of layers with a value on both sides, over which ranks are correlated.
        spearman_p: How often layers in random order agree, or disagree, as much: two-sided
            permutation p, exact up to 8 layers.
        spearman_band: Ends of the 95% confidence interval of `spearman`; NaN for fewer than 4
            layers, or a correlation of 1 or -1.
        conclusion: What the correlation can be taken for, in a sentence.
        scale: How the values differ between the runs, in a sentence.
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
    pairs: int = 0
    spearman_p: float = math.nan
    spearman_band: tuple[float, float] = (math.nan, math.nan)
    conclusion: str = ""
    scale: str = ""


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
    rates: Sequence[float] | None = None,
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
        rates: Learning rates of a and b, if they are constant; by default those that the
            checkpoints hold.

    Raises:
        MismatchError: If they share no layer.
        UnknownNameError: If there is no such metric or step.
        StoreError: If there is no analysis at a path.
        ArgumentTypeError: If one is a run that has not been analysed.
        ArgumentValueError: If the rates are not two positive numbers.
    """
    from accweight_core.analysis.analysis import as_analysis

    a, b = as_analysis(a), as_analysis(b)
    checked_choice(per, ("layer", "parameter"), "per")
    at = a.step_index(step_a), b.step_index(step_b)
    chosen = _chosen(a, b, by, at, per)
    sums, rate_notes = rate_sums((a, b), at, rates)
    shared, alignment = compared_places(a, b, chosen.by, at, per, map, values, sums)
    if not shared.places:
        raise MismatchError(
            f"the two analyses share no {per} name: "
            f"{_some(shared.alone_a)} against {_some(shared.alone_b)}; to compare them, "
            "give a file with --map that says which belong together"
        )
    return replace(
        _agreement(shared.places, chosen.by, per),
        only_a=shared.alone_a,
        only_b=shared.alone_b,
        hints={
            item.layer: item.hint for item in (*alignment.only_a, *alignment.only_b) if item.hint
        },
        notes=(
            *chosen.notes,
            *_cautions(shared.places, per),
            *_apart(shared.places, chosen.by, alignment),
            *run_cautions(a, b, at, chosen.by),
            *rate_notes,
            *alignment.notes,
        ),
    )


def _agreement(places: Sequence[LayerPlace], by: str, per: Per) -> Comparison:
    """Return how well matched rows agree, by their values alone."""
    values_a = {place.layer: place.value_a for place in places}
    values_b = {place.layer: place.value_b for place in places}
    order_a, order_b = _order(values_a, list(values_a)), _order(values_b, list(values_a))
    known = [n for n in values_a if not math.isnan(values_a[n]) and not math.isnan(values_b[n])]
    pairs = [values_a[name] for name in known], [values_b[name] for name in known]
    rho, p = spearman(*pairs), spearman_p(*pairs)
    return Comparison(
        by=by,
        spearman=rho,
        kendall=kendall(*pairs),
        rbo=rank_biased_overlap(order_a, order_b),
        top_overlap={
            k: len({*order_a[:k]} & {*order_b[:k]}) / k for k in (1, 3, 5, 10) if k <= len(values_a)
        },
        layers=_ranked(places, order_a, order_b),
        only_a=(),
        only_b=(),
        pairs=len(known),
        spearman_p=p,
        spearman_band=spearman_band(rho, len(known)),
        conclusion=agreement_text(rho, p, len(known), per),
        scale=scale_text(*pairs, by),
    )


def _ranked(
    places: Sequence[LayerPlace], order_a: Sequence[str], order_b: Sequence[str]
) -> tuple[LayerPlace, ...]:
    """Return rows in the order of a, with their ranks in both."""
    by_name = {place.layer: place for place in places}
    rank_b = {name: rank for rank, name in enumerate(order_b, start=1)}
    return tuple(
        replace(by_name[name], rank_a=rank, rank_b=rank_b[name])
        for rank, name in enumerate(order_a, start=1)
    )


def _chosen(a: Analysis, b: Analysis, by: str | None, at: tuple[int, int], per: Per) -> Chosen:
    """Return the metric to compare by: the one asked for, else one that both sides have."""
    both = [name for name in a.metrics if name in b.metrics]
    if by is not None:
        for side in (a, b):
            check_is_no_figure(side.header, by)
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
    are_most = 2 * len(apart) > len(places) > 1  # then the scale of all says it
    shown = SHOWN_OF_MOST if are_most else SHOWN
    listed = ", ".join(
        f"{place.layer} {place.value_a:.3g} in a and {place.value_b:.3g} in b ({times:.2g} times)"
        for place, times in apart[:shown]
    )
    more = f", and {len(apart) - shown} more" if apart[shown:] else ""
    lines = [f"{by} of matched layers differs, which their ranks do not show: {listed}{more}"]
    if are_most:
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
