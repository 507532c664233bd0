"""Two runs in a real window: beside each other, and their difference."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from viewer_helpers import stored
from window_driver import (
    KEY,
    Colour,
    OpenWindow,
    alike,
    centre,
    click,
    colour_at,
    drag,
    edge_colours,
    go_to,
    middle_of,
    move_mouse,
    picture,
    pixels,
    plate_called,
    press_key,
    release_key,
    rgb,
    scale_colour,
    settle,
    some_texels,
    texel_colour,
    wrong_texels,
)

import accweight_core as aw
from accweight_viewer.model.difference import Difference
from accweight_viewer.model.picking import Pick
from accweight_viewer.panes.formatting import number_text
from accweight_viewer.panes.layer_model import Column
from accweight_viewer.theme import DARK
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

SIZE = (1400, 800)


def walk(names: list[str], count: int, seed: int, pace: float = 1.0) -> list[dict[str, Tensor]]:
    """Return linear layers of which every weight walks at a pace of its own."""
    chance = torch.Generator().manual_seed(seed)
    paces = {name: pace * torch.rand(8, 6, generator=chance) for name in names}
    return [{f"{n}.weight": paces[n] * float(t) for n in names} for t in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def first(folder: Path) -> Path:
    return stored(folder, "first", walk(["a", "mine", "b"], 5, 1), steps=[0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def second(folder: Path) -> Path:
    """The same network but for one layer, trained twice as fast, seen half as often."""
    return stored(folder, "second", walk(["a", "b", "yours"], 3, 2, 2.0), steps=[0, 2, 5])


@pytest.fixture
def beside(opened: OpenWindow, first: Path, second: Path) -> MainWindow:
    window: MainWindow = opened(first, second, size=SIZE, chosen={"labels": False})
    return window


@pytest.fixture
def difference(opened: OpenWindow, first: Path, second: Path) -> MainWindow:
    chosen = {"labels": False, "difference_scale": "own"}
    window: MainWindow = opened(first, second, size=SIZE, chosen=chosen, difference=True)
    return window


def shares(path: Path, step: int, parameter: str = "a.weight") -> Any:
    """Return normalised change as the library computes it."""
    return aw.open_analysis(path).normalized(parameter, step, "layer")


# --- beside each other ------------------------------------------------------------------------


def test_each_run_has_a_scene_under_its_name(beside: MainWindow) -> None:
    titles = [title.text() for title in beside.scene_row.titles]

    assert len(beside.scenes) == 2
    assert all(scene.isVisible() for scene in beside.scenes)
    assert titles == ["first", "second"]
    assert all(title.isVisible() for title in beside.scene_row.titles)


def test_each_scene_shows_its_own_values(beside: MainWindow) -> None:
    go_to(beside, "a")

    for step in (0, 2, 4, 5):
        beside.session.move_to_step(step)
        settle(beside)

        for number in (0, 1):
            assert (
                wrong_texels(beside, plate_called(beside, "a.weight", number), None, number) == []
            )


def test_the_slower_run_shows_its_last_checkpoint_before(beside: MainWindow) -> None:
    session = beside.session
    go_to(beside, "b")
    plate = plate_called(beside, "b.weight", 1)
    whole = (slice(0, 8), slice(0, 8))
    last = beside.session.runs[1].values(plate, 0, "mean", slice(2, 3), *whole)[0]
    fastest = divmod(int(np.nanargmax(last)), last.shape[1])
    seen = []

    for step in session.steps.tolist():
        session.move_to_step(step)
        settle(beside)
        seen.append(texel_colour(beside.scenes[1], picture(beside.scenes[1]), plate, *fastest))

    assert session.steps.tolist() == [0, 1, 2, 3, 4, 5]
    assert seen[0] == seen[1]
    assert seen[2] == seen[3] == seen[4]
    assert seen[0][0] < seen[2][0] < seen[5][0]


def test_table_and_readout_tell_each_run_at_its_own_checkpoint(
    beside: MainWindow, first: Path, second: Path
) -> None:
    beside.session.change(columns=("max",))
    beside.session.move_to_step(3)
    plate = plate_called(beside, "a.weight", 1)
    beside.session.select_texel(Pick(1, plate, 2, 2))
    settle(beside)

    model = beside.table.model
    told = [model.index(model.row_of("a"), c).data() for c in (Column.FIRST, Column.SECOND)]

    tables = [aw.open_analysis(path).table() for path in (first, second)]
    wanted = [
        float(table.query(f"step == {step} and layer == 'a'")["max"].iloc[0])
        for table, step in zip(tables, (3, 2), strict=True)
    ]
    assert told == [number_text(value) for value in wanted]
    assert beside.readout.step == 2


def test_flying_in_one_scene_moves_the_other_alike(qtbot: Any, beside: MainWindow) -> None:
    left, right = beside.scenes
    before = picture(left)
    right.setFocus()

    press_key(right, KEY.Key_D)
    qtbot.wait(150)
    release_key(right, KEY.Key_D)
    drag(right, centre(right), 60, 10)
    settle(beside)

    assert (picture(left) != before).any()
    for scene in beside.scenes:
        plate = next(p for p in scene.source.plates if p.name == "a.weight")
        at = middle_of(scene, plate, 4, 3)
        hit = scene.pick_at(at.x(), at.y())
        assert hit is not None
        assert (hit.run, hit.plate.name) == (scene.number, "a.weight")
    assert (left.width(), left.height()) == pytest.approx((right.width(), right.height()), abs=2)


def test_layers_stand_at_the_same_place_in_both_runs(beside: MainWindow) -> None:
    places = [
        scene.content.places.centre([plate_called(beside, "b.weight", scene.number).number])
        for scene in beside.scenes
    ]

    assert places[0] == pytest.approx(places[1])


def test_layers_that_only_one_run_has_are_marked(beside: MainWindow) -> None:
    table = beside.table.model
    row = table.row_of("mine")
    edges = []
    for number, name in ((0, "mine.weight"), (1, "yours.weight"), (0, "a.weight")):
        scene, plate = beside.scenes[number], plate_called(beside, name, number)
        beside.flight.visit([plate.number], scene.content.places, at_once=True)
        settle(beside)
        edges.append(rgb(DARK.mark) in edge_colours(scene, plate))

    assert edges == [True, True, False]
    assert table.index(row, Column.SECOND).data() == "only in first"
    assert beside.session.layer_names == ["a", "mine", "b", "yours"]


def test_a_layer_of_the_second_run_alone_can_be_visited(beside: MainWindow) -> None:
    beside.session.jump_to("yours")
    settle(beside)

    right = beside.scenes[1]
    plate = plate_called(beside, "yours.weight", 1)
    assert beside.flight.focus_row == right.content.places.rows[plate.number]
    assert wrong_texels(beside, plate, None, 1) == []


@pytest.mark.parametrize(("layer", "number"), [("mine", 0), ("yours", 1)])
def test_dragging_circles_a_selected_layer_that_one_run_alone_has(
    beside: MainWindow, layer: str, number: int
) -> None:
    scene, camera = beside.scenes[number], beside.flight.camera
    plate = plate_called(beside, f"{layer}.weight", number)
    middle = scene.content.places.centre([plate.number])[None]
    beside.session.select_layer(layer)
    before = camera.project(middle, 100, 100)[0]

    drag(scene, centre(scene), 60, 10)

    assert camera.project(middle, 100, 100)[0] == pytest.approx(before, rel=1e-6)


def test_a_click_in_the_second_scene_picks_a_weight_of_the_second_run(
    qtbot: Any, beside: MainWindow, folder: Path, second: Path
) -> None:
    go_to(beside, "a")
    right = beside.scenes[1]
    plate = plate_called(beside, "a.weight", 1)
    index = plate.layout.element(6, 2)

    click(right, middle_of(right, plate, 6, 2))
    qtbot.waitUntil(lambda: beside.readout.current_weight is not None, timeout=60_000)

    assert beside.session.pick is not None
    assert beside.session.pick.run == 1
    assert index is not None
    assert beside.readout.cumulative == aw.open_analysis(second).cumulative("a.weight")[index]
    assert beside.readout.place.text().startswith("second")


def test_only_the_scene_of_the_picked_run_outlines_the_texel(beside: MainWindow) -> None:
    go_to(beside, "a")
    for scene in beside.scenes:
        assert rgb(DARK.accent) not in _around(scene, "a.weight", 4, 3)

    click(beside.scenes[1], middle_of(beside.scenes[1], plate_called(beside, "a.weight", 1), 4, 3))
    settle(beside)

    assert rgb(DARK.accent) not in _around(beside.scenes[0], "a.weight", 4, 3)
    assert rgb(DARK.accent) in _around(beside.scenes[1], "a.weight", 4, 3)


def _around(scene: Any, parameter: str, row: int, col: int) -> set[Colour]:
    """Return the colours from the middle of a texel to that of its neighbour."""
    plate = next(p for p in scene.source.plates if p.name == parameter)
    left, right = (middle_of(scene, plate, row, c) for c in (col, col + 1))
    seen = picture(scene)
    return {colour_at(seen, x, left.y()) for x in range(left.x(), right.x() + 1)}


def test_the_second_flat_picture_is_that_of_the_second_run(beside: MainWindow) -> None:
    go_to(beside, "a")

    choices = [window.choice for window in beside.windows]

    assert [c and (c.which, c.parameter) for c in choices] == [(0, "a.weight"), (1, "a.weight")]


# --- the difference ---------------------------------------------------------------------------


def test_the_difference_is_one_scene_with_colours_to_both_sides(
    difference: MainWindow, first: Path, second: Path
) -> None:
    go_to(difference, "a")
    scene, session = difference.scenes[0], difference.session
    plate = plate_called(difference, "a.weight")
    session.move_to_step(2)
    settle(difference)

    seen = picture(scene)

    wanted = shares(first, 2) - shares(second, 2)
    assert isinstance(scene.source, Difference)
    assert [s.isVisible() for s in difference.scenes] == [True]
    assert wanted.min() < -0.1
    assert wanted.max() > 0.1
    for index in np.ndindex(*wanted.shape):
        found = texel_colour(scene, seen, plate, *plate.layout.texel(index))
        assert alike(found, scale_colour(session, float(wanted[index]), signed=True), 4), index
    warm = texel_colour(scene, seen, plate, *_place(plate, wanted.argmax(), wanted.shape))
    cold = texel_colour(scene, seen, plate, *_place(plate, wanted.argmin(), wanted.shape))
    assert warm[0] > warm[2], "where the first has moved more"
    assert cold[2] > cold[0], "where the second has"


def _place(plate: Any, flat: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    row, col = plate.layout.texel(tuple(int(i) for i in np.unravel_index(flat, shape)))
    return row, col


def test_a_run_minus_itself_is_neutral_everywhere(opened: OpenWindow, first: Path) -> None:
    window = opened(first, first, size=SIZE, chosen={"labels": False}, difference=True)
    go_to(window, "b")
    neutral = scale_colour(window.session, 0.0, signed=True)
    scene = window.scenes[0]
    plate = plate_called(window, "b.weight")

    for position in (0, 2, 4):
        window.session.move_to(position)
        settle(window)

        seen = picture(scene)
        found = {texel_colour(scene, seen, plate, *at) for at in np.ndindex(*plate.size)}
        assert found == {neutral}


def test_the_difference_follows_theme_and_logarithm(
    difference: MainWindow, first: Path, second: Path
) -> None:
    go_to(difference, "b")
    session, scene = difference.session, difference.scenes[0]
    plate = plate_called(difference, "b.weight")
    session.move_to_step(4)
    wanted = shares(first, 4, "b.weight") - shares(second, 2, "b.weight")

    for theme, logarithmic in product(("dark", "light"), (False, True)):
        session.change(theme=theme, logarithmic=logarithmic)
        settle(difference)

        seen = picture(scene)
        for row, col in some_texels(plate):
            index = plate.layout.element(row, col)
            assert index is not None
            expected = scale_colour(session, float(wanted[index]), signed=True)
            assert alike(texel_colour(scene, seen, plate, row, col), expected, 4)


def test_the_difference_follows_the_scope(
    difference: MainWindow, first: Path, second: Path
) -> None:
    go_to(difference, "b")
    session, scene = difference.session, difference.scenes[0]

    session.change(scope="global")
    session.move_to_step(4)
    settle(difference)

    plate, seen = plate_called(difference, "b.weight"), picture(scene)
    ours = aw.open_analysis(first).normalized("b.weight", 4, "global")
    theirs = aw.open_analysis(second).normalized("b.weight", 2, "global")
    for row, col in some_texels(plate):
        index = plate.layout.element(row, col)
        expected = scale_colour(session, float((ours - theirs)[index]), signed=True)
        assert alike(texel_colour(scene, seen, plate, row, col), expected, 4)


def test_a_layer_that_only_one_run_has_has_no_difference(difference: MainWindow) -> None:
    go_to(difference, "mine")
    scene = difference.scenes[0]
    plate = plate_called(difference, "mine.weight")

    at = middle_of(scene, plate, 3, 3)

    assert texel_colour(scene, picture(scene), plate, 3, 3) == rgb(DARK.gap)
    assert scene.pick_at(at.x(), at.y()) is None
    assert difference.windows[0].message.startswith("no difference")


def test_a_click_in_the_difference_picks_the_weight_of_the_first_run(
    qtbot: Any, difference: MainWindow, first: Path
) -> None:
    go_to(difference, "a")
    scene = difference.scenes[0]
    plate = plate_called(difference, "a.weight")
    index = plate.layout.element(2, 1)

    click(scene, middle_of(scene, plate, 2, 1))
    qtbot.waitUntil(lambda: difference.readout.current_weight is not None, timeout=60_000)
    settle(difference)

    assert index is not None
    assert difference.session.pick is not None
    assert difference.session.pick.index == index
    exact = aw.open_analysis(first).cumulative("a.weight", 4)[index]
    assert difference.readout.cumulative == exact
    assert rgb(DARK.accent) in _around(scene, "a.weight", 2, 1)


def test_what_is_under_the_mouse_in_a_difference_is_told_as_such(
    difference: MainWindow, first: Path, second: Path
) -> None:
    go_to(difference, "a")
    scene = difference.scenes[0]
    plate = plate_called(difference, "a.weight")
    index = plate.layout.element(5, 2)
    difference.session.move_to_step(3)

    move_mouse(scene, middle_of(scene, plate, 5, 2))
    settle(difference)

    between = (shares(first, 3) - shares(second, 2))[index]
    assert f"   difference {between:+.4g}   " in difference.status.text()
    assert difference.status.text().endswith("step 3")


def test_switching_between_both_ways_to_compare_and_back(beside: MainWindow) -> None:
    go_to(beside, "a")
    plates = [plate_called(beside, "a.weight", number) for number in (0, 1)]
    before = [picture(scene) for scene in beside.scenes]

    beside.session.compare_as("difference")
    settle(beside)
    visible = [scene.isVisible() for scene in beside.scenes]
    bar = beside.legend.signed
    beside.session.move_to_step(2)
    beside.session.change(theme="light", scope="global")
    beside.session.change(theme="dark", scope="layer")
    beside.session.move_to_step(5)
    beside.session.compare_as("beside")
    settle(beside)

    assert visible == [True, False]
    assert bar
    assert all(scene.isVisible() for scene in beside.scenes)
    for number, plate in enumerate(plates):
        assert wrong_texels(beside, plate, None, number) == []
        seen = picture(beside.scenes[number])
        if seen.shape == before[number].shape:
            assert (seen != before[number]).mean() < 0.01


def test_the_same_run_twice_is_told_apart(opened: OpenWindow, first: Path) -> None:
    window = opened(first, first, size=SIZE)

    grabbed = pixels(window.grab_image())

    assert len(window.scenes) == 2
    assert window.session.only_in("a") == ""
    assert grabbed.std() > 5
