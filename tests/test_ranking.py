"""Rankings and how far two of them agree, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import accweight_core as aw
from accweight_core.alignment.comparison import rank_biased_overlap
from accweight_core.analysis.analysis import Analysis
from accweight_core.errors import MismatchError, UnknownNameError
from accweight_core.metrics.table import METRICS


def moved(means: dict[str, float], start: float = 1.0) -> Analysis:
    """An analysis whose layers have moved that far, in the order given."""
    before = {f"{name}.weight": torch.full((2, 2), start) for name in means}
    after = {f"{name}.weight": torch.full((2, 2), start + mean) for name, mean in means.items()}
    return aw.analyze(aw.open_run([before, after]), threads=1)


# --- one ranking


def test_the_most_active_layer_comes_first() -> None:
    ranking = moved({"a": 0.25, "b": 3.0, "c": 1.0}).ranking()

    assert ranking["layer"].tolist() == ["b", "c", "a"]
    assert ranking["rank"].tolist() == [1, 2, 3]
    assert ranking["mean"].tolist() == [3.0, 1.0, 0.25]
    assert list(ranking.columns) == ["rank", "layer", "kind", "elements", *METRICS]


def test_equal_values_keep_network_order() -> None:
    ranking = moved({"z": 1.0, "b": 2.0, "a": 1.0, "m": 1.0, "c": 2.0}).ranking()

    assert ranking["layer"].tolist() == ["b", "c", "z", "a", "m"]


def test_layers_without_a_value_come_last_in_network_order() -> None:
    start = {"z": 0.0, "b": 1.0, "a": 0.0, "c": 2.0}
    before = {f"{name}.weight": torch.full((2, 2), value) for name, value in start.items()}
    after = {name: tensor + 1 for name, tensor in before.items()}

    ranking = aw.analyze(aw.open_run([before, after])).ranking(by="relative")

    assert ranking["layer"].tolist() == ["b", "c", "z", "a"]
    assert ranking["relative"].isna().tolist() == [False, False, True, True]


@pytest.mark.parametrize("by", METRICS)
def test_every_metric_ranks(by: str) -> None:
    ranking = moved({"a": 0.25, "b": -3.0, "c": 1.0}).ranking(by=by)

    values = [value for value in ranking[by] if not math.isnan(value)]
    assert values == sorted(values, reverse=True)


def test_a_ranking_may_be_of_any_step() -> None:
    walk = [{"a.weight": torch.full((2, 2), a), "b.weight": torch.full((2, 2), b)} for a, b in
            ((0.0, 0.0), (1.0, 0.0), (1.0, 5.0))]  # fmt: skip
    analysis = aw.analyze(aw.open_run(dict(zip((10, 20, 30), walk, strict=True))))

    assert analysis.ranking(step=20)["layer"].tolist() == ["a", "b"]
    assert analysis.ranking(step=30)["layer"].tolist() == ["b", "a"]
    assert analysis.ranking()["layer"].tolist() == ["b", "a"]
    assert analysis.ranking(by="step_mean", step=20)["step_mean"].tolist() == [1, 0]


def test_parameters_can_be_ranked_in_place_of_layers() -> None:
    weights = {"a.weight": torch.zeros(2, 2), "a.weight_2": torch.zeros(2, 2)}
    after = {"a.weight": torch.ones(2, 2), "a.weight_2": torch.ones(2, 2) * 2}
    analysis = aw.analyze(aw.open_run([weights, after]))

    ranking = analysis.ranking(per="parameter")

    assert ranking["parameter"].tolist() == ["a.weight_2", "a.weight"]
    assert "layer" not in ranking.columns


def test_an_unknown_metric_is_an_error_that_lists_them_all() -> None:
    analysis = moved({"a": 1.0})

    for question in (
        lambda: analysis.ranking(by="median"),
        lambda: aw.compare(analysis, analysis, by="median"),
    ):
        with pytest.raises(UnknownNameError) as caught:
            question()
        assert str(caught.value) == (
            f"no metric is called 'median'; did you mean 'mean'? metrics are {', '.join(METRICS)}"
        )


def test_what_takes_the_place_of_relative_is_said() -> None:
    zero = [{f"{n}.weight": torch.full((2, 2), t * m) for n, m in (("a", 1.0), ("b", 3.0))}
            for t in (0.0, 1.0)]  # fmt: skip

    ranking = aw.analyze(zero).ranking()

    assert ranking["layer"].tolist() == ["b", "a"]
    assert ranking.attrs["by"] == "net_mean"
    assert "relative is undefined: ranked by net_mean instead" in ranking.attrs["notes"][0]


def test_a_layer_without_relative_comes_last_and_is_named() -> None:
    run = [{"up.lora_A.weight": torch.full((2, 2), 1.0 + t), "up.lora_B.weight":
            torch.full((2, 2), float(t))} for t in range(3)]  # fmt: skip

    ranking = aw.analyze(run).ranking()

    assert ranking.attrs["by"] == "relative"
    assert ranking["layer"].tolist()[-1] == "up.lora_B"
    assert ranking.attrs["notes"] == [
        (
            "relative is undefined for up.lora_B, whose weights were all 0 at the first checkpoint "
            "or are not measured: last in the ranking; --by net_mean ranks all"
        )
    ]
    assert moved({"a": 1.0}).ranking().attrs["notes"] == []


# --- two rankings


def test_a_ranking_agrees_with_itself() -> None:
    a = moved({"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0})

    comparison = aw.compare(a, a)

    assert comparison.spearman == pytest.approx(1)
    assert comparison.kendall == pytest.approx(1)
    assert comparison.rbo == 1
    assert dict(comparison.top_overlap) == {1: 1, 3: 1}
    assert all(place.moved == 0 for place in comparison.layers)


def test_a_reversed_ranking_disagrees() -> None:
    a = moved({"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0})
    b = moved({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})

    comparison = aw.compare(a, b)

    assert comparison.spearman == pytest.approx(-1)
    assert comparison.kendall == pytest.approx(-1)
    assert dict(comparison.top_overlap) == {1: 0, 3: pytest.approx(2 / 3)}


def test_five_layers_by_hand() -> None:
    # ranks in a: a 1, b 2, c 3, d 4, e 5; in b: a 2, b 1, c 4, d 3, e 5
    a = moved({"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0, "e": 1.0})
    b = moved({"a": 4.0, "b": 5.0, "c": 2.0, "d": 3.0, "e": 1.0})

    comparison = aw.compare(a, b)

    assert comparison.by == "relative"
    assert comparison.spearman == pytest.approx(1 - 6 * 4 / (5 * 24))  # sum of d squared is 4
    assert comparison.kendall == pytest.approx((8 - 2) / 10)  # 8 pairs agree, 2 do not
    agreement = [0 / 1, 2 / 2, 2 / 3, 4 / 4, 5 / 5]
    weighed = sum(0.9**d * x for d, x in enumerate(agreement, start=1))
    assert comparison.rbo == pytest.approx(0.9**5 + 0.1 / 0.9 * weighed)
    assert dict(comparison.top_overlap) == {1: 0, 3: pytest.approx(2 / 3), 5: 1}
    assert [(p.layer, p.rank_a, p.rank_b, p.moved) for p in comparison.layers] == [
        ("a", 1, 2, -1),
        ("b", 2, 1, 1),
        ("c", 3, 4, -1),
        ("d", 4, 3, 1),
        ("e", 5, 5, 0),
    ]
    assert (comparison.layers[0].value_a, comparison.layers[0].value_b) == (5.0, 4.0)


def test_ties_count_half_in_spearman_and_not_at_all_in_kendall() -> None:
    # ranks in a: 1, 2.5, 2.5, 4; in b: 1, 2, 3, 4
    a = moved({"a": 4.0, "b": 2.0, "c": 2.0, "d": 1.0})
    b = moved({"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0})

    comparison = aw.compare(a, b)

    assert comparison.spearman == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert comparison.kendall == pytest.approx(5 / math.sqrt(5 * 6))


def test_layers_of_one_side_are_listed_and_left_out() -> None:
    a = moved({"x": 9.0, "a": 2.0, "b": 1.0})
    b = moved({"b": 1.0, "y": 9.0, "a": 2.0, "z": 0.5})

    comparison = aw.compare(a, b)

    assert comparison.only_a == ("x",)
    assert comparison.only_b == ("y", "z")
    assert [(p.layer, p.rank_a, p.rank_b) for p in comparison.layers] == [("a", 1, 1), ("b", 2, 2)]
    assert comparison.spearman == pytest.approx(1)
    assert comparison.rbo == 1


def test_nothing_in_common_is_an_error_that_shows_both_sides() -> None:
    with pytest.raises(MismatchError) as caught:
        aw.compare(moved({"a": 1, "b": 1, "c": 1, "d": 1}), moved({"x": 1, "y": 1}))

    assert "share no layer name: a, b, c, ... against x, y; to compare them" in str(caught.value)


@pytest.mark.parametrize("means", [{"a": 1.0}, {"a": 1.0, "b": 1.0}], ids=str)
def test_a_ranking_without_an_order_correlates_with_nothing(means: dict[str, float]) -> None:
    comparison = aw.compare(moved(means), moved(means))

    assert math.isnan(comparison.spearman)
    assert math.isnan(comparison.kendall)
    assert comparison.rbo == 1
    assert comparison.top_overlap[1] == 1


def test_two_layers_are_enough_to_agree_or_not() -> None:
    comparison = aw.compare(moved({"a": 1.0, "b": 2.0}), moved({"a": 2.0, "b": 1.0}))

    assert comparison.spearman == pytest.approx(-1)
    assert comparison.kendall == pytest.approx(-1)


def test_layers_without_a_value_have_a_place_but_no_say_in_correlations() -> None:
    def begun(values: dict[str, float]) -> Analysis:
        before = {f"{n}.weight": torch.full((2, 2), v) for n, v in values.items()}
        return aw.analyze(aw.open_run([before, {n: t + 1 for n, t in before.items()}]))

    a = begun({"zero": 0.0, "a": 1.0, "b": 2.0, "c": 4.0})  # relative: none, 1, 1/2, 1/4
    b = begun({"zero": 8.0, "a": 1.0, "b": 2.0, "c": 4.0})

    comparison = aw.compare(a, b, by="relative")

    assert comparison.spearman == pytest.approx(1)
    last = comparison.layers[-1]
    assert (last.layer, last.rank_a, last.rank_b) == ("zero", 4, 4)
    assert math.isnan(last.value_a)


def test_each_side_may_have_a_step_of_its_own() -> None:
    walk = {
        0: {"a.weight": torch.zeros(2, 2), "b.weight": torch.zeros(2, 2)},
        5: {"a.weight": torch.ones(2, 2), "b.weight": torch.zeros(2, 2)},
        9: {"a.weight": torch.ones(2, 2), "b.weight": torch.ones(2, 2) * 7},
    }
    analysis = aw.analyze(aw.open_run(walk))

    comparison = aw.compare(analysis, analysis, step_a=5, step_b=9)

    assert [(p.layer, p.value_a, p.value_b) for p in comparison.layers] == [
        ("a", 1, 1),
        ("b", 0, 7),
    ]
    with pytest.raises(UnknownNameError, match="no step 7; its steps are 0, 5, 9"):
        aw.compare(analysis, analysis, step_b=7)


def test_parameters_can_be_compared() -> None:
    a = moved({"a": 1.0, "b": 2.0})

    comparison = aw.compare(a, a, per="parameter")

    assert [place.layer for place in comparison.layers] == ["b.weight", "a.weight"]


# --- rank-biased overlap


def test_rank_biased_overlap_by_hand() -> None:
    found = rank_biased_overlap(["a", "b", "c"], ["b", "a", "c"], persistence=0.5)

    # shares of the first 1, 2, 3 places: 0, 1, 1
    assert found == pytest.approx(0.5**3 + (0.5 / 0.5) * (0.25 * 1 + 0.125 * 1))


def test_rank_biased_overlap_weighs_the_top() -> None:
    order = list("abcdefgh")

    at_the_top = rank_biased_overlap(order, [*"ba", *order[2:]])
    at_the_end = rank_biased_overlap(order, [*order[:6], *"hg"])

    assert at_the_top < at_the_end < 1


@given(st.permutations(list("abcdefg")), st.floats(0.05, 0.99))
def test_rank_biased_overlap_is_a_share_and_the_same_from_both_sides(
    other: list[str], persistence: float
) -> None:
    order = list("abcdefg")

    found = rank_biased_overlap(order, other, persistence)

    assert 0 <= found <= 1
    assert found == rank_biased_overlap(other, order, persistence)
    assert (found == 1) == (order == other)
