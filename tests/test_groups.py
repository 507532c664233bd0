"""Is it more than chance: tests against scipy, groups of runs, and what `compare` says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from test_cli import accweight

import accweight_core as aw
from accweight_core.alignment.cautions import agreement_text
from accweight_core.alignment.group_tests import differences
from accweight_core.alignment.rank_tests import (
    assignments,
    corrected,
    group_p,
    smallest_p,
    spearman_band,
    spearman_p,
)
from accweight_core.analysis.analysis import Analysis
from accweight_core.cli.comparing import joined_groups, parsed_groups
from accweight_core.errors import ArgumentTypeError, MismatchError

NAMES = ("a", "b", "c", "d", "e", "f")


def moved(lengths: dict[str, float], seed: int = 0, steps: int = 2, **measures: float) -> Analysis:
    """Return an analysis of layers that moved so far, relative to their first weights."""
    chance = np.random.default_rng(seed)
    start = {name: chance.normal(size=(6, 6)) for name in lengths}
    run = {
        step: {f"{n}.weight": w * (1 + lengths[n] * step / (steps - 1)) for n, w in start.items()}
        for step in range(steps)
    }
    return aw.analyze(aw.open_run(run), threads=1)


def seeds(amount: int, scale: float, of_first: float = 1.0, begin: int = 0) -> list[Analysis]:
    """Return runs that differ by noise, and by a factor of all layers and of the first."""
    found = []
    for seed in range(begin, begin + amount):
        noise = np.random.default_rng(100 + seed).normal(0, 0.05, len(NAMES))
        lengths = {n: scale * (at + 1) * math.exp(noise[at]) for at, n in enumerate(NAMES)}
        lengths["a"] *= of_first
        found.append(moved(lengths, seed))
    return found


# --- tests of ranks


@pytest.mark.parametrize("n", [4, 6])
def test_the_p_of_a_rank_correlation_is_that_of_scipy(n: int) -> None:
    chance = np.random.default_rng(n)
    a, b = chance.normal(size=(2, n))
    b = b + a

    expected = stats.permutation_test(
        (b,),
        lambda x: stats.spearmanr(a, x).statistic,
        permutation_type="pairings",
        n_resamples=math.inf,
        vectorized=False,
    )

    assert spearman_p(a.tolist(), b.tolist()) == pytest.approx(expected.pvalue)


def test_of_many_items_permutations_are_drawn_and_the_same_each_time() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    b = b + 0.5 * a

    p = spearman_p(a.tolist(), b.tolist())

    assert p == spearman_p(a.tolist(), b.tolist())
    assert p == pytest.approx(stats.spearmanr(a, b).pvalue, abs=0.01)


def test_four_layers_in_one_order_are_no_evidence() -> None:
    p = spearman_p([1, 2, 3, 4], [2, 4, 6, 8])

    assert p == pytest.approx(2 / 24)
    assert agreement_text(1.0, p, 4) == (
        "4 layers are too few for ranks to tell agreement from chance (p = 0.083); "
        "look at the values"
    )
    assert "chance explains as much agreement of 8" in agreement_text(0.3, 0.4, 8)
    assert "more disagreement of 8 layers than chance" in agreement_text(-0.9, 0.01, 8)
    assert all(math.isnan(end) for end in spearman_band(1.0, 4))
    low, high = spearman_band(0.6, 20)
    assert 0 < low < 0.6 < high < 1


# --- tests of groups


def test_all_ways_to_put_runs_into_groups_are_there_once() -> None:
    ways, are_all = assignments((2, 3))

    assert are_all
    assert len({tuple(way) for way in ways.tolist()}) == len(ways) == 10
    assert (np.sort(ways, axis=1) == [0, 0, 1, 1, 1]).all()
    assert [0, 0, 1, 1, 1] in ways.tolist()
    assert assignments((12, 12))[1] is False


def test_the_p_of_groups_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).normal(size=(9, 2)) + np.r_[[0.0] * 4, [1.2] * 5][:, None]

    p = group_p(values, (4, 5), assignments((4, 5))[0])

    for layer in range(2):
        expected = stats.permutation_test(
            (values[:4, layer], values[4:, layer]),
            lambda x, y, axis: abs(x.mean(axis=axis) - y.mean(axis=axis)),
            n_resamples=math.inf,
            alternative="greater",
        )
        assert p[layer] == pytest.approx(expected.pvalue)


def test_p_is_corrected_as_scipy_does_and_cannot_be_smaller_than_the_groups_allow() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.2])

    assert corrected(p).tolist() == pytest.approx(stats.false_discovery_control(p).tolist())
    assert smallest_p((3, 3), 20) == pytest.approx(0.1)
    assert smallest_p((4, 5), 126) == pytest.approx(1 / 126)


def test_layers_of_one_distribution_are_found_as_seldom_as_p_says() -> None:
    chance = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        found, _, _ = differences(np.exp(chance.normal(size=(8, 5))), (4, 4), "relative")
        hits += any(layer.p_corrected <= 0.05 for layer in found)

    assert hits <= 7  # 3 are expected


def test_a_common_factor_is_told_apart_from_the_layer_that_differs() -> None:
    result = aw.compare_groups({"x": seeds(4, 1.0), "y": seeds(4, 0.2, 3.0, begin=4)})

    found = dict(zip(result.layers, result.found, strict=True))
    assert all(layer.p_corrected <= 0.05 for layer in found.values())
    assert found["b"].ratio == pytest.approx(5, rel=0.2)
    assert found["a"].ratio == pytest.approx(5 / 3, rel=0.2)
    assert abs(found["a"].effect) > 1
    assert result.common is not None
    assert result.common.ratio == pytest.approx(5 / 3 ** (1 / 6), rel=0.1)
    assert result.ranks[0].tolist() == [6, 5, 4, 3, 2, 1]
    assert result.trajectories.shape == (4, 8, 6)


def test_three_seeds_are_said_to_be_too_few() -> None:
    result = aw.compare_groups({"x": seeds(3, 1.0), "y": seeds(3, 0.5, begin=4)})

    assert any("p cannot be below 0.1" in note for note in result.notes)
    assert min(layer.p_corrected for layer in result.found) == pytest.approx(0.1)


def test_runs_of_other_steps_or_given_twice_are_said() -> None:
    lengths = {"a": 1.0, "b": 2.0}
    long = moved(lengths, 1, steps=4)

    result = aw.compare_groups(
        {"x": [moved(lengths), long], "y": [long, moved(lengths, 2)]}, "mean"
    )

    notes = " ".join(result.notes)
    assert "different checkpoints (2 to step 1, 4 to step 3); mean grows with steps" in notes
    assert "equal values" in notes


def test_groups_are_lists_of_analyses() -> None:
    with pytest.raises(ArgumentTypeError, match="must be a list of analyses"):
        aw.compare_groups({"x": "a.accw"})
    with pytest.raises(MismatchError, match="at least two runs"):
        aw.compare_groups({"x": [moved({"a": 1.0})]})


# --- the command


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return eight stored analyses, four of each setting."""
    folder = tmp_path_factory.mktemp("groups")
    runs = [*seeds(4, 1.0), *seeds(4, 0.2, 3.0, begin=4)]
    return [path for at, run in enumerate(runs) if (path := run.save(folder / f"{at}.accw").path)]


