"""The scene in a real window: what is drawn, how one flies through it, and what is picked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore, QtGui, QtTest, QtWidgets
from viewer_helpers import stored, stored_value, walks
from window_driver import (
    KEY,
    LEFT,
    MIDDLE,
    NO_KEY,
    RIGHT,
    SHIFT,
    OpenWindow,
    alike,
    centre,
    click,
    colour_at,
    double_click,
    drag,
    edge_colours,
    go_to,
    middle_of,
    move_mouse,
    picture,
    plate_called,
    press_key,
    release_key,
    rgb,
    run_colour,
    settle,
    shown_layer,
    some_texels,
    texel_colour,
    travelled,
    turn_wheel,
    type_key,
    wrong_texels,
)

import accweight_core as aw
from accweight_core.pictures import packing as packs
from accweight_viewer.model.camera import Pose
from accweight_viewer.model.picking import Pick
from accweight_viewer.theme import DARK
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

LAYERS = ["conv1", "conv2", "fc1", "embed", "lstm", "fc2"]
DIRECTIONS = [
    (KEY.Key_W, 2, 1),
    (KEY.Key_S, 2, -1),
    (KEY.Key_D, 0, 1),
    (KEY.Key_A, 0, -1),
    (KEY.Key_E, 1, 1),
    (KEY.Key_Q, 1, -1),
]
"""Keys, and along which axis of the camera they fly: right, up, forward."""

WEIGHTS = [
    ("conv2.weight", (7, 5, 2, 1)),
    ("fc1.weight", (11, 40)),
    ("embed.weight", (13, 2)),
    ("lstm.weight_hh_l0", (17, 3)),
]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("scene"), "net")


# --- the picture ----------------------------------------------------------------------------


def test_every_plate_is_drawn_in_the_first_picture(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"labels": False})
    scene = window.scenes[0]
    plates = scene.source.plates

    seen = picture(scene)

    empty = {rgb(DARK.page), rgb(DARK.gap), rgb(DARK.frame)}
    for plate in plates:
        found = {
            texel_colour(scene, seen, plate, row, col)
            for row in range(plate.size[0])
            for col in range(plate.size[1])
            if _in_front(window, plate, row, col)
        }
        assert len(found - empty) >= 5, plate.name
    assert colour_at(seen, 2, 2) == rgb(DARK.page)


def _in_front(window: MainWindow, plate: Any, row: int, col: int) -> bool:
    scene = window.scenes[0]
    at = scene.point_of(Pick(0, plate, row, col))
    hit = scene.pick_at(at.x(), at.y())
    return hit is not None and hit.plate.number == plate.number


def test_texels_have_exactly_the_colours_of_their_values(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis, chosen={"labels": False})

    for layer in LAYERS:
        go_to(window, layer)
        for position in (4, 2, 0):
            window.session.move_to(position)
            settle(window)

            for plate in shown_layer(window, layer):
                assert wrong_texels(window, plate) == [], plate.name


def test_colours_are_those_of_the_values_that_the_library_computes(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis, chosen={"labels": False})
    session, scene = window.session, window.scenes[0]
    go_to(window, "fc2")
    plate = plate_called(window, "fc2.weight")

    seen = picture(scene)

    shares = aw.open_analysis(analysis).normalized("fc2.weight", 4, "layer")
    scale = session.colour_scale()
    for index in np.ndindex(*shares.shape):
        found = texel_colour(scene, seen, plate, *plate.layout.texel(index))
        red, green, blue = scale.colours[int(scale.entries(shares[index]))].tolist()
        assert alike(found, (red, green, blue)), index


def test_texels_beside_the_seams_of_tiles_are_right(opened: OpenWindow, wide: Path) -> None:
    window = opened(wide, chosen={"labels": False})
    plate = plate_called(window, "wide.weight")
    wrong = []

    for row, col in ((63, 63), (64, 128), (127, 0), (199, 191), (0, 199)):
        face(window, plate, row, col)
        seen = picture(window.scenes[0])
        for at in ((r, c) for r in (row - 1, row, row + 1) for c in (col - 1, col, col + 1)):
            if all(0 <= i < 200 for i in at):
                wanted = run_colour(window.session, window.session.runs[0], plate, *at)
                found = texel_colour(window.scenes[0], seen, plate, *at)
                wrong += [] if alike(found, wanted) else [(at, found, wanted)]

    assert wrong == []


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix of several tiles at several levels, over many steps."""
    return stored(tmp_path_factory.mktemp("wide"), "wide", walks(["wide"], 30, size=200))


