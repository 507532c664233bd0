"""Picking: which weight is under the mouse, for every way in which parameters are laid out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewer_plates import EVERY_LAYOUT, WINDOW, one_behind_another, plates_of, shown

from accweight_viewer.model.arrangement import (
    Arrangement,
    arrange,
)
from accweight_viewer.model.camera import (
    Camera,
    framing,
)
from accweight_viewer.model.picking import Pick, met, texel_at

ASPECT = WINDOW[0] / WINDOW[1]


# --- picking ------------------------------------------------------------------------------------


def seen_from(places: Arrangement, plate: int, yaw: float, pitch: float) -> Camera:
    return Camera(framing(places.box([plate]), yaw, pitch, ASPECT))


def picked(camera: Camera, places: Arrangement, x: float, y: float) -> tuple[int, float, float]:
    """Return what is met under a pixel while the first row is hidden."""
    hit = met(np.array(camera.pose.position), camera.ray(x, y, *WINDOW), places, 1)
    assert hit is not None
    return hit


@pytest.mark.parametrize("name", EVERY_LAYOUT)
@pytest.mark.parametrize("view", [(0.0, 0.0), (0.9, -0.5), (-0.3, 0.4), (math.pi + 0.4, 0.1)])
def test_every_weight_is_picked_where_it_is_drawn(name: str, view: tuple[float, float]) -> None:
    layers = shown({"other.weight": (30, 40), f"{name}.weight": EVERY_LAYOUT[name]})
    places, plate = arrange(layers, "line"), plates_of(layers)[1]
    camera = seen_from(places, 1, *view)
    (left, top, z), (width, height) = places.corners[1], places.sizes[1]
    rows, cols = plate.size
    chance = np.random.default_rng(0)
    indices = list(np.ndindex(plate.parameter.shape))
    chosen = [indices[i] for i in chance.permutation(len(indices))[:60]]

    for index in chosen:
        row, col = plate.layout.texel(index)
        centre = [[left + width * (col + 0.5) / cols, top - height * (row + 0.5) / rows, z]]
        x, y, _ = camera.project(np.array(centre), *WINDOW)[0]
        number, across, down = picked(camera, places, x, y)
        pick = Pick(0, plate, *texel_at(plate, across, down))

        assert (number, pick.row, pick.col) == (1, row, col)
        assert pick.index == tuple(index)


@pytest.mark.parametrize("name", ["conv", "transposed", "conv 1d", "conv 3d", "depthwise"])
def test_gaps_between_kernels_are_no_weights(name: str) -> None:
    plate = plates_of(shown({"conv.weight": EVERY_LAYOUT[name]}))[0]
    texels = itertools.product(range(plate.size[0]), range(plate.size[1]))

    picks = [Pick(0, plate, *texel) for texel in texels]

    found = [pick.index for pick in picks if pick.index is not None]
    assert sorted(found) == list(np.ndindex(plate.parameter.shape))
    assert len(found) < len(picks)
    assert {pick.described() for pick in picks if pick.index is None} == {"between weights"}


@pytest.mark.parametrize(
    ("name", "index", "words"),
    [
        ("matrix", (2, 5), "output 2, input 5"),
        ("matrix, inputs first", (2, 5), "input 2, output 5"),
        ("conv", (7, 2, 3, 4), "output 7, input 2, row 3, column 4"),
        ("conv, kernel first", (3, 4, 2, 7), "row 3, column 4, input 2, output 7"),
        ("conv 1d", (7, 2, 3), "output 7, input 2, column 3"),
        ("conv 3d", (3, 1, 2, 1, 4), "output 3, input 1, kernel 2, row 1, column 4"),
        ("lstm, two directions", (1, 30, 7), "direction 1, output 30, input 7"),
    ],
)
def test_an_index_is_told_in_words(name: str, index: tuple[int, ...], words: str) -> None:
    plate = plates_of(shown({"l.weight": EVERY_LAYOUT[name]}))[0]

    pick = Pick(0, plate, *plate.layout.texel(index))

    assert pick.index == index
    assert pick.described() == words


def test_without_a_picture_no_weight_is_meant() -> None:
    plate = plates_of(shown({"l.weight": (6, 9)}, pictured=False))[0]

    pick = Pick(0, plate, 3, 4)

    assert (pick.index, pick.described()) == (None, "no picture stored")


def test_the_nearest_plate_is_picked_unless_it_is_hidden() -> None:
    places = one_behind_another(shown({f"l{i}.weight": (30, 30) for i in range(4)}))
    origin, ahead = np.array([0.05, 0.4, 9.0]), np.array([0.0, 0.0, -1.0])

    hits = [met(origin, ahead, places, hidden) for hidden in range(5)]

    assert [hit and hit[0] for hit in hits] == [0, 1, 2, 3, None]


def test_from_behind_the_last_plate_is_the_nearest() -> None:
    places = one_behind_another(shown({f"l{i}.weight": (30, 30) for i in range(4)}))

    hit = met(np.array([0.05, 0.4, -99.0]), np.array([0.0, 0.0, 1.0]), places)

    assert hit is not None
    assert hit[0] == 3


@pytest.mark.parametrize(
    ("origin", "direction"),
    [
        ((0.0, 0.4, 9.0), (0.0, 0.0, 1.0)),  # looks away
        ((0.0, 0.4, 9.0), (1.0, 0.0, 0.0)),  # along the plates
        ((50.0, 0.4, 9.0), (0.0, 0.0, -1.0)),  # beside
        ((0.0, -0.1, 9.0), (0.0, 0.0, -1.0)),  # below
    ],
)
def test_beside_the_plates_nothing_is_picked(
    origin: tuple[float, float, float], direction: tuple[float, float, float]
) -> None:
    places = one_behind_another(shown({f"l{i}.weight": (30, 30) for i in range(4)}))

    assert met(np.array(origin), np.array(direction), places) is None


def test_where_nothing_stands_nothing_is_picked() -> None:
    assert met(np.zeros(3), np.array([0.0, 0.0, -1.0]), arrange([])) is None


@given(st.floats(0, 1), st.floats(0, 1))
def test_every_place_on_a_plate_is_a_texel_of_it(across: float, down: float) -> None:
    plate = plates_of(shown({"l.weight": (7, 11)}))[0]

    row, col = texel_at(plate, across, down)

    assert 0 <= row < 7
    assert 0 <= col < 11
    assert abs((row + 0.5) / 7 - down) <= 0.5 / 7 + 1e-9
    assert abs((col + 0.5) / 11 - across) <= 0.5 / 11 + 1e-9
