"""Format the comparison of groups of runs."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from accweight_core.alignment.cautions import CHANCE
from accweight_core.alignment.groups import SHARES, spread
from accweight_core.analysis.shown import short_names
from accweight_core.cli.output import Page
from accweight_core.cli.tables import Table
from accweight_core.metrics.table import TABLE
from accweight_core.text import plain

if TYPE_CHECKING:
    from accweight_core.alignment.groups import GroupComparison

MOST_RUNS = 12
"""Runs up to which their agreement is printed as a matrix."""


def groups_page(result: GroupComparison) -> Page:
    """Return what ``compare --group`` prints."""
    sizes = ", ".join(f"{plain(name)} ({len(at)})" for name, at in result.groups.items())
    lines: list[str | Table] = [
        f"{len(result.layers)} layers by {result.by} in {len(result.members)} runs: {sizes}",
        "",
        _layers(result),
        "",
        *_reading(result),
        "",
        _trajectories(result),
        "",
        "ranks at shares of training, mean over the runs of a group",
        "",
        *_agreement(result),
        "",
        f"{TABLE[result.by].sentence}.",
    ]
    if result.left_out:
        lines.append(f"not in all runs: {', '.join(map(plain, result.left_out))}")
    lines += [f"note: {plain(note)}" for note in result.notes]
    return lines


def _order(result: GroupComparison) -> list[int]:
    """Return the layers: the largest effect first, or by mean rank in one group."""
    if not result.found:
        means = result.ranks.mean(axis=0).tolist()
        return sorted(range(len(means)), key=means.__getitem__)
    effects = [abs(found.effect) for found in result.found]
    return sorted(
        range(len(effects)), key=lambda at: math.inf if math.isnan(effects[at]) else -effects[at]
    )


def _layers(result: GroupComparison) -> Table:
    order = _order(result)
    columns = {"layer": [plain(result.layers[at]) for at in order]}
    if result.found:
        two = len(result.groups) == 2
        columns["effect"] = [_number(result.found[at].effect) for at in order]
        if two:
            columns["ratio"] = [f"{_number(result.found[at].ratio)}x" for at in order]
        columns["p"] = [_number(result.found[at].p_corrected) for at in order]
        columns["p pattern"] = [_number(result.found[at].p_pattern) for at in order]
    for name, places in result.groups.items():
        values, ranks = result.values[places], result.ranks[places]
        columns[plain(name)] = [_with_spread(values[:, at]) for at in order]
        columns[f"rank {plain(name)}"] = [_with_spread(ranks[:, at], 2) for at in order]
    return Table(columns, frozenset(columns) - {"layer"})


def _with_spread(values: np.ndarray, digits: int = 3) -> str:
    deviation = spread(values)
    told = "" if math.isnan(deviation) else f" ±{deviation:.2g}"
    return f"{values.mean():.{digits}g}{told}"


def _reading(result: GroupComparison) -> list[str]:
    if not result.found or result.common is None:
        return ["value and rank: mean and standard deviation over the runs"]
    names = [plain(name) for name in result.groups]
    two = len(names) == 2
    effect = (
        f"effect: Hedges' g, {names[0]} minus {names[1]} in standard deviations of seeds"
        if two
        else "effect: share of the variance that lies between the groups (eta squared)"
    )
    common = result.common
    differing = sum(found.p_corrected <= CHANCE for found in result.found)
    own = sum(found.p_pattern <= CHANCE for found in result.found)
    lines = [
        effect,
        "p: permutations of the runs, corrected for the number of layers (Benjamini-Hochberg)",
        "p pattern: the same without the factor that all layers of a run have in common",
        (
            f"{differing} of {len(result.layers)} layers differ beyond the noise of seeds "
            f"(p up to {CHANCE}); {own} beyond the common factor"
        ),
    ]
    if two and not math.isnan(common.ratio):
        lines.append(
            f"common factor: {result.by} is {common.ratio:.2g} times that of {names[1]} in "
            f"{names[0]} (p = {common.p:.2g})"
        )
    return lines


def _trajectories(result: GroupComparison) -> Table:
    columns = {"layer": [plain(name) for name in result.layers]}
    for name, places in result.groups.items():
        for at, share in enumerate(SHARES):
            ranks = result.trajectories[at][places].mean(axis=0)
            columns[f"{plain(name)} {share:.0%}"] = [f"{rank:.2g}" for rank in ranks]
    return Table(columns, frozenset(columns) - {"layer"})


def _agreement(result: GroupComparison) -> list[str | Table]:
    """Return how well ranks agree within and between groups, and between every two runs."""
    lines: list[str | Table] = []
    names = list(result.groups)
    for at, (name, places) in enumerate(result.groups.items()):
        block = result.agreement[np.ix_(places, places)]
        inside = block[np.triu_indices(len(places), 1)]
        if inside.size:
            lines.append(f"rank agreement within {plain(name)}: {_mean(inside)}")
        for other in names[at + 1 :]:
            across = result.agreement[np.ix_(places, result.groups[other])].ravel()
            lines.append(f"rank agreement of {plain(name)} and {plain(other)}: {_mean(across)}")
    if len(result.layers) < 5:
        lines.append(f"{len(result.layers)} layers are too few to tell agreement from chance")
    if len(result.members) <= MOST_RUNS:
        short = short_names([re.sub(r"\.accw/?$", "", m.name) for m in result.members])
        labels = [f"{at}: {name}" for at, name in enumerate(short, start=1)]
        cells = {"run": labels} | {
            str(at): [_number(value) for value in column]
            for at, column in enumerate(result.agreement.T, start=1)
        }
        lines += ["", Table(cells, frozenset(cells) - {"run"})]
    return lines


def _mean(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    if not known.size:
        return "-"
    return f"Spearman {known.mean():.2f} ({known.min():.2f} to {known.max():.2f})"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g}"