def face(window: MainWindow, plate: Any, row: int, col: int) -> None:
    """Go so close to a texel that few others are seen."""
    go_to(window, "wide")
    places = window.scenes[0].content.places
    x, y, z = places.corners[plate.number]
    across, down = places.sizes[plate.number] / (plate.size[1], plate.size[0])
    at = (x + across * (col + 0.5), y - down * (row + 0.5), z + 14 * down)
    window.flight.camera.jump(Pose(tuple(float(v) for v in at)))
    window.flight.settle(places)
    settle(window)


@pytest.mark.parametrize("budget", [1 << 18, 1 << 20, 1 << 26])
def test_little_graphics_memory_shows_the_same(opened: OpenWindow, wide: Path, budget: int) -> None:
    window = opened(wide, chosen={"labels": False}, budget_bytes=budget)
    plate = plate_called(window, "wide.weight")
    face(window, plate, 100, 60)
    run = window.session.runs[0]

    for position in (29, 14, 15, 0, 28):
        window.session.move_to(position)
        settle(window)

        seen = picture(window.scenes[0])
        for at in ((100, 60), (101, 63), (99, 64)):
            found = texel_colour(window.scenes[0], seen, plate, *at)
            assert alike(found, run_colour(window.session, run, plate, *at)), (position, at)


def test_gaps_between_kernels_have_the_colour_of_gaps(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"labels": False})
    go_to(window, "conv1")
    plate = plate_called(window, "conv1.weight")

    found = texel_colour(window.scenes[0], picture(window.scenes[0]), plate, 3, 3)

    assert plate.layout.element(3, 3) is None
    assert found == rgb(DARK.gap)


def test_the_network_brightens_as_time_runs(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"labels": False})
    brightness = []

    for position in range(5):
        window.session.move_to(position)
        settle(window)
        brightness.append(float(picture(window.scenes[0]).mean()))

    assert brightness == sorted(brightness)
    assert brightness[-1] > brightness[0] + 2


def test_while_time_runs_the_next_checkpoint_shines_through(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis, chosen={"labels": False}, capturing=True)
    scene, session = window.scenes[0], window.session
    go_to(window, "fc2")
    plate = plate_called(window, "fc2.weight")
    before, after = (stored_value(session.runs[0], plate, at, 5, 7) for at in (1, 2))
    session.cursor.playing = True

    session.show_between(1, 0.5)
    settle(window)

    scale = session.colour_scale()
    between = (before + after) / 2 / session.runs[0].scale(plate, "layer")
    red, green, blue = scale.colours[int(scale.entries(between))].tolist()
    found = texel_colour(scene, picture(scene), plate, 5, 7)
    assert alike(found, (red, green, blue))
    assert not alike(found, run_colour(session, session.runs[0], plate, 5, 7))


