"""Tiles: what is drawn is whole and no finer than can be seen, whatever is in memory by now."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import up_to
from viewer_plates import WINDOW, camera_on, every_tile, scene

from accweight_viewer.model.arrangement import Arrangement
from accweight_viewer.model.camera import FIELD_OF_VIEW, Camera, Pose
from accweight_viewer.model.plates import Plate
from accweight_viewer.model.texture_tiles import (
    MOST_TILES,
    SHARP_PIXELS,
    TILE,
    TextureTile,
    TilePlan,
    children,
    level_size,
    planned,
    root,
)

PLENTY = 1 << 20


class Everything:
    """As if all tiles were loaded."""

    def __contains__(self, tile: object) -> bool:
        """Tell that a tile is there, whichever."""
        return True


def plan_of(
    plates: Sequence[Plate],
    places: Arrangement,
    camera: Camera,
    loaded: Container[TextureTile] | None = None,
    cells: int = PLENTY,
) -> TilePlan:
    there = Everything() if loaded is None else loaded
    return planned(plates, places, camera, WINDOW, there, cells)


def texel_pixels(tile: TextureTile, plate: Plate, places: Arrangement, camera: Camera) -> float:
    """Return how wide the texels of a tile are where it is nearest to the camera."""
    top, bottom, left, right = tile.extent(plate)
    (x, y, z), (width, height) = places.corners[plate.number], places.sizes[plate.number]
    low, high = [x + left * width, y - bottom * height, z], [x + right * width, y - top * height, z]
    distance = np.linalg.norm(np.clip(camera.pose.position, low, high) - camera.pose.position)
    rows, cols = plate.size
    side = max(width / cols, height / rows) * (1 << tile.level)
    return float(side / distance * WINDOW[1] / 2 / math.tan(FIELD_OF_VIEW / 2))


# --- tiles of one picture -----------------------------------------------------------------------


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 4))
def test_the_coarsest_level_is_one_tile_and_children_divide_their_parent(
    rows: int, cols: int, base: int
) -> None:
    plate = scene((rows, cols), base=base)[0][0]
    tile = root(plate)

    while below := children(tile, plate):
        top, bottom, left, right = tile.extent(plate)
        extents = np.array([child.extent(plate) for child in below])
        areas = (extents[:, 1] - extents[:, 0]) * (extents[:, 3] - extents[:, 2])

        assert [child.parent for child in below] == [tile] * len(below)
        assert areas.sum() == pytest.approx((bottom - top) * (right - left))
        assert extents[:, 0].min() == top
        assert extents[:, 1].max() == bottom
        assert (areas > 0).all()
        tile = below[-1]

    assert max(level_size(plate, plate.coarsest)) <= TILE
    assert root(plate).extent(plate) == (0, 1, 0, 1)
    assert tile.level == plate.finest == base


def test_tiles_show_every_texel_of_their_level_once() -> None:
    plate = scene((150, 333))[0][0]

    for level in range(plate.finest, plate.coarsest + 1):
        seen = np.zeros(level_size(plate, level), int)
        for tile in every_tile(plate):
            if tile.level == level:
                seen[tile.window(plate)] += 1
        assert (seen == 1).all()


def test_a_plate_without_a_picture_is_one_texel_as_large_as_all_of_it() -> None:
    plate = scene((300, 200), pictured=False)[0][0]

    tiles = every_tile(plate)

    assert tiles == [TextureTile(0, 0, 0, 0)]
    assert tiles[0].window(plate) == (slice(0, 1), slice(0, 1))
    assert tiles[0].extent(plate) == (0, 1, 0, 1)


# --- what to draw -------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), min_size=1, max_size=4),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
    st.floats(0.02, 2.0),
    st.integers(1, 400),
)
@settings(max_examples=up_to(60))
def test_what_is_drawn_covers_what_is_loaded_and_nothing_twice(
    shapes: list[tuple[int, int]], share: float, seed: int, distance: float, cells: int
) -> None:
    plates, places = scene(*shapes)
    tiles = [tile for plate in plates for tile in every_tile(plate)]
    chance = np.random.default_rng(seed)
    loaded = {tile for tile in tiles if chance.random() < share}
    wanted = min(cells, len(plates))

    plan = plan_of(plates, places, camera_on(places, 0, distance), loaded, cells)

    assert set(plan.drawn) <= set(plan.kept) <= loaded
    assert not set(plan.requested) & loaded
    assert len({*plan.kept, *plan.requested}) == len(plan.kept) + len(plan.requested) <= cells
    camera = camera_on(places, 0, distance)
    widths = [
        math.inf
        if tile == root(plates[tile.plate])
        else texel_pixels(tile.parent, plates[tile.plate], places, camera)
        for tile in plan.requested
    ]
    assert all(one >= other - 1e-6 for one, other in itertools.pairwise(widths))
    whole = [plate for plate in plates if root(plate) in plan.kept]
    assert len(whole) + sum(root(plate) in plan.requested for plate in plates) == wanted
    for plate in plates:
        drawn = np.zeros(plate.size, int)
        for tile in plan.drawn:
            if tile.plate == plate.number:
                side = TILE << tile.level
                row, col = tile.row * side, tile.col * side
                drawn[row : row + side, col : col + side] += 1
        assert (drawn == (plate in whole)).all()


@pytest.mark.parametrize(("plate", "distance"), [(0, 0.3), (1, 0.35), (2, 0.37)])
def test_visible_tiles_are_refined_until_their_texels_are_small(
    plate: int, distance: float
) -> None:
    plates, places = scene((3000, 2000), (500, 900), (900, 2, 7, 7))
    camera = camera_on(places, plate, distance, yaw=0.5)

    plan = plan_of(plates, places, camera)

    assert len({tile.level for tile in plan.drawn if tile.plate == plate}) > 1
    for tile in plan.drawn:
        picture = plates[tile.plate]
        pixels = texel_pixels(tile, picture, places, camera)
        if tile.level < picture.coarsest:
            assert texel_pixels(tile.parent, picture, places, camera) > SHARP_PIXELS * 0.999
        if pixels > SHARP_PIXELS * 1.001 and tile.level > picture.finest:
            assert not in_window(tile, picture, places, camera)


def in_window(tile: TextureTile, plate: Plate, places: Arrangement, camera: Camera) -> bool:
    """Tell whether some point of a tile is in the window, looking at many."""
    top, bottom, left, right = tile.extent(plate)
    (x, y, z), (width, height) = places.corners[plate.number], places.sizes[plate.number]
    across = np.linspace(x + left * width, x + right * width, 21)
    down = np.linspace(y - top * height, y - bottom * height, 21)
    points = np.stack([*np.meshgrid(across, down), np.full((21, 21), z)], axis=-1).reshape(-1, 3)
    at = camera.project(points, *WINDOW)
    inside = (at[:, :2] >= 0).all(axis=1) & (at[:, :2] <= WINDOW).all(axis=1) & (at[:, 2] > 0)
    return bool(inside.any())


def test_nothing_out_of_sight_is_refined() -> None:
    plates, places = scene(*[(2000, 2000)] * 5)
    camera = camera_on(places, 2, 0.2)

    plan = plan_of(plates, places, camera)

    for number in (0, 1):  # behind the camera
        assert [tile for tile in plan.drawn if tile.plate == number] == [root(plates[number])]
    fine = [tile for tile in plan.drawn if tile.plate == 2 and tile.level == 0]
    coarse = [tile for tile in plan.drawn if tile.plate == 2 and tile.level > 1]
    assert fine
    assert coarse
    assert not any(in_window(tile, plates[2], places, camera) for tile in coarse)


@given(
    st.tuples(st.floats(-4, 4), st.floats(-2, 3), st.floats(-6, 6)),
    st.floats(-3.1, 3.1),
    st.floats(-1.2, 1.2),
)
@settings(max_examples=up_to(60))
def test_what_is_in_the_window_is_never_left_coarse(
    position: tuple[float, float, float], yaw: float, pitch: float
) -> None:
    plates, places = scene((600, 400), (100, 900), (300, 300))
    camera = Camera(Pose(position, yaw, pitch))

    plan = plan_of(plates, places, camera)

    for tile in plan.drawn:
        plate = plates[tile.plate]
        if tile.level > plate.finest and in_window(tile, plate, places, camera):
            assert texel_pixels(tile, plate, places, camera) <= SHARP_PIXELS * 1.001


def test_who_stands_beside_a_plate_and_looks_along_it_sees_it_fine() -> None:
    plates, places = scene((600, 400))
    camera = Camera(Pose((0.1, 0.5, 0.02), math.pi / 2 - 0.05))

    plan = plan_of(plates, places, camera)

    seen = [tile for tile in plan.drawn if in_window(tile, plates[0], places, camera)]
    assert seen
    assert {tile.level for tile in seen} == {0}


def test_no_more_tiles_are_drawn_than_there_may_be() -> None:
    plates, places = scene(*[(60_000, 60_000)] * 12)
    camera = camera_on(places, 0, 0.05)
    wide = 16_000.0, 12_000.0

    plan = planned(plates, places, camera, wide, Everything(), PLENTY)

    assert MOST_TILES - 4 < len(plan.drawn) <= MOST_TILES


def test_where_room_is_short_the_nearest_plate_is_refined() -> None:
    plates, places = scene(*[(128, 128)] * 3)

    drawn = {}
    for near, yaw in ((0, 0.0), (2, math.pi)):
        plan = plan_of(plates, places, camera_on(places, near, yaw=yaw), cells=3 + 4)
        drawn[near] = [tile.plate for tile in plan.drawn if tile.level == 0]

    assert drawn == {0: [0] * 4, 2: [2] * 4}


def test_more_plates_than_tiles_are_still_all_drawn() -> None:
    plates, places = scene(*[(200, 200)] * (MOST_TILES + 20))

    plan = plan_of(plates, places, camera_on(places, 0))

    assert plan.drawn == tuple(root(plate) for plate in plates)


def test_more_plates_than_cells_are_drawn_where_they_are_seen_best() -> None:
    plates, places = scene(*[(100, 100)] * 9)

    plan = plan_of(plates, places, camera_on(places, 3, 0.2), set(), cells=4)

    assert [tile.plate for tile in plan.requested] == [3, 4, 5, 6]


def test_what_is_not_ready_has_no_tiles() -> None:
    plates, places = scene((100, 100), (50, 50), ready=False)

    plan = plan_of(plates, places, camera_on(places, 0))

    assert plan == TilePlan((), (), ())


def test_whole_pictures_are_wished_for_before_details_and_the_largest_texels_before_others() -> (
    None
):
    plates, places = scene((900, 900), (900, 900), (900, 900))
    loaded = {root(plates[0]), root(plates[1])}
    camera = camera_on(places, 0)

    plan = plan_of(plates, places, camera, loaded)

    assert plan.requested[0] == root(plates[2])
    assert [tile.plate for tile in plan.requested[1:]] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert set(plan.drawn) == loaded


def test_a_tile_is_drawn_until_all_that_replace_it_are_loaded() -> None:
    plates, places = scene((120, 120))
    whole = root(plates[0])
    below = children(whole, plates[0])
    camera = camera_on(places, 0)

    some = plan_of(plates, places, camera, {whole, *below[:3]})
    all_four = plan_of(plates, places, camera, {whole, *below})

    assert (some.drawn, some.requested) == ((whole,), (below[3],))
    assert set(some.kept) == {whole, *below[:3]}
    assert (set(all_four.drawn), all_four.requested) == (set(below), ())
    assert set(all_four.kept) == {whole, *below}


def test_a_huge_picture_costs_no_more_than_its_window() -> None:
    plates, places = scene((250_000, 150_000))
    camera = camera_on(places, 0, 0.001)

    plan = plan_of(plates, places, camera)

    assert {tile.level for tile in plan.drawn} >= {0}
    assert len(plan.drawn) < 400
