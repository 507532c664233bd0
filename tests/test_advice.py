"""Advice: each rule holds for what was planted for it, and for nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cli import accweight, widest

import accweight_core as aw
from accweight_core.analysis.advice.advise import Advice, advise
from accweight_core.analysis.advice.cases import FINDERS
from accweight_core.analysis.advice.rules import FACT, RULES, Rule
from accweight_core.errors import ArgumentTypeError

STEPS = 9
PACES = [0.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
"""Movements of a layer that nothing is to be said of."""

Walk = np.ndarray


def straight(paces: list[float], seed: int, scale: float = 0.05) -> Walk:
    """Return weights that move on along one direction: (steps, 20, 20)."""
    chance = np.random.default_rng(seed)
    start, along = chance.normal(size=(2, 20, 20))
    return start + scale * np.cumsum(paces)[:, None, None] * along


def scaled(factors: list[float], seed: int = 5) -> Walk:
    """Return weights that change in length alone."""
    return np.random.default_rng(seed).normal(size=(20, 20)) * np.array(factors)[:, None, None]


def noise(seed: int = 7) -> Walk:
    """Return a random walk that slows down as the quiet layers do."""
    chance = np.random.default_rng(seed)
    moves = chance.normal(size=(STEPS, 40, 40)) * 0.1 * np.array(PACES)[:, None, None]
    return chance.normal(size=(40, 40)) + np.cumsum(moves, axis=0)


def run_of(**planted: Walk) -> aw.Analysis:
    """Return the analysis of planted layers beside three quiet ones."""
    walks = {f"quiet{n}": straight(PACES, n) for n in range(3)} | planted
    run = {t: {f"{n}.weight": walk[t] for n, walk in walks.items()} for t in range(STEPS)}
    return aw.analyze(aw.open_run(run), threads=1)


def by_rule(analysis: aw.Analysis, **given: Any) -> dict[str, Advice]:
    return {advice.rule.name: advice for advice in advise(analysis, **given)}


EARLY = [0.0, 1.0, 1.0, *[0.02] * 6]
SWING = [0.0, *[sign * pace for sign, pace in zip([1, -1] * 4, PACES[1:], strict=True)]]
PLANTED = {
    "went_dead": straight([0.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.0, 0.0, 0.0], 5),
    "exploding": scaled([1.0, 5.0, 8.0, 10.0, 11.0, 12.0, 13.0, 14.0, 14.5]),
    "vanishing": scaled([1.0, 0.5, 0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.07]),
    "decay_alone": scaled([1.0, 0.9, 0.82, 0.75, 0.7, 0.66, 0.63, 0.61, 0.6]),
    "oscillating": straight(SWING, 5),
    "came_back": straight([0.0, 1.0, 1.0, 1.0, 1.0, 0.2, -0.6, -0.5, -0.4], 5),
    "settled_early": straight(EARLY, 5),
    "still_moving": straight([0.0, *[1.0] * 8], 5),
    "like_noise": noise(),
}


@pytest.mark.parametrize("rule", PLANTED)
def test_a_rule_holds_for_what_was_planted_and_not_for_quiet_layers(rule: str) -> None:
    advice = by_rule(run_of(planted=PLANTED[rule]))

    assert advice[rule].layers == ("planted",)
    assert advice[rule].text
    assert not any(layer.startswith("quiet") for one in advice.values() for layer in one.layers)


def test_of_quiet_layers_there_is_nothing_to_say() -> None:
    assert advise(run_of()) == ()


def test_a_run_that_settled_as_a_whole_is_not_told_layer_by_layer() -> None:
    walks = {f"l{n}": straight(EARLY, n) for n in range(4)}
    run = {t: {f"{n}.weight": walk[t] for n, walk in walks.items()} for t in range(STEPS)}

    advice = by_rule(aw.analyze(run))

    assert list(advice) == ["all_settled"]
    assert advice["all_settled"].step == 2
    assert "4 of 4 layers" in advice["all_settled"].text


def test_what_check_finds_is_told_as_certain() -> None:
    broken = straight(PACES, 8).copy()
    broken[5, 0, 0] = np.nan

    advice = by_rule(run_of(still=np.ones((STEPS, 4, 4)), broken=broken))

    assert [advice[name].strength for name in ("nonfinite", "never_moved")] == ["certain"] * 2
    assert advice["never_moved"].how_sure == "certain"
    assert advice["never_moved"].layers == ("still",)
    assert advice["nonfinite"].step == 5


def test_what_rewind_says_decides_on_freezing() -> None:
    analysis = run_of(planted=PLANTED["settled_early"])
    names = [layer.name for layer in analysis.layers]
    rows = [{"layer": n, "step": s, "value": 1.0} for n in names for s in (0, 2)]
    nothing_lost = [row | {"value": 0.001} if row["step"] == 2 else row for row in rows]

    assert "settled_early" not in by_rule(analysis, criticality=rows)
    assert "it loses 0.1%" in by_rule(analysis, criticality=nothing_lost)["settled_early"].text
    assert "loses" not in by_rule(analysis)["settled_early"].text


def test_movement_is_held_against_criticality_where_it_is_known() -> None:
    analysis = run_of(
        far=straight(PACES, 8, 0.4), near=straight(PACES, 9, 0.01), still=straight(PACES, 3)
    )
    lost = {"far": 0.01, "near": 0.9, "quiet0": 1.0, "quiet1": 0.5, "quiet2": 0.5, "still": 0.5}
    rows = [{"layer": n, "step": 0, "metric": "loss", "value": v} for n, v in lost.items()]
    other = [row | {"metric": "accuracy", "value": 0.5} for row in rows]

    advice = by_rule(analysis, criticality=[*other, *rows])

    assert advice["far_not_critical"].layers == ("far",)
    assert advice["critical_hardly_moving"].layers == ("near",)
    assert not {"far_not_critical", "critical_hardly_moving"} & by_rule(analysis).keys()


def test_putting_a_layer_back_to_the_last_step_is_no_evidence() -> None:
    analysis = run_of(planted=PLANTED["settled_early"])
    names = [layer.name for layer in analysis.layers]
    rows = [{"layer": n, "step": s, "loss_rise": float(s == 0)} for n in names for s in (0, 8)]

    assert "loses" not in by_rule(analysis, criticality=rows)["settled_early"].text


def test_a_table_of_criticality_needs_its_columns() -> None:
    with pytest.raises(ArgumentTypeError, match="needs the columns layer, step and value, got at"):
        advise(run_of(), [{"at": 1}])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_says_all_there_is_to_say(rule: Rule) -> None:
    assert rule.name in FINDERS
    for text in (rule.title, rule.suggestion, rule.test, rule.refuted_by, rule.source):
        assert text == text.strip() != ""
        assert not text.endswith(".")
    if rule.kind != FACT:
        assert rule.thresholds
        assert "unproven" in rule.standing


def test_the_command_says_what_is_a_hypothesis_and_what_it_cannot_know(tmp_path: Path) -> None:
    run_of(planted=PLANTED["decay_alone"]).save(tmp_path / "run.accw")

    text = accweight("advise", tmp_path / "run.accw")
    document = accweight("advise", tmp_path / "run.accw", "--json").document

    assert text.code == 0
    assert widest(text.out) <= 80
    assert "1. moved by weight decay alone: planted (a hypothesis; 1.1 times its" in text.out
    for words in ("perhaps:", "wrong if:", "rewind"):
        assert words in text.out
    assert document["advice"][0]["evidence"][0]["along"] == pytest.approx(1)
    assert len(document["silent"]) == 1
    json.dumps(document)


def test_rules_are_listed_and_a_run_is_needed_otherwise() -> None:
    listed = accweight("advise", "--rules")

    assert all(rule.name in listed.out for rule in RULES)
    assert len(accweight("advise", "--rules", "--json").document["rules"]) == len(RULES)
    assert accweight("advise").code == 2
    assert "no such analysis" in accweight("advise", "nowhere.accw").problem


def test_two_checkpoints_leave_most_rules_silent(tmp_path: Path) -> None:
    walk = straight(PACES, 0)
    aw.analyze([{"a.weight": walk[0]}, {"a.weight": walk[1]}], tmp_path / "run.accw")

    document = accweight("advise", tmp_path / "run.accw", "--json").document

    assert document["advice"] == []
    assert "rules need up to 5 checkpoints, and there are 2" in document["silent"][0]