def test_names_stand_beside_the_plates_and_can_be_left_out(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    ink = np.array(rgb(DARK.ink))

    with_names = picture(window.scenes[0])
    window.session.change(labels=False)
    settle(window)
    without = picture(window.scenes[0])

    changed = (with_names != without).any(axis=2)
    assert (np.abs(with_names[changed].astype(int) - ink).max(axis=1) <= 4).sum() > 20
    assert changed.mean() < 0.2, "plates are where they were"


# --- frames that are drawn before the next tick -----------------------------------------------


CHANGES: dict[str, Callable[[MainWindow], object]] = {
    "time": lambda window: window.session.move_to(2),
    "selected layer": lambda window: window.session.select_layer("conv1"),
    "selected texel": lambda window: window.session.select_texel(
        Pick(0, plate_called(window, "fc2.weight"), 1, 2)
    ),
    "scope": lambda window: window.session.change(scope="global"),
    "range": lambda window: window.session.change(fitted=False, high=0.3),
    "logarithm": lambda window: window.session.change(logarithmic=True),
    "theme": lambda window: window.session.change(theme="light"),
    "arrangement": lambda window: window.session.change(arrangement="rows"),
    "names": lambda window: window.session.change(labels=False),
    "camera": lambda window: window.flight.visit([0], window.scenes[0].places, at_once=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_frame_right_after_a_change_is_the_frame_after_the_next_tick(
    opened: OpenWindow, analysis: Path, change: str
) -> None:
    window = opened(analysis)
    scene = window.scenes[0]
    go_to(window, "fc2")
    before = picture(scene)

    CHANGES[change](window)
    at_once = picture(scene)
    settle(window)

    assert (at_once != before).any(), "the change is seen"
    assert (at_once == picture(scene)).all()


def test_a_frame_of_tiles_that_are_all_to_be_read_anew_is_empty_not_black(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis, chosen={"labels": False})
    go_to(window, "fc2")
    plate = plate_called(window, "fc2.weight")

    window.session.change(plane="max")
    at_once = picture(window.scenes[0])
    settle(window)

    found = {texel_colour(window.scenes[0], at_once, plate, *at) for at in some_texels(plate)}
    assert found == {rgb(DARK.gap)}
    assert wrong_texels(window, plate) == []


# --- flight ---------------------------------------------------------------------------------


def test_keys_fly_in_their_direction_until_they_are_let_go(
    qtbot: Any, opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    scene.setFocus()

    for key, axis, sign in DIRECTIONS:
        begin, axes, before = camera.pose, camera.pose.axes, picture(scene)
        press_key(scene, key)
        qtbot.waitUntil(lambda begin=begin: _apart(camera.pose, begin) > 0.2)
        release_key(scene, key)
        end = camera.pose
        qtbot.wait(40)

        moved = np.array(end.position) - np.array(begin.position)
        along = [float(moved @ direction) for direction in axes]
        assert along.pop(axis) * sign > 0.2
        assert along == pytest.approx([0, 0], abs=1e-9)
        assert (end.yaw, end.pitch) == (begin.yaw, begin.pitch)
        assert camera.pose == end, "it rests once the key is up"
        assert (picture(scene) != before).any()


def _apart(one: Any, other: Any) -> float:
    return float(np.linalg.norm(np.array(one.position) - np.array(other.position)))


def test_flight_is_as_fast_at_any_frame_rate(
    opened: OpenWindow, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for frames in (60, 20):
        window = opened(analysis)
        clock = SimpleNamespace(now=100.0)
        fake = SimpleNamespace(perf_counter=lambda clock=clock: clock.now)
        monkeypatch.setattr("accweight_viewer.clock.time", fake)
        begin = window.flight.camera.pose
        press_key(window.scenes[0], KEY.Key_S)
        window.clock.timer.stop()
        window.clock.last_tick = clock.now
        for _ in range(frames):
            clock.now += 1 / frames
            window.clock.tick()
        ends.append(_apart(window.flight.camera.pose, begin))
        window.close()
        monkeypatch.undo()

    assert ends[0] == pytest.approx(ends[1], rel=0.05)
    assert ends[0] > 1


def test_a_pause_makes_no_leap(
    opened: OpenWindow, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = opened(analysis)
    clock = SimpleNamespace(perf_counter=lambda: 5000.0)
    monkeypatch.setattr("accweight_viewer.clock.time", clock)
    begin, pace = window.flight.camera.pose, window.flight.camera.pace
    press_key(window.scenes[0], KEY.Key_W)
    window.clock.timer.stop()

    window.clock.last_tick = 4000.0
    window.clock.tick()

    assert 0 < _apart(window.flight.camera.pose, begin) < 5 * pace


def test_shift_flies_faster(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    scene, flight = window.scenes[0], window.flight
    window.clock.timer.timeout.disconnect()
    home, lengths = flight.camera.pose, []

    for modifier in (NO_KEY, SHIFT):
        flight.camera.jump(home)
        press_key(scene, KEY.Key_D, modifier)
        flight.advance(0.05, scene.content.places)
        lengths.append(_apart(flight.camera.pose, home))
        release_key(scene, KEY.Key_D, modifier)

    assert lengths[1] == pytest.approx(4 * lengths[0])


def test_shift_pressed_and_let_go_during_a_flight_counts(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, flight = window.scenes[0], window.flight
    speeds = []

    press_key(scene, KEY.Key_D)
    speeds.append(flight.fast)
    press_key(scene, KEY.Key_Shift)
    speeds.append(flight.fast)
    release_key(scene, KEY.Key_Shift, SHIFT)
    speeds.append(flight.fast)

    assert speeds == [False, True, False]
    assert flight.moving


def test_two_keys_fly_askew_and_not_faster(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    scene, flight = window.scenes[0], window.flight
    window.clock.timer.timeout.disconnect()
    home, lengths = flight.camera.pose, []

    for key in (KEY.Key_D, KEY.Key_E):
        flight.camera.jump(home)
        press_key(scene, key)
        flight.advance(0.05, scene.content.places)
        lengths.append(_apart(flight.camera.pose, home))

    assert lengths[1] == pytest.approx(lengths[0])


def test_the_focus_that_goes_elsewhere_ends_the_flight(
    qtbot: Any, opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene = window.scenes[0]
    scene.setFocus()
    press_key(scene, KEY.Key_W, SHIFT)
    flying = window.flight.moving

    window.table.focus_search()
    qtbot.waitUntil(lambda: window.table.search.hasFocus())
    end = window.flight.camera.pose
    qtbot.wait(60)

    assert flying
    assert not window.flight.moving
    assert not window.flight.fast
    assert window.flight.camera.pose == end


def test_keys_that_repeat_themselves_neither_stop_nor_start_a_flight(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, flight = window.scenes[0], window.flight
    kinds = QtCore.QEvent.Type
    repeated = [
        QtGui.QKeyEvent(kind, KEY.Key_W, NO_KEY, "w", True)
        for kind in (kinds.KeyRelease, kinds.KeyPress)
    ]

    QtWidgets.QApplication.sendEvent(scene, repeated[1])
    started = flight.moving
    press_key(scene, KEY.Key_W)
    QtWidgets.QApplication.sendEvent(scene, repeated[0])

    assert not started
    assert flight.moving


def test_control_and_a_letter_are_no_flight(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)

    press_key(window.scenes[0], KEY.Key_W, QtCore.Qt.KeyboardModifier.ControlModifier)

    assert not window.flight.moving


def test_a_still_picture_costs_nothing(qtbot: Any, opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    qtbot.waitUntil(lambda: not window.clock.timer.isActive())
    frames: list[int] = []
    window.scenes[0].frame_drawn.connect(lambda: frames.append(1))

    qtbot.wait(150)

    assert frames == []
    assert not window.clock.timer.isActive()


# --- the mouse and the camera ---------------------------------------------------------------


def test_dragging_circles_the_selected_layer_which_stays_in_its_place(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    window.session.select_layer("fc1")
    places = scene.content.places
    middle = places.centre([p.number for p in shown_layer(window, "fc1")])[None]
    size = scene.width(), scene.height()
    before, pose = camera.project(middle, *size)[0], camera.pose

    drag(scene, centre(scene), 80, 30)

    assert camera.project(middle, *size)[0] == pytest.approx(before, rel=1e-6)
    assert camera.pose.yaw - pose.yaw == pytest.approx(-80 * 0.006)
    assert camera.pose.pitch - pose.pitch == pytest.approx(-30 * 0.006)
    assert _apart(camera.pose, pose) > 0.5
    assert window.session.layer == "fc1", "a drag is no click"


def test_a_click_on_what_is_selected_already_circles_it_again(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    go_to(window, "fc1")
    plate = plate_called(window, "fc1.weight")
    click(scene, middle_of(scene, plate, 3, 5))
    window.flight.circle([], scene.content.places)

    click(scene, middle_of(scene, plate, 3, 5))

    middle = scene.content.places.centre([p.number for p in shown_layer(window, "fc1")])[None]
    before = camera.project(middle, 100, 100)[0]
    drag(scene, centre(scene), 80, 30)
    assert camera.project(middle, 100, 100)[0] == pytest.approx(before, rel=1e-6)


def test_dragging_without_a_selection_circles_everything(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    middle = scene.content.places.centre(range(len(scene.source.plates)))[None]
    before = camera.project(middle, 100, 100)[0]

    drag(scene, centre(scene), -60, 12)

    assert camera.project(middle, 100, 100)[0] == pytest.approx(before, rel=1e-6)


def test_dragging_with_the_right_button_looks_around(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    pose = camera.pose

    drag(scene, centre(scene), 40, -20, RIGHT)

    assert camera.pose.position == pose.position
    assert camera.pose.yaw > pose.yaw
    assert camera.pose.pitch > pose.pitch


@pytest.mark.parametrize(("button", "modifier"), [(MIDDLE, NO_KEY), (LEFT, SHIFT)])
def test_dragging_with_the_middle_button_or_shift_moves_the_picture_along(
    opened: OpenWindow, analysis: Path, button: Any, modifier: Any
) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    go_to(window, "fc1")
    plate = plate_called(window, "fc1.weight")
    pose, before = camera.pose, scene.point_of(Pick(0, plate, 8, 24))

    drag(scene, centre(scene), 40, 20, button, modifier)

    moved = scene.point_of(Pick(0, plate, 8, 24)) - before
    assert (camera.pose.yaw, camera.pose.pitch) == (pose.yaw, pose.pitch)
    assert 25 < moved.x() < 55
    assert 12 < moved.y() < 28


def test_the_wheel_goes_towards_what_is_under_the_mouse_and_back(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    plate = plate_called(window, "conv2.weight")
    place = middle_of(scene, plate, 20, 10)
    begin, away = camera.pose, []
    hits = [scene.pick_at(place.x(), place.y())]

    for notches in (3, -3):
        turn_wheel(scene, place, notches)
        settle(window)
        hits.append(scene.pick_at(place.x(), place.y()))
        away.append(_apart(camera.pose, begin))

    assert hits[0] is not None
    assert hits[0].plate.number == plate.number
    assert hits == [hits[0]] * 3, "what is under the mouse stays there"
    corner, size = scene.content.places.corners[plate.number], scene.content.places.sizes
    right, down = size[plate.number] * ((10.5 / plate.size[1]), (20.5 / plate.size[0]))
    distance = np.linalg.norm(corner + np.array([right, -down, 0]) - begin.position)
    assert away[0] == pytest.approx((1 - 0.85**3) * distance, rel=0.01)
    assert away[1] == pytest.approx(0, abs=1e-6)


def test_home_shows_everything(qtbot: Any, opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    go_to(window, "embed")

    type_key(scene, KEY.Key_Home)
    settle(window)

    box = scene.content.places.box()
    x, y, depth = camera.project(box, scene.width(), scene.height()).T
    assert (depth > 0).all()
    assert ((x > 0) & (x < scene.width())).all()
    assert ((y > 0) & (y < scene.height())).all()
    assert max(np.ptp(x) / scene.width(), np.ptp(y) / scene.height()) > 0.7
    assert window.flight.focus_row == 0


def test_everything_stays_in_view_when_the_window_becomes_narrow(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera

    window.resize(1000, 900)
    settle(window)

    x, y, _ = camera.project(scene.content.places.box(), scene.width(), scene.height()).T
    assert ((x > 0) & (x < scene.width()) & (y > 0) & (y < scene.height())).all()


def test_a_double_click_goes_to_the_layer_under_the_mouse(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene, camera = window.scenes[0], window.flight.camera
    plate = plate_called(window, "conv2.weight")
    begin = camera.pose

    double_click(scene, middle_of(scene, plate, 20, 10))
    gliding = camera.gliding
    settle(window)

    assert gliding, "it glides there"
    assert window.session.layer == "conv2"
    assert _apart(camera.pose, begin) > 1
    x, y, _ = camera.project(
        scene.content.places.box([plate.number]), scene.width(), scene.height()
    ).T
    assert ((x > 0) & (x < scene.width()) & (y > 0) & (y < scene.height())).all()
    assert max(np.ptp(x) / scene.width(), np.ptp(y) / scene.height()) > 0.5
    assert window.flight.focus_row == scene.content.places.rows[plate.number]


def test_f_goes_to_the_selected_layer(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    window.session.select_layer("fc2")

    type_key(window.scenes[0], KEY.Key_F)
    settle(window)

    plate = plate_called(window, "fc2.weight")
    assert window.flight.focus_row == window.scenes[0].content.places.rows[plate.number]


# --- picking --------------------------------------------------------------------------------


def test_every_way_to_ask_for_a_weight_has_one_answer(
    qtbot: Any, opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis, chosen={"labels": False})
    scene, session, readout = window.scenes[0], window.session, window.readout
    flat, library = window.windows[0], aw.open_analysis(analysis)
    session.move_to_step(3)

    for parameter, index in WEIGHTS:
        layer = parameter.partition(".")[0]
        go_to(window, layer)
        plate = plate_called(window, parameter)
        row, col = plate.layout.texel(index)

        click(scene, middle_of(scene, plate, row, col))
        qtbot.waitUntil(lambda: readout.current_weight is not None, timeout=60_000)
        settle(window)
        move_mouse(flat.view, flat.view.position_of(row, col).toPoint())

        exact = travelled(analysis.parent / "net", parameter, index, 3)
        trace = library.trace(parameter, index)
        assert session.pick is not None
        assert (session.pick.plate.name, session.pick.index) == (parameter, index)
        assert session.layer == layer
        assert library.cumulative(parameter, 3)[index] == exact
        assert trace.cumulative[3] == exact
        assert readout.cumulative == exact
        assert readout.current_weight == trace.weights[3]
        assert readout.path.value.text() == f"{exact:.6g}"
        assert flat.plate is not None
        assert flat.plate.name == parameter
        assert flat.hovered is not None
        assert flat.hovered.value == np.float32(exact)
        assert stored_value(session.runs[0], plate, 3, row, col) == np.float32(exact)


def test_an_exact_value_that_comes_late_is_not_shown_for_another_weight(
    opened: OpenWindow, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[tuple[int, ...], Any] = {}

    def ask(answers: Any, parameter: str, index: tuple[int, ...], callback: Any) -> None:
        asked[index] = callback

    monkeypatch.setattr("accweight_core.analysis.exact_client.ExactClient.ask", ask)
    window = opened(analysis)
    session, readout = window.session, window.readout
    plate = plate_called(window, "fc1.weight")
    first, second = (0, 0), (15, 47)
    for index in (first, second):
        session.select_texel(Pick(0, plate, *plate.layout.texel(index)))
    told = []

    for index in (first, second, first):
        trace = trace_of(analysis, index)
        asked[index]({"weights": trace.weights.tolist(), "cumulative": trace.cumulative.tolist()})
        window.process()
        told.append(readout.current_weight)

    wanted = trace_of(analysis, second)
    assert told == [None, wanted.weights[4], wanted.weights[4]]
    assert readout.cumulative == wanted.cumulative[4]


def trace_of(analysis: Path, index: tuple[int, ...]) -> Any:
    return aw.open_analysis(analysis).trace("fc1.weight", index)


def test_checkpoints_that_are_gone_are_said_to_be(
    qtbot: Any, opened: OpenWindow, tmp_path: Path
) -> None:
    path = stored(tmp_path, "net")
    shutil.rmtree(tmp_path / "net")
    window = opened(path)
    go_to(window, "fc2")
    plate = plate_called(window, "fc2.weight")

    click(window.scenes[0], middle_of(window.scenes[0], plate, 2, 3))
    note = window.readout.weight.note
    qtbot.waitUntil(lambda: "step_0.pt" in note.toolTip(), timeout=60_000)

    told = window.readout.weight.note.toolTip()
    stored_here = stored_value(window.session.runs[0], plate, 4, 2, 3)
    assert "step_0.pt" in told
    assert "\n" not in told
    assert window.readout.cumulative == stored_here, "what is stored is still shown"


def test_what_is_under_the_mouse_is_told_below(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    scene = window.scenes[0]
    go_to(window, "embed")
    plate = plate_called(window, "embed.weight")

    move_mouse(scene, middle_of(scene, plate, 4, 3))
    settle(window)
    told = window.status.text()
    move_mouse(scene, QtCore.QPoint(2, 2))

    index = plate.layout.element(4, 3)
    value = np.float32(aw.open_analysis(analysis).cumulative("embed.weight")[index])
    assert told.startswith("embed.weight[4, 3]   ")
    assert f"   moved {value:.6g}   " in told
    assert " % of the layer's largest" in told
    assert told.endswith("step 4")
    assert window.status.text() == ""


def test_a_click_beside_all_plates_selects_nothing(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    window.session.select_layer("fc1")

    click(window.scenes[0], QtCore.QPoint(3, 3))

    assert window.session.layer is None
    assert window.session.pick is None


def test_the_selected_texel_is_outlined(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"labels": False})
    scene = window.scenes[0]
    go_to(window, "fc2")
    plate = plate_called(window, "fc2.weight")

    click(scene, middle_of(scene, plate, 4, 6))
    settle(window)

    seen = picture(scene)
    inner, right = (scene.point_of(Pick(0, plate, 4, col)) for col in (6, 7))
    between = {colour_at(seen, inner.x() + dx, inner.y()) for dx in range(int((right - inner).x()))}
    assert rgb(DARK.accent) in between
    assert texel_colour(scene, seen, plate, 4, 6) != rgb(DARK.accent)


def test_plates_before_the_one_that_is_visited_are_not_picked(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene = window.scenes[0]

    go_to(window, "fc2")

    at = centre(scene)
    hit = scene.pick_at(at.x(), at.y())
    assert hit is not None
    assert hit.plate.name == "fc2.weight"
    assert scene.content.places.rows[hit.plate.number] == window.flight.focus_row


def test_the_edge_of_the_selected_layer_has_the_accent(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"labels": False})
    go_to(window, "lstm")
    plates = shown_layer(window, "lstm")

    selected = [edge_colours(window.scenes[0], plate) for plate in plates]
    window.session.select_layer("conv1")
    settle(window)
    others = [edge_colours(window.scenes[0], plate) for plate in plates]

    assert len(plates) == 2
    assert all(rgb(DARK.accent) in colours for colours in selected)
    assert not any(rgb(DARK.accent) in colours for colours in others)
    assert all(rgb(DARK.frame) in colours for colours in others)


def test_a_scene_that_cannot_be_read_says_so_and_stays(
    qtbot: Any, opened: OpenWindow, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "PACK_TEXELS", 0)  # one parameter in each
        path = stored(tmp_path, "net")
    window = opened(path)
    broken = plate_called(window, "fc1.weight")
    number = aw.open_analysis(path).header.packs.index((broken.index,))
    for file in (path / "pictures" / "packed" / f"{number:06d}").rglob("c.*"):
        file.unlink()
        file.write_bytes(b"short")

    window.session.change(plane="max")
    qtbot.waitUntil(lambda: window.failure != "")
    told = window.status.text()
    window.session.jump_to("fc1")
    qtbot.waitUntil(lambda: not window.flight.camera.gliding)
    move_mouse(window.scenes[0], middle_of(window.scenes[0], broken, 3, 3))

    assert told == window.failure
    assert told.startswith("fc1.weight: ")
    qtbot.waitUntil(lambda: "is damaged" in window.status.text())
    go_to(window, "conv1")
    assert wrong_texels(window, plate_called(window, "conv1.weight")) == []


def test_a_drag_that_ends_outside_is_over_when_the_button_is_up(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    scene = window.scenes[0]

    drag(scene, centre(scene), -3000, 40)
    pose = window.flight.camera.pose
    move_mouse(scene, centre(scene))

    assert window.flight.camera.pose == pose
    assert QtTest.QTest.qWaitForWindowActive(window)
