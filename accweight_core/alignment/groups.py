"""Groups of runs, such as seeds of two settings: which layers differ beyond the noise of seeds.

The layers of all runs are matched with those of the first run. For each layer there is the mean
rank and its spread over the runs of a group, and the difference between groups: the effect first
(ratio, and standardised by the spread of seeds), then a permutation p that is corrected for the
number of layers. A factor that all layers have in common, as a learning rate gives, is told apart
from the pattern: each run's values are divided by their geometric mean over the layers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from accweight_core.alignment.alignment import Values
from accweight_core.alignment.cautions import group_cautions
from accweight_core.alignment.group_tests import Difference, differences
from accweight_core.alignment.rank_correlation import shared_ranks, spearman
from accweight_core.alignment.shared_rows import matched_rows, series_of
from accweight_core.analysis.ranking import chosen_metric
from accweight_core.analysis.summary import Per
from accweight_core.arguments import brief, checked_choice
from accweight_core.errors import ArgumentTypeError, MismatchError
from accweight_core.metrics.table import INSTEAD, Floats, checked_metric
from accweight_core.runs.name_map import NameMap

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of training at which ranks are told."""


@dataclass(frozen=True)
class Member:
    """One run of a group.

    Attributes:
        name: The path it was given by, or the source of an analysis in memory.
        group: Its group.
        analysis: The analysis.
    """

    name: str
    group: str
    analysis: Analysis


@dataclass(frozen=True)
class GroupComparison:
    """What groups of runs have in common, and what not.

    Attributes:
        by: The metric.
        members: All runs, group by group.
        layers: Layers that all runs have, by their names in the first, in its order.
        left_out: Layers of the first run that some run lacks.
        values: (runs, layers) of the metric at the last step.
        ranks: (runs, layers) of the values, 1 the largest.
        agreement: (runs, runs) Spearman's correlation.
        trajectories: (shares of training, runs, layers) ranks at `SHARES`.
        found: The difference between groups of each layer; empty for one group.
        common: The difference of what all layers have in common; None for one group.
        notes: Warnings.
    """

    by: str
    members: tuple[Member, ...]
    layers: tuple[str, ...]
    left_out: tuple[str, ...]
    values: Floats
    ranks: Floats
    agreement: Floats
    trajectories: Floats
    found: tuple[Difference, ...]
    common: Difference | None
    notes: tuple[str, ...]

    @property
    def groups(self) -> dict[str, list[int]]:
        """Positions of the runs of each group."""
        found: dict[str, list[int]] = {}
        for at, member in enumerate(self.members):
            found.setdefault(member.group, []).append(at)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "by": self.by,
            "groups": {name: len(places) for name, places in self.groups.items()},
            "runs": [{"name": m.name, "group": m.group} for m in self.members],
            "layers": [self._layer_json(at) for at in range(len(self.layers))],
            "common": self.common.to_json() if self.common else None,
            "left_out": list(self.left_out),
            "agreement": self.agreement.tolist(),
            "trajectories": self._trajectories_json(),
            "notes": list(self.notes),
        }

    def _layer_json(self, at: int) -> dict[str, Any]:
        groups = {
            name: {
                "mean_rank": float(self.ranks[places, at].mean()),
                "rank_spread": spread(self.ranks[places, at]),
                "mean": float(self.values[places, at].mean()),
                "spread": spread(self.values[places, at]),
                "values": self.values[places, at].tolist(),
            }
            for name, places in self.groups.items()
        }
        found = self.found[at].to_json() if self.found else {}
        return {"layer": self.layers[at], "groups": groups, **found}

    def _trajectories_json(self) -> list[dict[str, Any]]:
        return [
            {
                "group": name,
                "layer": layer,
                "share": list(SHARES),
                "mean_rank": self.trajectories[:, places, at].mean(axis=1).tolist(),
                "rank_spread": [spread(ranks[places, at]) for ranks in self.trajectories],
            }
            for name, places in self.groups.items()
            for at, layer in enumerate(self.layers)
        ]


