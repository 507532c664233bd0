"""What the timeline draws, in numbers; no window is needed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewer_helpers import session_of, stored, walks

from accweight_core.analysis.step_axis import shares, step_ticks
from accweight_viewer.model.chart import Chart, chosen_measures, spread
from accweight_viewer.model.curve_scale import HEADROOM, CurveScale, smoothed


def test_steps_stand_where_they_are_in_training() -> None:
    assert shares(np.array([100, 200, 400, 500])).tolist() == [0.0, 0.25, 0.75, 1.0]


def test_very_uneven_steps_stand_at_equal_distances() -> None:
    even_enough = shares(np.array([0, 1, 51]))
    too_uneven = shares(np.array([0, 1, 52]))

    assert even_enough.tolist() == [0.0, 1 / 51, 1.0]
    assert too_uneven.tolist() == [0.0, 0.5, 1.0]


def test_a_single_step_stands_in_the_middle() -> None:
    assert shares(np.array([7])).tolist() == [0.5]


@pytest.mark.parametrize(
    ("top", "most", "ticks"),
    [
        (1.0, 3, [0, 0.5, 1]),
        (0.37, 4, [0, 0.1, 0.2, 0.3]),
        (4321, 3, [0, 2000, 4000]),
        (3e-7, 4, [0, 1e-7, 2e-7, 3e-7]),
    ],
)
def test_values_have_round_ticks_from_zero(top: float, most: int, ticks: list[float]) -> None:
    assert CurveScale(0.0, top).ticks(most) == pytest.approx(ticks)


def test_a_logarithmic_scale_goes_from_the_smallest_to_the_largest_value() -> None:
    values = np.array([0.0, 0.01, 1.0, 100.0, np.nan, np.inf])

    scale = CurveScale.of([values], logarithmic=True)
    heights = scale.heights(values)

    assert scale.low == 0.01
    assert scale.ticks(5) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert np.isnan(heights[[0, 4]]).all()
    assert heights[1] == pytest.approx(0)
    assert heights[2] == pytest.approx(heights[3] / 2)
    assert 0.9 < heights[3] < 1


def test_a_logarithmic_scale_within_a_power_of_ten_has_ticks() -> None:
    scale = CurveScale.of([np.array([2.3, 4.1])], logarithmic=True)

    assert all(2.3 <= tick <= 4.5 for tick in scale.ticks(4))
    assert CurveScale.of([np.zeros(3)], logarithmic=True) == CurveScale(0.0, 1.0)


def test_smoothing_is_a_running_mean_that_does_not_begin_at_zero() -> None:
    values = np.array([[4.0, 4.0, np.nan, 4.0], [0.0, 8.0, 8.0, 8.0]])

    found = smoothed(values, 0.5)

    np.testing.assert_allclose(found[0], [4, 4, np.nan, 4])
    np.testing.assert_allclose(found[1], [0, 8 * 2 / 3, 8 * 6 / 7, 8 * 14 / 15])
    assert smoothed(values, 0.0) is values


def ticked(steps: list[int], width: float, wide: float = 30.0) -> list[int]:
    array = np.array(steps)
    x = shares(array) * width
    return [steps[i] for i in step_ticks(array, x, [wide] * len(steps), 10.0)]


def test_all_steps_have_numbers_where_there_is_room() -> None:
    assert ticked(list(range(11)), 1000) == list(range(11))


def test_numbers_of_many_steps_are_regular_and_never_overlap() -> None:
    for width in (120.0, 300.0, 777.0, 1600.0):
        chosen = ticked(list(range(1001)), width)

        assert len(chosen) >= 2
        assert np.diff(chosen).min() * width / 1000 >= 40
        assert len(set(np.diff(chosen)[:-1])) <= 1


def test_steps_that_are_no_round_numbers_are_taken_at_regular_strides() -> None:
    chosen = ticked([234 * k for k in range(41)], 700)

    assert set(chosen) <= {234 * k for k in range(41)}
    assert len(set(np.diff(chosen)[:-1])) == 1
    assert len(chosen) > 8


def test_uneven_steps_have_their_real_numbers_first_and_last_among_them() -> None:
    chosen = ticked([0, 4, 9, 20, 50, 91, 140, 333], 500)

    assert (chosen[0], chosen[-1]) == (0, 333)
    assert np.diff(chosen).min() * 500 / 333 >= 40


def test_measures_of_validation_come_first_and_losses_before_others() -> None:
    series = np.array([1.0, 2.0])
    names = ["lr", "train_loss", "epoch", "val_acc", "loss", "val_loss", "accuracy"]

    chosen = chosen_measures([{name: series for name in names}])

    assert [m.name for m in chosen] == ["val_loss", "val_acc", "train_loss", "loss"]


def test_losses_share_a_scale_and_accuracies_another() -> None:
    chosen = chosen_measures(
        [
            {
                "loss": np.array([2.0, np.nan]),
                "val_loss": np.array([3.0, 1.0]),
                "acc": np.array([0.5, 0.75]),
            }
        ]
    )

    assert {m.name: (m.low, m.high) for m in chosen} == {
        "val_loss": (0.0, 3.0),
        "loss": (0.0, 3.0),
        "acc": (0.0, 0.75),
    }


def test_measures_without_a_value_are_left_out() -> None:
    assert chosen_measures([{"loss": np.array([np.nan, np.nan])}]) == []


def test_measures_below_zero_have_a_scale_that_reaches_them() -> None:
    (measure,) = chosen_measures([{"elbo": np.array([-5.0, -2.0])}])

    assert (measure.low, measure.high) == (-5.0, -2.0)


def test_a_chart_scales_to_the_largest_value_of_all_runs(tmp_path: Path) -> None:
    first = stored(tmp_path, "first", walks(["a", "b"], 3))
    second = stored(tmp_path, "second", walks(["a", "c"], 5, seed=1), steps=[0, 1, 5, 7, 9])
    session = session_of(first, second)

    chart = Chart(session)

    assert chart.steps.tolist() == [0, 1, 2, 5, 7, 9]
    assert [curves.positions.tolist() for curves in chart.curves] == [[0, 1, 2], [0, 1, 3, 4, 5]]
    assert chart.scale.high == max(c.values.max() for c in chart.curves) * HEADROOM
    assert chart.ranked() == ["b", "a"]


def test_positions_between_checkpoints_stand_between_them(tmp_path: Path) -> None:
    session = session_of(stored(tmp_path, "run", walks(["a"], 3), steps=[0, 10, 40]))

    chart = Chart(session)

    assert [chart.x_at(p) for p in (0, 0.5, 1, 1.5, 2)] == [0.0, 0.125, 0.25, 0.625, 1.0]
    assert [chart.nearest_position(x) for x in (-3.0, 0.1, 0.2, 0.7, 9.0)] == [0, 0, 1, 2, 2]


def test_a_chart_of_what_never_moved_has_a_scale(tmp_path: Path) -> None:
    still = walks(["a"], 1) * 3

    chart = Chart(session_of(stored(tmp_path, "still", still)))

    assert chart.scale == CurveScale(0.0, 1.0)


def test_places_are_spread_without_changing_their_order() -> None:
    assert spread([5.0, 5.0, 5.0], 2.0, 0.0, 10.0) == [3.0, 5.0, 7.0]
    assert spread([0.0, 0.5], 2.0, 0.0, 10.0) == [0.0, 2.0]
    assert spread([9.9, 10.0], 2.0, 0.0, 10.0) == [8.0, 10.0]
    assert spread([1.0, 8.0], 2.0, 0.0, 10.0) == [1.0, 8.0]


@given(st.lists(st.floats(0, 100), max_size=10).map(sorted))
def test_spread_places_keep_their_distance_and_stay_inside(wanted: list[float]) -> None:
    places = spread(wanted, 10.0, 0.0, 100.0)

    assert all(after - before >= 10 - 1e-9 for before, after in pairwise(places))
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in places)


def test_losses_of_all_runs_share_their_scale() -> None:
    runs = [{"loss": np.array([2.0, 1.0])}, {"loss": np.array([8.0, 3.0]), "acc": np.array([0.5])}]

    chosen = chosen_measures(runs)

    assert [(m.name, m.run) for m in chosen] == [("loss", 0), ("loss", 1), ("acc", 1)]
    assert {(m.low, m.high) for m in chosen if m.name == "loss"} == {(0.0, 8.0)}
