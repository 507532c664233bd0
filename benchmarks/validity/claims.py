"""What every rule of advice claims, and whether that is so, in a run that was measured.

A claim is tested without training anew where that can be: a layer that has settled is put back to
that step, weights are averaged, a run goes on for a quarter of its steps. It is held against the
other layers of the same run, for which the rule says nothing. What has to be trained anew is in
`interventions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from movement import PUT_BACK
from tasks import TASKS
from training import CHECKPOINTS, FURTHER, step_of

import accweight_core as aw
from accweight_core.analysis.advice.cases import FINDERS, Case
from accweight_core.analysis.advice.facts import Facts, facts_of
from accweight_core.analysis.advice.rules import RULES, Rule

KEPT = 0.005
"""Fall of the accuracy up to which it counts as kept: 0.5 points."""

Document = Mapping[str, Any]
RULE = {rule.name: rule for rule in RULES}


@dataclass(frozen=True)
class Outcome:
    """Whether a claim held where a rule made it, in one run.

    Attributes:
        named: For each place where the rule holds, whether the claim is true.
        others: The same claim about places where the rule says nothing.
    """

    named: tuple[bool, ...]
    others: tuple[bool, ...]


Judge = Callable[[Document, Facts, Sequence[Case]], Outcome]


def facts(folder: Any, document: Document, *, with_rewind: bool) -> Facts:
    """Return the facts on a run, with or without what rewind found."""
    name = f"{document['task']}-{document['optimiser']}-{document['seed']}"
    found = facts_of(aw.open_analysis(folder / name / "run.accw"))
    return found if with_rewind else replace(found, criticality={})


def cases(known: Facts, name: str, thresholds: Mapping[str, float] | None = None) -> list[Case]:
    """Return where a rule holds, by other thresholds than its own if they are given."""
    rule: Rule = RULE[name]
    if thresholds is not None:
        rule = replace(rule, thresholds={**rule.thresholds, **thresholds})
    if len(known.steps) < rule.fewest_steps:
        return []
    found = list(FINDERS[name](known, rule))
    return sorted(found, key=lambda case: -case.beyond if case.beyond > 0 else 0.0)


def place_of(document: Document, step: int) -> int:
    """Return the place of a checkpoint among the checkpoints."""
    return step // step_of(TASKS[document["task"]], 1)


def _put_back(document: Document, known: Facts, found: Sequence[Case]) -> Outcome:
    """Judge freezing: the layer put back to its step, or the last one measured before it."""
    named, others = [], []
    taken = {case.layer for case in found}
    for case in found:
        place = place_of(document, case.step or 0)
        at = max(i for i, one in enumerate(PUT_BACK) if one <= place)
        falls = {layer: values[at] for layer, values in document["fall"].items()}
        named.append(falls[case.layer] <= KEPT)
        others += [fall <= KEPT for layer, fall in falls.items() if layer not in taken]
    return Outcome(tuple(named), tuple(others))


def _averaged(document: Document, known: Facts, found: Sequence[Case]) -> Outcome:
    """Judge averaging: the loss with the layer's last five checkpoints averaged."""
    taken = {case.layer for case in found}
    rises = document["averaged"]
    return Outcome(
        tuple(rises[name] <= 0 for name in taken if name in rises),
        tuple(rise <= 0 for name, rise in rises.items() if name not in taken),
    )


def _earlier(document: Document, known: Facts, found: Sequence[Case]) -> Outcome:
    """Judge stopping: accuracy at the step, within half a point of the last."""
    end = document["accuracy"][CHECKPOINTS] - KEPT
    places = [place_of(document, case.step or 0) for case in found]
    return Outcome(tuple(document["accuracy"][place] >= end for place in places), ())


