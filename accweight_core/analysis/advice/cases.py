"""Where each rule holds: one function per rule, named like it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from accweight_core.analysis.advice.facts import Facts
from accweight_core.analysis.advice.rules import Rule
from accweight_core.metrics.random_walk import Expected

STILL = {"frozen", "partly_frozen", "nothing_moved", "lora_b_zero"}
"""Kinds of findings on what never moved."""

NEAR_ZERO = 0.02
"""Share of the largest criticality up to which putting a layer back loses nothing."""


@dataclass(frozen=True)
class Case:
    """One place where a rule holds.

    Attributes:
        text: The evidence, in words.
        layer: The layer, or the parameter where it is about some of a layer; empty if it is about
            the run.
        step: The step; None if it is about all.
        beyond: Value over threshold, 1 or more; NaN where there is none.
        numbers: The evidence, in numbers.
    """

    text: str
    layer: str = ""
    step: int | None = None
    beyond: float = math.nan
    numbers: Mapping[str, float] = field(default_factory=dict)


def nonfinite(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find what `check` tells of NaN and infinity."""
    for found in facts.found:
        if found.kind == "nonfinite" or (found.kind == "nonfinite_figure" and found.is_wrong):
            yield Case(found.text, found.layers[0] if found.layers else "", found.step)


