"""What windows decide without a screen: the visible part, what to read for it, which plate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from viewer_helpers import run_of, session_of, stored

import accweight_core as aw
from accweight_viewer.model.difference import Difference
from accweight_viewer.model.exact_series import ExactSeries, as_json
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.picture_requests import PictureRequest
from accweight_viewer.model.plate_choice import PlateChoice, PlateChoices
from accweight_viewer.model.session import Session
from accweight_viewer.model.texels import TexelDifference, TexelValue, texel_series, value_at
from accweight_viewer.model.viewport2d import (
    LARGEST_FITTED,
    LARGEST_TEXEL,
    MOST_TEXELS,
    WHOLE,
    Region,
    Shares,
    Viewport,
    seen_region,
    whole_region,
)

AREA = (400.0, 300.0)

sides = st.integers(1, 5000)
areas = st.tuples(st.floats(20, 2000), st.floats(20, 2000))
moves = st.lists(
    st.one_of(
        st.tuples(st.just("zoom"), st.floats(0.2, 5), st.floats(-50, 450), st.floats(-50, 350)),
        st.tuples(st.just("pan"), st.floats(-900, 900), st.floats(-900, 900), st.just(0.0)),
    ),
    max_size=8,
)


def series(seed: int, *, wide: int = 300) -> list[dict[str, torch.Tensor]]:
    """Return four steps of a small matrix that moves most, and a wide one."""
    chance = torch.Generator().manual_seed(seed)
    state = {"a.weight": torch.zeros(6, 5), "b.weight": torch.zeros(300, wide)}
    found = [dict(state)]
    for _ in range(3):
        for name, size in (("a.weight", 1.0), ("b.weight", 0.2)):
            step = size * torch.rand(state[name].shape, generator=chance)
            state[name] = state[name] + step
        found.append(dict(state))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("viewport")


@pytest.fixture(scope="module")
def first(folder: Path) -> Path:
    return stored(folder, "first", series(1))


@pytest.fixture(scope="module")
def second(folder: Path) -> Path:
    return stored(folder, "second", series(2, wide=200))


@pytest.fixture(scope="module")
def coarse(folder: Path) -> Path:
    out = folder / "coarse.accw"
    aw.analyze(run_of(folder / "coarse", series(1)), out, picture_budget_bytes=200_000)
    return out


def wish(session: Session, name: str, region: Region, position: int) -> PictureRequest:
    source = session.runs[0]
    plate = next(plate for plate in source.plates if plate.name == name)
    scale = session.colour_scale()
    return PictureRequest(
        source, plate, region, "mean", position, source.unit(plate, "layer"), scale
    )


# --- the visible rectangle ------------------------------------------------------------------


def test_a_fitted_picture_fills_one_direction_and_is_centred_in_the_other() -> None:
    view = Viewport.fitted((100, 400), AREA)

    assert view.scale == 1.0
    assert view.to_area(0, 0) == (0.0, 100.0)
    assert view.to_area(400, 100) == (400.0, 200.0)
    assert view.shares == WHOLE


def test_a_picture_of_few_texels_does_not_fill_the_window() -> None:
    view = Viewport.fitted((3, 3), AREA)

    assert view.scale == LARGEST_FITTED
    assert view.to_area(1.5, 1.5) == (200.0, 150.0)


def test_zooming_keeps_what_is_under_the_mouse() -> None:
    view = Viewport.fitted((300, 400), AREA)

    closer = view.zoomed(4, (100, 90))

    assert closer.to_picture(100, 90) == pytest.approx(view.to_picture(100, 90))
    assert closer.scale == pytest.approx(4 * view.scale)


def test_zooming_out_again_ends_at_the_whole_picture() -> None:
    view = Viewport.fitted((300, 400), AREA).zoomed(20, (10, 10))

    out = view.zoomed(1e-6, (390, 290))

    assert out.is_fitted
    assert out.shares == pytest.approx(WHOLE)


def test_texels_grow_no_larger_than_is_useful() -> None:
    view = Viewport.fitted((300, 400), AREA).zoomed(1e9, (200, 150))

    assert view.scale == LARGEST_TEXEL


@given(sides, sides, areas, moves)
def test_the_picture_can_neither_be_lost_nor_leave_a_margin(
    rows: int, cols: int, area: tuple[float, float], steps: list[tuple[str, float, float, float]]
) -> None:
    view = Viewport.fitted((rows, cols), area)

    for kind, one, two, three in steps:
        view = view.zoomed(one, (two, three)) if kind == "zoom" else view.panned(one, two)

    for low, high, room in zip(view.to_area(0, 0), view.to_area(cols, rows), area, strict=True):
        assert low <= 1e-6 * room + 1e-3 or low == pytest.approx(room - high, abs=1e-3)
        assert high >= room - 1e-3 or low == pytest.approx(room - high, abs=1e-3)


@given(sides, sides, areas, st.floats(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_two_windows_of_one_size_show_the_same_when_one_follows(
    rows: int, cols: int, area: tuple[float, float], factor: float, across: float, down: float
) -> None:
    leader = Viewport.fitted((rows, cols), area)
    leader = leader.zoomed(factor, (across * area[0], down * area[1]))

    follower = Viewport.fitted((rows, cols), area).showing(leader.shares)

    assert follower.shares == pytest.approx(leader.shares, abs=1e-6)


def test_a_tiny_picture_that_is_seen_whole_is_fitted_by_whoever_follows() -> None:
    leader = Viewport.fitted((2, 2), (2000.0, 1000.0))

    assert leader.showing(leader.shares) == leader


def test_a_window_of_another_shape_shows_at_least_the_same_part() -> None:
    shares = Shares(0.5, 0.25, 0.75, 0.75)

    view = Viewport.fitted((100, 400), (50.0, 500.0)).showing(shares)

    seen = view.shares
    assert seen.left <= 0.5
    assert seen.right >= 0.75
    assert seen.top <= 0.25
    assert seen.bottom >= 0.75


def test_a_resized_window_keeps_the_whole_picture_whole_and_a_part_in_the_middle() -> None:
    whole = Viewport.fitted((300, 400), AREA)
    part = whole.zoomed(10, (300, 100))

    assert whole.resized((800.0, 600.0)) == Viewport.fitted((300, 400), (800.0, 600.0))
    resized = part.resized((500.0, 300.0))
    assert (resized.x, resized.y) == pytest.approx((part.x, part.y))
    assert resized.scale == part.scale


def test_texels_are_found_where_they_are_drawn_and_nowhere_beside() -> None:
    view = Viewport.fitted((100, 400), AREA).zoomed(5, (77, 120))

    for row, col in ((30, 60), (31, 61), (20, 90)):
        x, y = view.to_area(col + 0.5, row + 0.5)
        assert view.texel_at(x, y) == (row, col)
    fitted = Viewport.fitted((100, 400), AREA)
    assert fitted.texel_at(10, 99.9) is None
    assert fitted.texel_at(10, 200.1) is None


# --- what to read ---------------------------------------------------------------------------


def test_the_level_is_the_finest_whose_texels_are_a_pixel_wide() -> None:
    view = Viewport.fitted((2048, 2048), (300.0, 300.0))

    assert seen_region(view, range(6)) == Region(3, 0, 256, 0, 256)
    assert seen_region(view, range(6), pixel_ratio=2.0).level == 2
    assert seen_region(view.zoomed(8, (150, 150)), range(6)).level == 0


def test_levels_that_are_not_stored_are_replaced_by_the_nearest() -> None:
    view = Viewport.fitted((2048, 2048), (300.0, 300.0))

    assert seen_region(view, range(4, 6)).level == 4
    assert seen_region(view, range(2)).level == 1


def test_a_part_covers_what_is_seen_and_little_more() -> None:
    view = Viewport.fitted((2048, 2048), (300.0, 300.0)).zoomed(60, (100, 200))

    part = seen_region(view, range(6))

    left, top, wide, high = part.extent
    assert part.level == 0
    assert left <= view.to_picture(0, 0)[0]
    assert top <= view.to_picture(0, 0)[1]
    assert left + wide >= view.to_picture(300, 300)[0]
    assert top + high >= view.to_picture(300, 300)[1]
    assert part.texels <= 192 * 192


def test_small_moves_need_nothing_new() -> None:
    view = Viewport.fitted((2048, 2048), (300.0, 300.0)).zoomed(60, (100, 200))

    assert seen_region(view.panned(3, -2), range(6)) == seen_region(view, range(6))


@given(sides, sides, areas, st.floats(1, 50), st.integers(0, 3), st.floats(1, 3))
def test_no_part_is_empty_too_large_or_outside(
    rows: int, cols: int, area: tuple[float, float], factor: float, base: int, ratio: float
) -> None:
    view = Viewport.fitted((rows, cols), area).zoomed(factor, (5, 5))
    top = base + max(0, math.ceil(math.log2(max(rows, cols) / 64)))

    part = seen_region(view, range(base, top + 1), ratio)

    whole = whole_region((rows, cols), part.level)
    assert 0 < part.texels <= MOST_TEXELS
    assert 0 <= part.row < part.row_end <= whole.row_end
    assert 0 <= part.col < part.col_end <= whole.col_end


def test_entries_of_a_part_are_those_of_its_normalised_changes(first: Path) -> None:
    session = session_of(first, fitted=False)
    asked = wish(session, "b.weight", Region(0, 64, 128, 192, 256), 2)

    entries = asked.read().entries

    exact = aw.open_analysis(first).normalized("b.weight", 2, scope="layer")[64:128, 192:256]
    expected = session.colour_scale().entries(exact)
    assert entries.shape == (64, 64)
    assert np.abs(entries.astype(int) - expected).max() <= 1
    assert (entries == expected).mean() > 0.99


def test_wishes_are_equal_when_their_results_are(first: Path) -> None:
    session = session_of(first)
    part = Region(0, 0, 6, 0, 5)

    asked = wish(session, "a.weight", part, 1)

    assert asked == wish(session, "a.weight", part, 1)
    assert asked != wish(session, "a.weight", part, 2)
    assert asked.alike(wish(session, "a.weight", part, 2))
    assert not asked.alike(wish(session, "b.weight", part, 1))
    session.change(logarithmic=True)
    assert not asked.alike(wish(session, "a.weight", part, 1))


# --- values of a texel ----------------------------------------------------------------------


def test_the_value_of_a_texel_is_the_exact_cumulative_change(first: Path) -> None:
    session = session_of(first)
    run = session.runs[0]

    found = value_at(run, run.plates[1], 2, 17, 203, "global")

    analysis = aw.open_analysis(first)
    assert isinstance(found, TexelValue)
    assert found.value == np.float32(analysis.cumulative("b.weight", 2)[17, 203])
    assert found.normalised == pytest.approx(
        analysis.normalized("b.weight", 2, "global")[17, 203], rel=1e-6
    )
    assert found.side == 1


def test_a_texel_that_stands_for_many_weights_has_their_mean_and_maximum(coarse: Path) -> None:
    run = session_of(coarse).runs[0]
    plate = run.plates[1]
    side = 1 << plate.finest

    found = value_at(run, plate, 3, 100, 201, "layer")

    exact = aw.open_analysis(coarse).cumulative("b.weight", 3)
    row, col = 100 // side * side, 201 // side * side
    square = exact[row : row + side, col : col + side]
    assert plate.finest > 0
    assert isinstance(found, TexelValue)
    assert found.side == side
    assert found.value == pytest.approx(square.mean(), rel=1e-5)
    assert found.largest == pytest.approx(square.max(), rel=1e-6)


def test_a_difference_names_both_of_its_sides(first: Path, second: Path) -> None:
    session = session_of(first, second)
    difference = Difference(*session.runs[:2], "layer", "own")

    found = value_at(difference, difference.plates[0], 3, 4, 2, "layer")

    ours = aw.open_analysis(first).normalized("a.weight", 3, "layer")[4, 2]
    theirs = aw.open_analysis(second).normalized("a.weight", 3, "layer")[4, 2]
    assert isinstance(found, TexelDifference)
    assert found.first == pytest.approx(ours, rel=1e-5)
    assert found.second == pytest.approx(theirs, rel=1e-5)
    assert found.value == pytest.approx(ours - theirs, abs=1e-6)


def test_the_series_of_a_texel_is_its_path(first: Path) -> None:
    run = session_of(first).runs[0]

    found = texel_series(run, run.plates[0], 5, 1)

    analysis = aw.open_analysis(first)
    exact = [analysis.cumulative("a.weight", step)[5, 1] for step in range(4)]
    np.testing.assert_array_equal(found, np.array(exact, dtype=np.float32))


# --- which plate ----------------------------------------------------------------------------


def test_windows_begin_with_the_most_active_layers(first: Path) -> None:
    choices = PlateChoices(session_of(first))

    assert choices.initial(0) == PlateChoice(0, "a.weight")
    assert choices.initial(1) == PlateChoice(0, "b.weight")


def test_a_following_window_shows_the_selection(first: Path) -> None:
    session = session_of(first)
    choices = PlateChoices(session)

    session.select_layer("b")

    assert choices.following(0) == PlateChoice(0, "b.weight")


def test_with_two_runs_the_second_window_shows_the_second_run(first: Path, second: Path) -> None:
    session = session_of(first, second)
    choices = PlateChoices(session)
    session.select_layer("b")

    assert choices.following(0) == PlateChoice(0, "b.weight")
    assert choices.following(1) == PlateChoice(1, "b.weight")
    session.compare_as("difference")
    assert choices.following(0) == PlateChoice("difference", "b.weight")
    assert choices.following(1) == PlateChoice(1, "b.weight")


def test_every_plate_of_every_run_and_the_difference_are_offered(first: Path, second: Path) -> None:
    texts = PlateChoices(session_of(first, second)).texts

    assert list(texts) == [
        PlateChoice(which, name)
        for which in (0, 1, "difference")
        for name in ("a.weight", "b.weight")
    ]
    assert "first" in texts[PlateChoice(0, "a.weight")]
    assert "second" in texts[PlateChoice(1, "a.weight")]
    assert "difference" in texts[PlateChoice("difference", "a.weight")]


def test_runs_of_one_name_are_told_apart(first: Path) -> None:
    choices = PlateChoices(session_of(first, first))

    assert (choices.label(0), choices.label(1)) == ("first (A)", "first (B)")


def test_a_single_run_needs_no_name(first: Path) -> None:
    assert PlateChoices(session_of(first)).texts[PlateChoice(0, "a.weight")] == "a.weight"


def test_only_plates_of_one_shape_have_a_difference(first: Path, second: Path) -> None:
    choices = PlateChoices(session_of(first, second))

    same = choices.plate(PlateChoice("difference", "a.weight"))
    other = choices.plate(PlateChoice("difference", "b.weight"))

    assert same is not None
    assert same.ready
    assert other is not None
    assert not other.ready
    assert choices.plate(PlateChoice(0, "c.weight")) is None


# --- what checkpoints say -------------------------------------------------------------------


def test_exact_values_are_found_by_step_and_may_be_missing() -> None:
    exact = ExactSeries.of([0, 5, 9], [1.0, None, [3.0, -4.0]], [0.0, 0.5, None])

    assert exact.position(5) == 1
    assert exact.position(6) is None
    assert exact.weights == (1.0, None, 3 - 4j)
    np.testing.assert_array_equal(exact.sizes, [1.0, np.nan, 5.0])
    np.testing.assert_array_equal(exact.path, [0.0, 0.5, np.nan])


def test_a_copied_line_is_json_that_reads_back(first: Path) -> None:
    pick = Pick(0, session_of(first).runs[0].plates[0], 5, 1)

    line = as_json(pick, 7, 0.25, 1 + 2j)

    assert line == (
        '{"parameter": "a.weight", "index": [5, 1], "step": 7, '
        '"cumulative": 0.25, "weight": [1.0, 2.0]}'
    )
    assert '"weight": null' in as_json(pick, 7, math.nan, None)
