"""The tables of Markdown: how metrics follow criticality, how rules do, what interventions cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from claims import JUDGES, OF_RUNS, TRIED, Document, Verdict, cases, outcomes, verdict
from tasks import TASKS
from training import CHECKPOINTS, LAST

from accweight_core.analysis.advice.facts import Facts
from accweight_core.analysis.advice.rules import RULES

SAMPLES = 4000
FEWEST_CLAIMS = 10
"""Claims on the tasks for tuning from which on a threshold may be chosen."""

LEARNED = 0.5
"""Accuracy below which a run has learned too little to lose anything."""

Known = Sequence[tuple[Document, Facts]]
Line = str


def has_learned(document: Document) -> bool:
    """Tell whether a run has learned its task."""
    return bool(document["accuracy"][CHECKPOINTS] >= LEARNED)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean, runs drawn with replacement."""
    chance = np.random.default_rng(0)
    rows = chance.integers(len(values), size=(SAMPLES, len(values)))
    low, high = np.percentile(np.asarray(values)[rows].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


# Movement


def movement(documents: Sequence[Document]) -> Iterator[Line]:
    """Yield a line per metric: how it follows criticality over the runs."""
    yield "| metric | correlation | 95 % over runs | runs > 0 | finds the most critical layer |"
    yield "|---|--:|--:|--:|--:|"
    found: dict[str, list[tuple[float, bool]]] = {}
    for document in documents:
        for name, value, hit in followed(document):
            found.setdefault(name, []).append((value, hit))
    for name, pairs in sorted(found.items(), key=lambda item: -_mean_of(item[1])):
        values, count = [value for value, _ in pairs], len(pairs)
        low, high = interval(values)
        hits = sum(hit for _, hit in pairs)
        yield (
            f"| `{name}` | {np.mean(values):.2f} | {low:.2f} to {high:.2f} | "
            f"{sum(v > 0 for v in values)}/{count} | {hits}/{count} |"
        )


def _mean_of(pairs: Sequence[tuple[float, bool]]) -> float:
    return float(np.mean([value for value, _ in pairs]))


def followed(document: Document) -> Iterator[tuple[str, float, bool]]:
    """Yield every metric, its correlation with criticality, and whether its first is the most."""
    metrics, lost = document["metrics"], document["lost"]
    most = max(metrics, key=lambda name: lost[name][0])
    for one in document["prediction"]:
        if one["spearman"] is not None:
            first = max(metrics, key=lambda name: metrics[name][one["by"]])
            yield one["by"], one["spearman"], first == most


def null_band(documents: Sequence[Document]) -> tuple[float, float]:
    """Return half the band that holds 95 % of layers in random order: of one run, of the mean."""
    chance = np.random.default_rng(0)
    drawn = []
    for document in documents:
        count = len(document["metrics"])
        ranks = np.arange(count) - (count - 1) / 2
        orders = np.argsort(chance.random((SAMPLES, count)), axis=1)
        drawn.append(ranks[orders] @ ranks / (ranks @ ranks))
    one = float(np.mean([np.percentile(np.abs(values), 95) for values in drawn]))
    return one, float(np.percentile(np.abs(np.mean(drawn, axis=0)), 95))


# Rules


def tuned(known: Known, name: str) -> Mapping[str, float] | None:
    """Return the thresholds that do best on some runs; None if no other is better.

    Best is the largest precision over chance, of those with `FEWEST_CLAIMS` claims.
    """
    best: tuple[float, Mapping[str, float] | None] = (-np.inf, None)
    for thresholds in (None, *TRIED[name]):
        found = verdict(outcomes(known, name, thresholds), of_runs=name in OF_RUNS, samples=10)
        gain = found.precision - found.chance
        if found.claims >= FEWEST_CLAIMS and gain > best[0]:
            best = gain, thresholds
    return best[1]


def rules(known: Known) -> Iterator[Line]:
    """Yield a line per rule whose claim is judged without training anew, on held-out tasks."""
    yield (
        "| rule | thresholds | fires in | claims | true | by chance | difference (95 % over runs) |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|"
    learned = [pair for pair in known if TASKS[pair[0]["task"]].is_tuned_on]
    held = [pair for pair in known if not TASKS[pair[0]["task"]].is_tuned_on]
    for name in JUDGES:
        chosen = tuned(learned, name)
        ways: list[tuple[str, Mapping[str, float] | None]] = [("as they are", None)]
        if chosen is not None:
            ways.append((", ".join(f"{k} {v:.3g}" for k, v in chosen.items()), chosen))
        for words, thresholds in ways:
            found = verdict(outcomes(held, name, thresholds), of_runs=name in OF_RUNS)
            yield f"| `{name}` | {words} | {_verdict(found)} |"


def _verdict(found: Verdict) -> str:
    cells = [f"{found.fired}/{found.runs}", f"{found.claims}"]
    if not found.claims:
        return " | ".join([*cells, "-", "-", "-"])
    low, high = found.low, found.high
    difference = found.precision - found.chance
    told = f"{difference:+.2f} ({low:+.2f} to {high:+.2f})" if np.isfinite(difference) else "-"
    chance = f"{found.chance:.2f}" if np.isfinite(found.chance) else "-"
    return " | ".join([*cells, f"{found.precision:.2f}", chance, told])


def firing(known: Known, with_rewind: Known) -> Iterator[Line]:
    """Yield a line per rule: in how many runs it holds, by task."""
    names = list(dict.fromkeys(document["task"] for document, _ in known))
    yield f"| rule | {' | '.join(names)} |"
    yield f"|---|{'--:|' * len(names)}"
    for rule in RULES:
        cells = []
        for task in names:
            some = with_rewind if rule.needs_criticality else known
            chosen = [facts for document, facts in some if document["task"] == task]
            held = sum(bool(cases(facts, rule.name)) for facts in chosen)
            cells.append(f"{held}/{len(chosen)}")
        yield f"| `{rule.name}` | {' | '.join(cells)} |"


# Interventions

Trained = Mapping[str, Any]


def interventions(
    documents: Sequence[Document], trained: Sequence[Sequence[Trained]]
) -> Iterator[Line]:
    """Yield a line per kind and choice: what became of accuracy, time, and memory."""
    yield (
        "| what | which layers | runs | accuracy, points (95 % over runs) | kept within 0.5 | "
        "time | parameters trained |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|"
    groups = grouped(documents, trained)
    for (what, who), found in sorted(groups.items(), key=lambda item: _ORDER(item[0])):
        changes = [100 * one["change"] for one in found]
        low, high = interval(changes)
        kept = sum(change >= -0.5 for change in changes)
        times = [one["time"] for one in found if one["time"]]
        yield (
            f"| {what} | {who} | {len(found)} | {np.mean(changes):+.2f} ({low:+.2f} to {high:+.2f})"
            f" | {kept}/{len(found)} | {np.median(times) if times else 1:.2f} | "
            f"{np.mean([one['share'] for one in found]):.2f} |"
        )


_WHO = ("nothing", "other batches", "named", "nearest", "random", "opposite")
_ORDER: Callable[[tuple[str, str]], tuple[str, int]] = lambda key: (  # noqa: E731
    key[0],
    _WHO.index(key[1]),
)


def grouped(
    documents: Sequence[Document], trained: Sequence[Sequence[Trained]]
) -> dict[tuple[str, str], list[dict[str, float]]]:
    """Return what came of every kind of intervention, by what was done and to which layers.

    Accuracy is held against that of the run itself, both the mean of the last checkpoints; time
    against that of training the same batches with nothing changed.
    """
    groups: dict[tuple[str, str], list[dict[str, float]]] = {}
    for document, made in zip(documents, trained, strict=True):
        base = float(np.mean(document["accuracy"][CHECKPOINTS - LAST + 1 : CHECKPOINTS + 1]))
        plain = {one["after"] > 0: one for one in made if not one["layers"]}
        for one in made:
            reference = plain.get(one["after"] > 0)
            groups.setdefault((one["what"], one["who"]), []).append(
                {
                    "change": one["accuracy"] - base,
                    "time": one["seconds"] / reference["seconds"] if reference else 0.0,
                    "share": one["trained"] / (reference or one)["parameters"],
                    "run": hash((one["task"], one["optimiser"], one["seed"])),
                }
            )
    return groups


def against(documents: Sequence[Document], trained: Sequence[Sequence[Trained]]) -> Iterator[Line]:
    """Yield what rules choose against random layers and the opposite ones, run by run."""
    yield "| what | against | runs | difference of accuracy, points (95 % over runs) |"
    yield "|---|---|--:|--:|"
    groups = grouped(documents, trained)
    for what in dict.fromkeys(key[0] for key in sorted(groups)):
        both = {"named": ("named",), "named or nearest": ("named", "nearest")}
        for words, whom in both.items():
            chosen = {o["run"]: o["change"] for w in whom for o in groups.get((what, w), ())}
            for other in ("random", "opposite"):
                those = {o["run"]: o["change"] for o in groups.get((what, other), ())}
                pairs = [100 * (chosen[run] - those[run]) for run in chosen if run in those]
                if pairs:
                    low, high = interval(pairs)
                    yield (
                        f"| {what}: {words} | {other} | {len(pairs)} | "
                        f"{np.mean(pairs):+.2f} ({low:+.2f} to {high:+.2f}) |"
                    )