def spread(values: Floats) -> float:
    """Return the standard deviation over runs; NaN for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def compare_groups(
    groups: Mapping[str, Sequence[Analysis | str | os.PathLike[str]]],
    by: str | None = None,
    *,
    per: Per = "layer",
    map: NameMap | str | os.PathLike[str] | None = None,
    values: Values = "auto",
) -> GroupComparison:
    """Compare groups of runs, such as seeds of several settings.

    Args:
        groups: Analyses, or their paths, by the name of the group.
        by: A metric; by default `relative`, or what the notes say where that is undefined.
        per: Whether rows are layers or parameters.
        map: A map file of corresponding layers.
        values: Whether weights are compared where names are ambiguous; see `align`.

    Raises:
        MismatchError: If the runs have no layer in common, or there are fewer than two.
        UnknownNameError: If there is no such metric.
        StoreError: If there is no analysis at a path.
    """
    checked_choice(per, ("layer", "parameter"), "per")
    members = _members(groups)
    by, notes = _metric(members, by, per)
    layers, left_out, series = _matched(members, by, per, map, values)
    last = np.stack([run[:, -1] for run in series])
    ranks = np.stack([_ranks(run[:, -1]) for run in series])
    sizes = [sum(m.group == name for m in members) for name in dict.fromkeys(groups)]
    found, common, told = differences(last, sizes, by) if len(sizes) > 1 else ((), None, ())
    return GroupComparison(
        by,
        members,
        layers,
        left_out,
        last,
        ranks,
        np.array([[spearman(a.tolist(), b.tolist()) for b in ranks] for a in ranks]),
        np.stack([_at_share(members, series, share) for share in SHARES]),
        found,
        common,
        (*notes, *group_cautions([m.analysis for m in members], last, by), *told),
    )


def _members(
    groups: Mapping[str, Sequence[Analysis | str | os.PathLike[str]]],
) -> tuple[Member, ...]:
    from accweight_core.analysis.analysis import as_analysis

    if not isinstance(groups, Mapping):
        raise ArgumentTypeError(
            f"groups must be a mapping of names to analyses, got {type(groups).__name__}"
        )
    found = []
    for group, given in groups.items():
        if not isinstance(given, (list, tuple)) or not given:
            raise ArgumentTypeError(
                f"group {group!r} must be a list of analyses, got {brief(given)}"
            )
        for one in given:
            analysis = as_analysis(one)
            name = str(one) if isinstance(one, (str, Path)) else analysis.header.source
            found.append(Member(name, str(group), analysis))
    if len(found) < 2:
        raise MismatchError("a comparison needs at least two runs")
    return tuple(found)


def _metric(members: Sequence[Member], by: str | None, per: Per) -> tuple[str, tuple[str, ...]]:
    """Return the metric, one that all runs have."""
    held = [set(member.analysis.metrics) for member in members]
    both = [name for name in members[0].analysis.metrics if all(name in one for one in held)]
    if by is not None:
        return checked_metric(by, both), ()
    chosen = [chosen_metric(member.analysis.measured(per), None) for member in members]
    order = (*INSTEAD, *both)
    last = max(chosen, key=lambda one: order.index(one.by) if one.by in order else len(order))
    return checked_metric(last.by, both), last.notes


def _matched(
    members: Sequence[Member],
    by: str,
    per: Per,
    map: NameMap | str | os.PathLike[str] | None,
    values: Values,
) -> tuple[tuple[str, ...], tuple[str, ...], list[Floats]]:
    """Return the layers that all runs have, those some lack, and (layers, steps) of each run."""
    first = members[0].analysis
    rows = {row.name: row for row in first.measured(per)}
    found: list[dict[str, Floats]] = [{name: row.metrics[by] for name, row in rows.items()}]
    for member in members[1:]:
        matched = matched_rows(first, member.analysis, per, map, values)
        found.append(
            {
                names[0][0]: series_of(matched.rows[1], names[1], by)
                for _, names in matched.pairs
                if len(names[0]) == 1
            }
        )
    layers = tuple(
        name for name in rows if all(name in run and not math.isnan(run[name][-1]) for run in found)
    )
    if not layers:
        raise MismatchError(
            f"the {len(members)} runs have no {per} with a value of {by} in common; "
            "see which belong together with: accweight align A B"
        )
    left_out = tuple(name for name in rows if name not in layers)
    return layers, left_out, [np.stack([run[name] for name in layers]) for run in found]


def _ranks(values: Floats) -> Floats:
    """Return ranks, 1 the largest; equal values share the mean of their ranks, NaN comes last."""
    return shared_ranks(-np.nan_to_num(values, nan=-np.inf))


def _at_share(members: Sequence[Member], series: Sequence[Floats], share: float) -> Floats:
    """Return (runs, layers) ranks at the checkpoint nearest to a share of each run's training."""
    found = []
    for member, run in zip(members, series, strict=True):
        steps = member.analysis.steps
        wanted = steps[0] + share * (steps[-1] - steps[0])
        near = np.argmin(np.abs(steps[1:] - wanted)) + 1 if len(steps) > 1 else 0
        found.append(_ranks(run[:, near]))
    return np.stack(found)