def _was_better(document: Document, known: Facts, found: Sequence[Case]) -> Outcome:
    """Judge coming back: a lower loss at the farthest step than at the end."""
    end = document["loss"][CHECKPOINTS]
    places = {place_of(document, case.step or 0) for case in found}
    rest = [at for at in range(CHECKPOINTS // 2, CHECKPOINTS) if at not in places]
    return Outcome(
        tuple(document["loss"][place] < end for place in places),
        tuple(document["loss"][place] < end for place in rest) if places else (),
    )


def _longer(document: Document, known: Facts, found: Sequence[Case]) -> Outcome:
    """Judge training on: a lower loss after a quarter more; one claim per run."""
    fell = document["loss"][CHECKPOINTS + FURTHER] < document["loss"][CHECKPOINTS]
    return Outcome((fell,), ()) if found else Outcome((), (fell,))


JUDGES: Mapping[str, tuple[str, Judge]] = {
    "settled_early": ("put back to that step, accuracy falls by 0.5 points at most", _put_back),
    "all_settled": ("at that step, accuracy is within 0.5 points of the last", _earlier),
    "still_moving": ("the loss falls in a quarter more of training", _longer),
    "like_noise": ("the loss does not rise with its last 5 checkpoints averaged", _averaged),
    "oscillating": ("the loss does not rise with its last 5 checkpoints averaged", _averaged),
    "came_back": ("the loss was lower at the farthest step", _was_better),
}
"""Claims that are judged without training anew, in words and as functions."""

OF_RUNS = frozenset({"still_moving", "all_settled"})
"""Rules about a run: what they are held against are runs in which they are silent."""

TRIED: Mapping[str, Sequence[Mapping[str, float]]] = {
    "settled_early": [
        {"share of training": share, "before the median layer": before}
        for share in (0.25, 0.35, 0.5)
        for before in (0.1, 0.2, 0.3)
    ],
    "all_settled": [
        {"share of the layers": layers, "share of training": share}
        for layers in (0.6, 0.8, 1.0)
        for share in (0.5, 0.7)
    ],
    "still_moving": [{"last movement over the largest": x} for x in (0.25, 0.5, 0.75)],
    "like_noise": [{"difference from the walk's displacement": x} for x in (0.02, 0.05, 0.1, 0.2)],
    "oscillating": [{"random walk's displacement over its own": x} for x in (1.1, 1.25, 1.5, 2.0)],
    "came_back": [{"farthest over last displacement": x} for x in (1.1, 1.25, 1.5, 2.0)],
}
"""Thresholds that are tried on the tasks for tuning."""


@dataclass(frozen=True)
class Verdict:
    """How a rule did over some runs.

    Attributes:
        runs: Runs looked at.
        fired: Runs in which it holds somewhere.
        claims: How often it holds in all.
        precision: Share of claims that are true; NaN without any.
        chance: The same for what it does not name, weighted as the claims are.
        low: Lower end of the 95 % interval of precision - chance, runs drawn with replacement.
        high: Upper end.
    """

    runs: int
    fired: int
    claims: int
    precision: float
    chance: float
    low: float
    high: float


def verdict(outcomes: Sequence[Outcome], *, of_runs: bool = False, samples: int = 2000) -> Verdict:
    """Return how a rule did.

    Args:
        outcomes: Of every run.
        of_runs: Whether a claim is about a run, and is held against other runs.
        samples: Samples of runs drawn for the interval.
    """
    fired = [one for one in outcomes if one.named]
    claims = sum(len(one.named) for one in fired)
    chance = np.random.default_rng(0)
    whole = np.arange(len(outcomes))
    drawn = (chance.integers(len(outcomes), size=len(outcomes)) for _ in range(samples))
    differences = [a - b for a, b in (_shares(outcomes, rows, of_runs) for rows in drawn)]
    known = [value for value in differences if np.isfinite(value)]
    low, high = np.percentile(known, (2.5, 97.5)) if known else (np.nan, np.nan)
    precision, other = _shares(outcomes, whole, of_runs)
    return Verdict(len(outcomes), len(fired), claims, precision, other, float(low), float(high))


def _shares(outcomes: Sequence[Outcome], rows: Any, of_runs: bool) -> tuple[float, float]:
    some = [outcomes[row] for row in rows]
    named = [value for one in some for value in one.named]
    if of_runs:
        others = [value for one in some for value in one.others]
        return _mean(named), _mean(others)
    weighted = [(len(o.named), np.mean(o.others)) for o in some if o.named and o.others]
    total = sum(weight for weight, _ in weighted)
    other = sum(w * share for w, share in weighted) / total if total else np.nan
    return _mean(named), float(other)


def _mean(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")


def outcomes(
    known: Sequence[tuple[Document, Facts]], name: str, thresholds: Mapping[str, float] | None
) -> list[Outcome]:
    """Return the outcome of a rule in every run."""
    judge = JUDGES[name][1]
    found = [judge(document, some, cases(some, name, thresholds)) for document, some in known]
    return list(_held_against(found, known) if name == "all_settled" else found)


def _held_against(
    found: Sequence[Outcome], known: Sequence[tuple[Document, Facts]]
) -> Iterator[Outcome]:
    """Yield outcomes of stopping early; where the rule is silent, stopping at half of training."""
    for one, (document, _) in zip(found, known, strict=True):
        curve = document["accuracy"]
        kept = curve[CHECKPOINTS // 2] >= curve[CHECKPOINTS] - KEPT
        yield one if one.named else Outcome((), (kept,))
