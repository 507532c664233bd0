"""Cameras and flights: what a pixel looks at, where keys and mouse lead, what is framed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from viewer_plates import NETWORK, WINDOW, blocks, places_of

from accweight_viewer.model.arrangement import (
    arrange,
)
from accweight_viewer.model.camera import (
    DIRECTIONS,
    FIELD_OF_VIEW,
    GLIDE_SECONDS,
    Camera,
    Pose,
    framing,
)
from accweight_viewer.model.flight import TITLE_ROOM, Flight
from accweight_viewer.model.occlusion import hidden_shares

ASPECT = WINDOW[0] / WINDOW[1]

ANGLES = st.floats(-3.1, 3.1)
PITCHES = st.floats(-1.4, 1.4)
NUMBERS = st.floats(-20, 20)
POINTS = st.tuples(NUMBERS, NUMBERS, NUMBERS)
POSES = st.builds(Pose, POINTS, ANGLES, PITCHES)


# --- cameras ------------------------------------------------------------------------------------


@given(POSES)
def test_right_up_and_forward_are_at_right_angles(pose: Pose) -> None:
    right, up, forward = axes = np.stack(pose.axes)

    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.cross(right, up), -forward, atol=1e-12)


def test_a_camera_that_was_not_turned_looks_along_the_network() -> None:
    right, up, forward = Pose().axes

    assert (right.tolist(), up.tolist(), forward.tolist()) == ([1, 0, 0], [0, 1, 0], [0, 0, -1])


@given(POSES, st.floats(0, WINDOW[0]), st.floats(0, WINDOW[1]), st.floats(0.1, 50))
def test_what_a_pixel_looks_at_is_drawn_at_that_pixel(
    pose: Pose, x: float, y: float, distance: float
) -> None:
    camera = Camera(pose)

    point = np.array(pose.position) + distance * camera.ray(x, y, *WINDOW)

    at = camera.project(point[None], *WINDOW)[0]
    assert at[:2] == pytest.approx([x, y], abs=1e-6)
    assert at[2] > 0


@given(POSES, POINTS)
def test_matrices_and_pixels_agree(pose: Pose, point: tuple[float, float, float]) -> None:
    camera = Camera(pose)
    x, y, depth = camera.project(np.array([point]), *WINDOW)[0]
    assume(depth > camera.near)

    clip = camera.projection(ASPECT) @ camera.view() @ np.array([*point, 1.0])

    across, above, deep = clip[:3] / clip[3]
    assert clip[3] == pytest.approx(depth, rel=1e-6)
    assert (across + 1) / 2 * WINDOW[0] == pytest.approx(x, abs=1e-3, rel=1e-6)
    assert (1 - above) / 2 * WINDOW[1] == pytest.approx(y, abs=1e-3, rel=1e-6)
    assert (-1 <= deep <= 1) == (camera.near <= depth <= camera.far)


def test_a_point_beside_the_eye_has_no_pixel() -> None:
    camera = Camera(Pose((0, 0, 5)))

    at = camera.project(np.array([[1.0, 1.0, 5.0], [0.0, 0.0, 5.0], [0.0, 0.0, 6.0]]), *WINDOW)

    assert np.isnan(at[:2, :2]).all()
    assert at[:, 2].tolist() == [0, 0, -1]


@given(POSES, POSES, st.integers(1, 7))
def test_a_glide_ends_where_it_was_sent(begin: Pose, end: Pose, frames: int) -> None:
    camera = Camera(begin)
    camera.glide(end)

    moved = [camera.advance(1.001 * GLIDE_SECONDS / frames) for _ in range(frames)]

    assert all(moved)
    assert not camera.gliding
    assert camera.pose.position == pytest.approx(end.position, abs=1e-9)
    np.testing.assert_allclose(camera.pose.axes, end.axes, atol=1e-9)


def test_a_glide_turns_the_shorter_way() -> None:
    camera = Camera(Pose(yaw=3.0))
    camera.glide(Pose(yaw=-3.0))

    camera.advance(GLIDE_SECONDS / 2)

    assert camera.pose.yaw == pytest.approx(math.pi)


def test_a_camera_at_rest_does_not_move() -> None:
    assert Camera().advance(1.0) is False


@pytest.mark.parametrize(
    "action",
    [
        lambda camera: camera.advance(0.01, ["left"]),
        lambda camera: camera.look(0.1, 0.1),
        lambda camera: camera.orbit(np.zeros(3), 0.1, 0.1),
        lambda camera: camera.approach(np.zeros(3), 0.1),
        lambda camera: camera.shift(np.ones(3)),
        lambda camera: camera.jump(Pose()),
    ],
)
def test_who_steers_ends_the_glide(action: object) -> None:
    camera = Camera()
    camera.glide(Pose((50, 50, 50)))

    action(camera)

    assert not camera.gliding


@pytest.mark.parametrize(("name", "axis"), DIRECTIONS.items())
def test_each_key_flies_its_way(name: str, axis: tuple[int, int, int]) -> None:
    pose = Pose((1, 2, 3), 0.7, -0.4)
    camera = Camera(pose, pace=2.0)

    camera.advance(0.5, [name])

    way = np.array(camera.pose.position) - pose.position
    np.testing.assert_allclose(way, np.array(axis) @ np.stack(pose.axes)[[0, 1, 2]], atol=1e-12)


def test_flying_aslant_is_no_faster_and_shift_is() -> None:
    distances = []

    for held, fast in ((["left"], False), (["left", "up"], False), (["left"], True)):
        camera = Camera(Pose((0, 0, 0)), pace=3.0)
        camera.advance(0.5, held, fast=fast)
        distances.append(float(np.linalg.norm(camera.pose.position)))

    assert distances == pytest.approx([1.5, 1.5, 6.0])


def test_opposite_keys_hold_the_camera() -> None:
    camera = Camera()

    assert camera.advance(1.0, ["left", "right"]) is False
    assert camera.pose == Pose()


@given(POSES, ANGLES, st.floats(-5, 5))
def test_nobody_looks_over_their_head(pose: Pose, yaw: float, pitch: float) -> None:
    camera = Camera(pose)

    camera.look(yaw, pitch)

    assert abs(camera.pose.pitch) < math.pi / 2
    assert camera.pose.position == pose.position


@given(POSES, POINTS, ANGLES, st.floats(-2, 2))
def test_what_is_circled_stays_where_it_is_on_the_screen(
    pose: Pose, centre: tuple[float, float, float], yaw: float, pitch: float
) -> None:
    camera, around = Camera(pose), np.array(centre)
    before = camera.project(around[None], *WINDOW)[0]
    assume(abs(before[2]) > 0.1)

    camera.orbit(around, yaw, pitch)

    np.testing.assert_allclose(
        camera.project(around[None], *WINDOW)[0], before, rtol=1e-6, atol=1e-4
    )


def test_approaching_goes_a_share_of_the_way_and_back() -> None:
    camera = Camera(Pose((0, 0, 10)))

    camera.approach(np.array([4.0, 0.0, 2.0]), 0.25)
    nearer = camera.pose.position
    camera.approach(np.array([4.0, 0.0, 2.0]), -1.0)

    assert nearer == (1, 0, 8)
    assert camera.pose.position == (-2, 0, 14)


def test_a_pose_can_look_the_same_way_at_something_else() -> None:
    pose = Pose((9, 9, 9), 0.3, -0.2).towards(np.array([1.0, 2.0, 3.0]), 5.0)

    at = Camera(pose).project(np.array([[1.0, 2.0, 3.0]]), *WINDOW)[0]

    assert at.tolist() == pytest.approx([WINDOW[0] / 2, WINDOW[1] / 2, 5.0])


@given(
    st.lists(POINTS, min_size=2, max_size=12, unique=True),
    ANGLES,
    PITCHES,
    st.floats(0.4, 3.0),
    st.floats(0.0, 0.3),
)
def test_what_is_framed_just_fits_the_window(
    corners: list[tuple[float, float, float]],
    yaw: float,
    pitch: float,
    aspect: float,
    margin: float,
) -> None:
    points = np.array(corners)
    assume(np.ptp(points, axis=0).max() > 0.1)
    height = 500.0

    camera = Camera(framing(points, yaw, pitch, aspect, margin))

    x, y, depth = camera.project(points, height * aspect, height).T
    seen = depth > 1e-6  # one of them may be where the camera is
    shares = np.stack([x / (height * aspect), y / height], axis=1)[seen]
    assert (depth > -1e-6).all()
    assert (shares >= margin - 1e-6).all()
    assert (shares <= 1 - margin + 1e-6).all()
    if seen.all():
        reached = np.concatenate([shares.min(axis=0) - margin, 1 - margin - shares.max(axis=0)])
        assert max(reached[[0, 2]].max(), 0) < 1e-5 or max(reached[[1, 3]].max(), 0) < 1e-5


# --- flight -------------------------------------------------------------------------------------


def all_inside(flight: Flight, points: np.ndarray, height: float = 800.0) -> bool:
    width = height * flight.aspect
    x, y, depth = flight.camera.project(points, width, height).T
    return bool(((x > 0) & (x < width) & (y > 0) & (y < height) & (depth > 0)).all())


@pytest.mark.parametrize("aspect", [0.5, 1.5, 3.0])
@pytest.mark.parametrize(("count", "how"), [(1, "line"), (2, "rows"), (40, "auto")])
def test_at_home_everything_is_seen_titles_too(count: int, how: str, aspect: float) -> None:
    places, flight = places_of(blocks(count), how), Flight()
    flight.aspect = aspect

    flight.home(places, at_once=True)

    titles = np.array([[x + TITLE_ROOM, y, z] for _, _, (x, y, z) in places.title_ends])
    assert all_inside(flight, np.concatenate([places.box(), titles.reshape(-1, 3)]))
    assert flight.at_home
    assert len(titles) == (0 if how == "line" else len(np.unique(places.rows)) - 2)


def test_a_visit_shows_the_plates_and_hides_what_stands_before_them() -> None:
    places, flight = places_of(NETWORK), Flight()
    flight.home(places, at_once=True)

    flight.visit([2, 3], places, at_once=True)

    assert all_inside(flight, places.box([2, 3]))
    assert (flight.focus_row, flight.at_home) == (1, False)


def test_of_plates_in_several_rows_the_nearest_is_not_hidden() -> None:
    places, flight = places_of({f"l{i}.weight": (9, 9) for i in range(5)}), Flight()

    flight.visit([4, 2, 3], places, at_once=True)

    assert flight.focus_row == 2


def test_plates_that_are_hidden_do_not_bring_the_near_plane_nearer() -> None:
    places, flight = places_of({f"l{i}.weight": (9, 9) for i in range(5)}), Flight()

    flight.visit([4], places, at_once=True)

    position = np.array(flight.camera.pose.position)
    distances = np.linalg.norm(places.box([4]) - position, axis=1)
    assert 0.2 * distances.min() * 0.7 < flight.camera.near < 0.2 * distances.min()


def test_visiting_nothing_changes_nothing() -> None:
    places, flight = places_of(NETWORK), Flight()
    flight.home(places, at_once=True)
    before = flight.camera.pose

    flight.visit([], places)

    assert flight.camera.pose == before
    assert flight.at_home


def test_going_somewhere_takes_a_moment_and_is_told_at_every_frame() -> None:
    places, flight, heard = places_of(NETWORK), Flight(), []
    flight.home(places, at_once=True)
    flight.moved.connect(lambda: heard.append(flight.camera.pose))

    flight.visit([0], places)
    while flight.moving:
        flight.advance(GLIDE_SECONDS / 4.5, places)

    assert len(heard) == 1 + 5
    assert all_inside(flight, places.box([0]))


def test_keys_fly_until_they_are_released() -> None:
    places, flight = places_of(NETWORK), Flight()
    flight.home(places, at_once=True)
    flight.visit([2], places, at_once=True)
    begin = flight.camera.pose.position

    flight.press("forward")
    flight.press("nonsense")
    flight.advance(0.1, places)
    there = flight.camera.pose.position
    flight.release("forward")
    flight.advance(0.1, places)

    assert there != begin
    assert flight.camera.pose.position == there
    assert (flight.moving, flight.focus_row, flight.at_home) == (False, 0, False)


def test_letting_go_of_everything_stops() -> None:
    flight = Flight()
    flight.press("left")
    flight.press("up")
    flight.fast = True

    flight.release_all()

    assert (flight.moving, flight.fast) == (False, False)


def test_flight_is_slower_near_a_plate() -> None:
    places, steps = places_of(NETWORK), []

    for distance in (1.0, 10.0):
        flight = Flight()
        flight.camera.jump(Pose((0.0, 0.5, distance)))
        flight.press("up")
        flight.advance(0.01, places)
        steps.append(flight.camera.pose.position[1] - 0.5)

    assert steps[1] > 5 * steps[0] > 0


def test_a_resize_at_home_shows_everything_again_and_elsewhere_nothing_moves() -> None:
    places, flight = places_of(blocks(40)), Flight()
    flight.home(places, at_once=True)

    flight.aspect = 0.4
    flight.settle(places)
    home = all_inside(flight, places.box())
    flight.orbit(30, 10, places)
    away = flight.camera.pose
    flight.aspect = 3.0
    flight.settle(places)

    assert home
    assert flight.camera.pose == away


@pytest.mark.parametrize(
    "action",
    [
        lambda flight, places: flight.orbit(5, 5, places),
        lambda flight, places: flight.look(5, 5, places),
        lambda flight, places: flight.pan(5, 5, 600, places),
        lambda flight, places: flight.approach(np.zeros(3), 1, places),
    ],
)
def test_the_mouse_takes_over_from_a_glide(action: object) -> None:
    places, flight, heard = places_of(NETWORK), Flight(), []
    flight.home(places, at_once=True)
    flight.visit([0], places)
    flight.advance(GLIDE_SECONDS / 3, places)
    flight.moved.connect(lambda: heard.append(1))

    action(flight, places)
    chosen = flight.camera.pose
    flight.advance(1.0, places)

    assert flight.camera.pose == chosen
    assert (heard, flight.at_home) == ([1], False)


def test_panning_moves_what_is_near_with_the_mouse() -> None:
    places, flight = places_of({"fc.weight": (40, 40)}), Flight()
    flight.camera.jump(Pose((0.0, 0.5, 4.0)))
    point = places.centre([0])[None]
    flight.settle(places)
    flight.look(0, 0, places)
    before = flight.camera.project(point, *WINDOW)[0]

    flight.pan(60, -30, WINDOW[1], places)

    moved = flight.camera.project(point, *WINDOW)[0] - before
    assert moved[0] > 30
    assert moved[1] < -15


def test_notches_there_and_back_again_add_up() -> None:
    places, flight = places_of(NETWORK), Flight()
    flight.home(places, at_once=True)
    target = places.centre([0])
    begin = np.linalg.norm(np.array(flight.camera.pose.position) - target)

    flight.approach(target, 3, places)

    nearer = np.linalg.norm(np.array(flight.camera.pose.position) - target)
    assert nearer == pytest.approx(0.85**3 * begin)


def test_circling_a_layer_keeps_it_where_it_is() -> None:
    places, flight = places_of(NETWORK), Flight()
    flight.home(places, at_once=True)
    flight.circle([2, 3], places)
    point = places.centre([2, 3])[None]
    before = flight.camera.project(point, *WINDOW)

    flight.orbit(80, -20, places)

    np.testing.assert_allclose(flight.camera.project(point, *WINDOW), before, rtol=1e-9)


@given(POSES, st.sampled_from([1, 30]))
def test_nothing_in_front_is_cut_off_but_what_is_very_near(pose: Pose, count: int) -> None:
    places, flight = places_of(blocks(count)), Flight()
    flight.camera.jump(pose)
    flight.look(0, 0, places)

    depth = flight.camera.project(places.box(), *WINDOW)[:, 2]

    away = np.linalg.norm(places.box() - pose.position, axis=1)
    assert depth.max() < flight.camera.far
    assert 0 < flight.camera.near <= max(0.2 * away.min(), 0.004)


def test_an_empty_network_can_be_flown_around() -> None:
    places, flight = arrange([]), Flight()

    flight.home(places, at_once=True)
    flight.press("back")
    flight.advance(0.1, places)
    flight.circle([], places)
    flight.orbit(3, 3, places)

    assert all(math.isfinite(value) for value in flight.camera.pose.position)


def test_the_angle_of_view_is_that_of_the_window_from_top_to_bottom() -> None:
    top, bottom = (Camera().ray(WINDOW[0] / 2, y, *WINDOW) for y in (0, WINDOW[1]))

    assert math.acos(float(top @ bottom)) == pytest.approx(FIELD_OF_VIEW)


# --- all plates, and one layer from the front -----------------------------------------------------

FEW_LAYERS = {
    "published": [(24, 16), (60, 40), (128, 320), (10, 128)],
    "dense": [(512, 784), (256, 512), (128, 256), (64, 128), (32, 64), (10, 32)],
    "odd": [(4, 400), (64, 64), (400, 4), (30, 30), (10, 64)],
    "twelve": [(30, 16), *[(192, 96)] * 5, *[(384, 192)] * 4, (256, 512), (10, 256)],
    "two": [(16, 16), (10, 16)],
}


@pytest.mark.parametrize("name", FEW_LAYERS)
@pytest.mark.parametrize("aspect", [0.7, 1.2, 2.0])
def test_home_shows_all_and_no_plate_hides_more_than_a_quarter_of_another(
    name: str, aspect: float
) -> None:
    places = places_of({f"l{i}.weight": s for i, s in enumerate(FEW_LAYERS[name])}, "line")
    flight = Flight()
    flight.aspect = aspect

    flight.home(places, at_once=True)

    camera = flight.camera
    at = camera.project(places.box(), 1000 * aspect, 1000)[:, :2] / (1000 * aspect, 1000)
    assert (at > 0.02).all()
    assert (at < 0.98).all()
    assert hidden_shares(np.array(camera.pose.position), places).max() <= 0.25
    assert np.ptp(at, axis=0).max() > 0.6


@pytest.mark.parametrize("aspect", [1.0, 1.35, 2.0])
@pytest.mark.parametrize("count", [12, 20])
def test_many_equal_layers_are_no_thin_band(count: int, aspect: float) -> None:
    shapes = {f"l{i}.weight": (256, 256) for i in range(count)}
    shares = []

    for how in ("line", "auto"):
        places, flight = places_of(shapes, how), Flight()
        flight.aspect = aspect
        flight.home(places, at_once=True)
        corners = flight.camera.project(places.box(), aspect, 1.0)[:, :2].reshape(4, count, 2)
        shares.append(float(np.ptp(corners, axis=0).prod(axis=1).sum()) / aspect)
        hidden = hidden_shares(np.array(flight.camera.pose.position), places)
        assert hidden.max() <= 0.25

    assert shares[1] > 1.3 * shares[0], "plates fill more of the window"


def test_a_layer_is_seen_from_the_front_until_one_goes_back() -> None:
    places, flight = places_of(NETWORK, "line"), Flight()
    flight.aspect = ASPECT
    flight.home(places, at_once=True)
    flight.orbit(30, 10, places)
    pose = flight.camera.pose

    flight.visit([2, 3], places, at_once=True)
    front = flight.camera.project(places.box([2, 3]), *WINDOW)
    left = [flight.leave(places, at_once=True) for _ in range(2)]

    np.testing.assert_allclose(front[:, 2], front[0, 2])  # parallel to the screen
    share = np.ptp(front[:, :2], axis=0) / WINDOW
    assert share.max() == pytest.approx(0.8, abs=0.01)
    assert left == [True, False]
    assert flight.camera.pose == pose
    assert flight.focus_row == 0