def never_moved(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find what `check` tells of weights that stood still."""
    for found in facts.found:
        if found.kind in STILL:
            whole = found.kind == "frozen"  # of other layers, only some parameters stood still
            for name in (found.layers if whole else found.parameters) or ("",):
                yield Case(found.text, name)


def went_dead(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers that are bit-equal from a step on, while others moved."""
    fewest = int(rule.thresholds["fewest still checkpoints"])
    moved = {row.name: row.totals.column("step_max") != 0 for row in facts.moving}
    if not any(found[-1] for found in moved.values()):
        return  # all stopped: `check` says so
    for name, found in moved.items():
        last = int(np.flatnonzero(found)[-1])
        still = len(found) - 1 - last
        if still >= fewest:
            text = f"bit-equal in the {still} checkpoints after step {facts.steps[last]}"
            yield Case(text, name, facts.steps[last], still / fewest, {"still": still})


def exploding(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers whose norm has grown many times."""
    least = rule.thresholds["norm over the first"]
    for name, ratio in _norm_ratios(facts):
        if ratio >= least:
            text = f"norm {ratio:.3g} times that of the first checkpoint"
            yield Case(text, name, None, ratio / least, {"norm_ratio": ratio})


def vanishing(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers whose norm has shrunk to a small part."""
    most = rule.thresholds["norm under the first"]
    for name, ratio in _norm_ratios(facts):
        if ratio <= most:
            text = f"norm {ratio:.2g} of that of the first checkpoint"
            beyond = most / ratio if ratio > 0 else math.inf
            yield Case(text, name, None, beyond, {"norm_ratio": ratio})


def _norm_ratios(facts: Facts) -> Iterator[tuple[str, float]]:
    for row in facts.moving:
        norms = facts.norms(row)
        if norms[0] > 0:
            yield row.name, float(norms[-1] / norms[0])


def decay_alone(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers that became shorter and hardly turned.

    Of the squared displacement, ``(|W_T| - |W_0|)^2`` lies along the weights, the rest turns them.
    """
    least = rule.thresholds["share of the displacement along the weights"]
    for row in facts.moving:
        norms = facts.norms(row)
        net = float(row.totals.column("net_square")[-1])
        shrunk = float(norms[0] - norms[-1])
        if not (net > 0 and shrunk > 0):
            continue
        share = shrunk**2 / net
        if share >= least:
            numbers = {"along": share, "norm_ratio": float(norms[-1] / norms[0])}
            text = (
                f"{min(share, 1):.1%} of its displacement is a loss of length "
                f"(to {norms[-1] / norms[0]:.1%} of its norm)"
            )
            yield Case(text, row.name, None, share / least, numbers)


def oscillating(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers that ended much nearer to the start than a random walk would."""
    least = rule.thresholds["random walk's displacement over its own"]
    for name, value, walk in _against_walks(facts):
        if walk.low > value > 0 and walk.value / value >= least:
            text = f"relative {value:.3g}, {walk.value:.3g} for a random walk with the same steps"
            numbers = {"relative": value, "walk": walk.value}
            yield Case(text, name, None, walk.value / value / least, numbers)


def like_noise(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers whose displacement is that of a random walk."""
    most = rule.thresholds["difference from the walk's displacement"]
    for name, value, walk in _against_walks(facts):
        off = abs(value / walk.value - 1)
        if off <= most:
            text = f"relative {value:.3g}, {walk.value:.3g} for a random walk with the same steps"
            beyond = min(most / off, 100.0) if off else 100.0
            yield Case(text, name, None, beyond, {"relative": value, "walk": walk.value})


def _against_walks(facts: Facts) -> Iterator[tuple[str, float, Expected]]:
    for row in facts.moving:
        walk = facts.walks[row.name]["relative"]
        value = float(row.metrics["relative"][-1]) if "relative" in row.metrics else math.nan
        if walk.value > 0 and math.isfinite(value):
            yield row.name, value, walk


def came_back(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers that were much farther from the start than they are in the end."""
    least = rule.thresholds["farthest over last displacement"]
    for row in facts.moving:
        net = np.sqrt(row.totals.column("net_square"))
        top = int(net.argmax())
        if net[-1] > 0 and net[top] / net[-1] >= least:
            ratio, step = float(net[top] / net[-1]), facts.steps[top]
            text = f"{ratio:.3g} times as far from the start at step {step} as in the end"
            yield Case(text, row.name, step, ratio / least, {"farthest": ratio})


def _settled_shares(facts: Facts) -> dict[str, float]:
    """Return the share of training at which each layer had settled; 1 if it has not."""
    found = {}
    for row in facts.moving:
        step = facts.timings[row.name].settled
        found[row.name] = 1.0 if step is None else facts.share_of_training(step)
    return found


def all_settled(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find the step by which most layers had settled, if it is early."""
    shares = _settled_shares(facts)
    early = rule.thresholds["share of training"]
    names = [name for name, share in shares.items() if share <= early]
    if shares and len(names) >= rule.thresholds["share of the layers"] * len(shares):
        step = max(facts.timings[name].settled or 0 for name in names)
        share = facts.share_of_training(step)
        text = (
            f"{len(names)} of {len(shares)} layers moved at most a tenth of their largest movement "
            f"per step after step {step}, {share:.0%} of training"
        )
        beyond = early / share if share > 0 else math.inf
        yield Case(text, "", step, beyond, {"layers": len(names), "share": share})


def settled_early(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers that settled well before the median layer; what rewind says decides."""
    shares = _settled_shares(facts)
    if not shares:
        return
    median = float(np.median(list(shares.values())))
    early, before = rule.thresholds["share of training"], rule.thresholds["before the median layer"]
    for name, share in shares.items():
        step = facts.timings[name].settled
        if step is None or share > early or median - share < before:
            continue
        text = (
            f"settled after step {step}, {share:.0%} of training (the median layer: {median:.0%})"
        )
        numbers = {"share": share, "median": median}
        lost = _lost_from(facts, name, step)
        if lost is not None:
            if lost > NEAR_ZERO:
                continue  # refuted
            text += f"; put back to about that step it loses {lost:.1%} of the largest criticality"
            numbers["lost"] = lost
        yield Case(text, name, step, (median - share) / before, numbers)


def _lost_from(facts: Facts, layer: str, step: int) -> float | None:
    """Return what is lost by putting a layer back to a step or the next one measured.

    Returns:
        A share of the largest criticality of all; None if it was not measured.
    """
    found = [value for at, value in facts.lost(layer).items() if at >= step]
    largest = max(facts.criticality.values(), default=0.0)
    return max(found[0], 0.0) / largest if found and largest > 0 else None


def still_moving(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers whose last movement is nearly their largest."""
    least = rule.thresholds["last movement over the largest"]
    for row in facts.moving:
        share = facts.timings[row.name].last
        if share >= least:
            text = f"last movement {share:.0%} of its largest per step"
            yield Case(text, row.name, None, share / least, {"last_to_largest": share})


def far_not_critical(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers that are among the farthest, and lose little when put back to the start."""
    upper = rule.thresholds["rank of relative, upper share"]
    most = rule.thresholds["share of the largest criticality"]
    for name, place, share, value in _critical(facts):
        if place < upper and share <= most:
            text = f"relative {value:.3g}, but {share:.1%} of the largest criticality"
            beyond = most / share if share > 0 else math.inf
            yield Case(text, name, None, beyond, {"relative": value, "criticality": share})


def critical_hardly_moving(facts: Facts, rule: Rule) -> Iterator[Case]:
    """Find layers that are among the least moved, and lose much when put back to the start."""
    lower = rule.thresholds["rank of relative, lower share"]
    least = rule.thresholds["share of the largest criticality"]
    for name, place, share, value in _critical(facts):
        if place >= 1 - lower and share >= least:
            text = f"relative only {value:.3g}, yet {share:.0%} of the largest criticality"
            numbers = {"relative": value, "criticality": share}
            yield Case(text, name, None, share / least, numbers)


def _critical(facts: Facts) -> Iterator[tuple[str, float, float, float]]:
    """Yield layer, place in the ranking from 0 to 1, share of the largest criticality, relative.

    Criticality is that of the first step measured.
    """
    if not facts.criticality:
        return
    first = min(step for _, step in facts.criticality)
    lost = {name: value for (name, step), value in facts.criticality.items() if step == first}
    largest = max(lost.values(), default=0.0)
    values = {
        row.name: float(row.metrics["relative"][-1])
        for row in facts.moving
        if row.name in lost and "relative" in row.metrics
    }
    order = sorted((n for n, v in values.items() if math.isfinite(v)), key=lambda n: -values[n])
    for place, name in enumerate(order):
        if largest > 0:
            yield name, place / len(order), max(lost[name], 0.0) / largest, values[name]


FINDERS: Mapping[str, Callable[[Facts, Rule], Iterator[Case]]] = {
    function.__name__: function
    for function in (
        nonfinite,
        never_moved,
        went_dead,
        exploding,
        vanishing,
        decay_alone,
        oscillating,
        came_back,
        all_settled,
        settled_early,
        still_moving,
        like_noise,
        far_not_critical,
        critical_hardly_moving,
    )
}
"""The function of every rule, by its name."""