def test_groups_are_given_as_words_or_in_one(stored: list[Path]) -> None:
    words = accweight("compare", "--group", "x", *stored[:4], "--group", "lr=1", *stored[4:])
    one, other = (",".join(map(str, some)) for some in (stored[:4], stored[4:]))
    document = accweight("compare", "--group", f"x={one}", f"--group=lr={other}", "--json").document

    assert words.code == 0
    assert "6 layers by relative in 8 runs: x (4), lr=1 (4)" in words.out
    assert "6 of 6 layers differ beyond the noise of seeds" in words.out
    assert document["groups"] == {"x": 4, "lr": 4}
    layer = document["layers"][0]
    assert {"effect", "ratio", "p", "p_corrected", "p_pattern"} <= layer.keys()
    assert layer["groups"]["x"]["mean_rank"] == 6
    assert np.shape(document["agreement"]) == (8, 8)


def test_several_analyses_without_groups_have_a_mean_rank_and_its_spread(
    stored: list[Path],
) -> None:
    document = accweight("compare", *stored[:3], "--json").document

    assert document["groups"] == {"runs": 3}
    assert document["common"] is None
    assert document["layers"][0]["groups"]["runs"]["rank_spread"] == 0


def test_wrong_groups_are_wrong_usage(stored: list[Path]) -> None:
    for words in (
        ["compare"],
        ["compare", stored[0]],
        ["compare", "--group"],
        ["compare", "--group", "x"],
        ["compare", stored[0], "--group", "x", stored[1]],
        ["compare", "--group", "x", stored[0], "--group", "x", stored[1]],
    ):
        assert accweight(*words).code == 2, words


def test_words_of_a_group_end_at_the_next_option() -> None:
    words = joined_groups(["--group", "n", "a", "b", "--by", "mean", "--group", "m=c,d"])

    assert words[1:3] == ["--by", "mean"]
    groups = [word.removeprefix("--group=") for word in words if word.startswith("--group=")]
    assert parsed_groups(groups) == {"n": ["a", "b"], "m": ["c", "d"]}


def test_two_runs_are_told_apart_by_their_values_where_ranks_agree(stored: list[Path]) -> None:
    answer = accweight("compare", stored[1], stored[5])
    document = accweight("compare", stored[1], stored[5], "--json").document

    text = " ".join(answer.out.split())
    assert "relative is 4 times as large in a as in b" in text
    assert "the weights of the first checkpoints differ (step 0 in both)" in text
    assert document["same_reference"] is False
    assert document["pairs"] == 6
    # neighbours have changed places: so close are 5 orders, the same one, and all of them reversed
    assert document["spearman_p"] == pytest.approx(12 / 720)
    assert document["layers"][1]["relative_ratio"] == pytest.approx(5, rel=0.2)
    assert document["runs"]["a"]["checkpoints"] == 2
