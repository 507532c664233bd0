"""Totals: metrics by hand, and sums that do not depend on how they were cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to

from accweight_core.kernels import SUMS, Scratch, measure_step, start_block
from accweight_core.metrics.totals import (
    METRICS,
    Totals,
    folded,
    folded_groups,
    metrics,
    metrics_of,
)

COLUMN = {name: index for index, name in enumerate(SUMS)}


def totals_of(*states: Sequence[float] | torch.Tensor, cuts: Sequence[int] = ()) -> Totals:
    """Totals of one parameter, measured stretch by stretch."""
    tensors = [torch.as_tensor(state, dtype=torch.float64).reshape(-1) for state in states]
    bounds = [0, *cuts, tensors[0].numel()]
    totals = Totals.empty(len(tensors))
    for start, stop in pairwise(bounds):
        state, sums = start_block(tensors[0][None, start:stop].clone())
        rows = [sums[0].numpy().copy()]
        for tensor in tensors[1:]:
            current = tensor[None, start:stop].clone()
            rows.append(measure_step(state, current, Scratch())[0].numpy().copy())
            state.previous = current
        totals.add(stop - start, np.stack(rows))
    return totals


def last(*states: Sequence[float] | torch.Tensor) -> dict[str, float]:
    return {name: float(series[-1]) for name, series in metrics(totals_of(*states)).items()}


# --- by hand


def test_walking_there_and_back_is_a_path_without_displacement() -> None:
    values = last([1, 1], [3, 1], [1, 1])

    assert values["mean"] == 2  # 4 and 0
    assert values["max"] == 4
    assert values["std"] == 2
    assert values["step_mean"] == 1
    assert values["step_max"] == 2
    assert values["net_mean"] == 0
    assert values["efficiency"] == 0
    assert values["relative"] == 0
    assert values["update_ratio"] == pytest.approx(2 / math.sqrt(10))
    assert values["rotation"] == 0
    assert values["sign_flips"] == 0
    assert values["nonfinite"] == 0


def test_the_path_of_the_whole_tensor_adds_up_norms_and_not_weights() -> None:
    there_and_back = totals_of([3, 4], [0, 0], [3, 4], [6, 8])

    assert metrics(there_and_back)["l2_path"].tolist() == [0, 5, 10, 15]
    assert metrics(there_and_back)["relative"][-1] == 1  # a third of the path, in norms


def test_a_single_weight_has_every_metric() -> None:
    values = last([2], [3], [1])

    assert values["mean"] == values["max"] == 3
    assert values["std"] == 0
    assert values["net_mean"] == 1
    assert values["efficiency"] == pytest.approx(1 / 3)
    assert values["relative"] == 0.5
    assert values["update_ratio"] == pytest.approx(2 / 3)


def test_a_straight_walk_is_efficient() -> None:
    values = last([0, 0], [1, -1], [2, -2])

    assert values["efficiency"] == 1
    assert values["net_mean"] == values["mean"] == 2
    assert math.isnan(values["relative"])  # weights that began at 0 have no scale
    assert math.isnan(values["rotation"])


def test_what_never_moved_is_efficient_and_has_not_turned() -> None:
    values = last([1, 2], [1, 2])

    assert values["efficiency"] == 1
    assert [values[name] for name in ("mean", "max", "std", "relative", "update_ratio")] == [0] * 5
    assert values["rotation"] == 0


def test_the_reference_step_has_no_update() -> None:
    first = {name: float(series[0]) for name, series in metrics(totals_of([3, 4], [0, 0])).items()}

    assert math.isnan(first.pop("update_ratio"))
    assert first == {**dict.fromkeys(first, 0.0), "efficiency": 1.0}


def test_weights_that_went_to_zero_have_no_direction() -> None:
    values = last([3, 4], [0, 0])

    assert math.isnan(values["rotation"])
    assert values["relative"] == 1
    assert values["sign_flips"] == 1


@pytest.mark.parametrize("angle", [math.pi, 2.0, math.pi / 2, 0.3, 1e-3, 1e-6, 1e-9, 1e-12])
def test_rotation_is_one_minus_the_cosine_of_any_angle(angle: float) -> None:
    values = last([1, 0], [math.cos(angle), math.sin(angle)])

    assert values["rotation"] == pytest.approx(2 * math.sin(angle / 2) ** 2, rel=1e-9, abs=0)


def test_rotation_does_not_see_length() -> None:
    values = last([1, 0], [5 * math.cos(0.2), 5 * math.sin(0.2)])

    assert values["rotation"] == pytest.approx(1 - math.cos(0.2), rel=1e-12)


def test_sign_flips_count_zero_as_a_sign_of_its_own() -> None:
    assert last([1, -1, 0, 0], [-1, -2, 0, 1])["sign_flips"] == 0.5


# --- against the oracle


@pytest.mark.parametrize("cuts", [(), (1,), (64, 65, 2000), (2999,)], ids=str)
def test_every_metric_is_that_of_its_formula_however_it_was_cut(cuts: tuple[int, ...]) -> None:
    states = oracle.series((3000,), torch.float64, steps=5)
    expected = oracle.metrics(states)

    found = metrics(totals_of(*states, cuts=cuts))

    assert tuple(found) == METRICS == tuple(expected)
    for name in METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-11, err_msg=name)


@given(power=st.integers(-30, 30), sign=st.sampled_from([-1, 1]))
def test_scaling_the_weights_scales_the_change_and_leaves_ratios(power: int, sign: int) -> None:
    states = oracle.series((300,), torch.float64, steps=3)
    plain = metrics(totals_of(*states, cuts=(100,)))
    factor = 2.0**power

    scaled = metrics(totals_of(*(state * factor * sign for state in states), cuts=(100,)))

    for name in ("mean", "max", "std", "step_mean", "step_max", "net_mean"):
        assert scaled[name].tobytes() == (plain[name] * factor).tobytes()
    for name in ("efficiency", "relative", "update_ratio", "rotation", "sign_flips"):
        assert scaled[name].tobytes() == plain[name].tobytes()


# --- merging


@settings(max_examples=up_to(100))
@given(data=st.data(), steps=st.integers(1, 3), stretches=st.integers(1, 12))
def test_any_split_of_sub_blocks_gives_the_same_bits(
    data: st.DataObject, steps: int, stretches: int
) -> None:
    chance = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    elements = chance.integers(1, 20000, stretches)
    values = chance.lognormal(0, 8, (steps, stretches, len(SUMS)))
    values[..., COLUMN["path_argmax"]] = chance.integers(0, elements, (steps, stretches))
    at_once, one_by_one, in_groups = (Totals.empty(steps) for _ in range(3))
    cuts = sorted(data.draw(st.sets(st.integers(0, stretches), max_size=4)))

    at_once.extend(elements, values)
    for stretch in range(stretches):
        one_by_one.add(int(elements[stretch]), values[:, stretch])
    for start, stop in zip([0, *cuts], [*cuts, stretches], strict=True):
        in_groups.extend(elements[start:stop], values[:, start:stop])

    assert at_once.values.tobytes() == one_by_one.values.tobytes() == in_groups.values.tobytes()
    assert at_once.elements == one_by_one.elements == in_groups.elements == elements.sum()


@settings(max_examples=up_to(50))
@given(cuts=st.sets(st.integers(1, 499), max_size=6))
def test_merged_stretches_have_the_spread_of_the_whole(cuts: set[int]) -> None:
    states = [torch.zeros(500), *oracle.series((500,), torch.float64, steps=3, seed=4)]
    path = oracle.walk_of(states).path

    totals = totals_of(*states, cuts=sorted(cuts))

    expected = path.var(axis=1) * 500
    np.testing.assert_allclose(totals.column("path_m2"), expected, rtol=1e-11, atol=1e-13)
    assert totals.column("path_max").tolist() == path.max(axis=1).tolist()
    assert totals.column("path_argmax").tolist() == path.argmax(axis=1).tolist()


@pytest.mark.parametrize("elements", [3, 1000, 16385, 50000])
def test_the_spread_of_equal_moves_is_zero_over_many_sub_blocks(elements: int) -> None:
    moved = torch.full((elements,), 0.1, dtype=torch.float32)
    cuts = range(16384, elements, 16384)

    totals = totals_of(torch.zeros(elements), moved, moved * 3, cuts=cuts)

    np.testing.assert_allclose(metrics(totals)["std"], 0, atol=1e-16)


def test_one_stretch_of_equal_moves_has_a_spread_of_exactly_zero() -> None:
    totals = totals_of([0.0] * 7, [0.1] * 7, [0.7] * 7)

    assert metrics(totals)["std"].tolist() == [0, 0, 0]


def test_the_earliest_of_equal_maxima_wins_across_stretches() -> None:
    totals = totals_of([0, 0, 0, 0, 0, 0], [1, 2, 2, 1, 2, 0], cuts=(2, 4))

    assert totals.column("path_argmax").tolist() == [0, 1]
    assert totals.column("path_max").tolist() == [0, 2]


def test_folding_parameters_shifts_where_the_maximum_sits() -> None:
    small, large = totals_of([0, 0], [1, 2]), totals_of([0, 0, 0], [0, 5, 0])

    layer = folded([small, large], 2)

    assert layer.elements == 5
    assert layer.column("path_argmax")[-1] == 3
    assert metrics(layer)["mean"].tolist() == [0, 8 / 5]


def test_stretches_without_elements_change_nothing() -> None:
    totals = totals_of([1, 2], [3, 5])
    before = totals.values.copy()

    totals.add(0, np.full((2, len(SUMS)), 9.0))
    totals.extend(np.empty(0, np.int64), np.empty((2, 0, len(SUMS))))

    assert totals.elements == 2
    assert totals.values.tobytes() == before.tobytes()


def test_what_has_no_elements_has_no_metrics() -> None:
    values = metrics(Totals.empty(3))

    assert tuple(values) == METRICS
    assert all(np.isnan(series).all() and series.shape == (3,) for series in values.values())


def test_a_layer_of_an_empty_and_a_full_parameter_is_the_full_one() -> None:
    full = totals_of([1, 2], [3, 5])

    layer = folded([Totals.empty(2), full, Totals.empty(2)], 2)

    assert layer.values.tobytes() == full.values.tobytes()


# --- many side by side


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_groups_folded_side_by_side_have_the_bits_of_each_alone(
    sizes: list[list[int]], seed: int
) -> None:
    chance = np.random.default_rng(seed)
    parts = [
        [totals_of(*chance.standard_normal((3, elements))) for elements in group] for group in sizes
    ]
    flat = [part for group in parts for part in group]
    order = chance.permutation(len(flat)).tolist()
    places = iter(order)
    groups = [[next(places) for _ in group] for group in parts]
    elements, values = np.empty(len(flat), np.int64), np.empty((3, len(flat), len(SUMS)))
    for place, part in zip(order, flat, strict=True):
        elements[place], values[:, place] = part.elements, part.values

    covered, together = folded_groups(groups, elements, values)
    found = metrics_of(covered, together)

    for number, group in enumerate(parts):
        alone = folded(group, 3)
        assert covered[number] == alone.elements
        assert together[:, number].tobytes() == alone.values.tobytes()
        for name, series in metrics(alone).items():
            assert found[name][:, number].tobytes() == series.tobytes()


def test_many_side_by_side_have_values_where_each_has() -> None:
    known = totals_of([1, 2], [3, 5])
    values = np.stack([known.values, np.full_like(known.values, np.nan), known.values], axis=1)

    found = metrics_of(np.array([2, 2, 0]), values)

    for name, series in found.items():
        np.testing.assert_array_equal(series[:, 0], metrics(known)[name])
        assert np.isnan(series[:, 1:]).all()


def test_no_groups_fold_to_nothing() -> None:
    elements, values = folded_groups([], np.array([3]), np.zeros((2, 1, len(SUMS))))

    assert elements.shape == (0,)
    assert values.shape == (2, 0, len(SUMS))
