"""Colours: where a change lies between dark and bright, forth and back, and what maps look like."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accweight_core.colours.scale import DECADES, ENTRIES, ColourScale, colour_table
from accweight_core.colours.themes import DARK, LIGHT, Theme

GREY = colour_table("grey")
MAPS = ("grey", "viridis", "magma", "difference", "difference_light")

SCALES = st.builds(
    lambda high, share, logarithmic, signed: ColourScale(
        GREY, logarithmic, 0.0 if signed else high * share, high, signed
    ),
    st.floats(1e-6, 1.0),
    st.floats(0.0, 0.9),
    st.booleans(),
    st.booleans(),
)
CHANGES = st.floats(-1.0, 1.0, width=32)


# --- positions --------------------------------------------------------------------------------


def test_linear_positions_go_from_low_to_high_and_end_there() -> None:
    scale = ColourScale(GREY, low=0.25, high=0.75)

    positions = scale.positions([0.0, 0.25, 0.5, 0.75, 1.0])

    assert positions.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_every_decade_takes_the_same_part_of_a_logarithmic_map() -> None:
    scale = ColourScale(GREY, logarithmic=True, high=0.5)

    positions = scale.positions([0.5, 0.05, 0.005, 0.0005, 0.00005, 0.0])

    np.testing.assert_allclose(positions, [1, 0.75, 0.5, 0.25, 0, 0], atol=1e-6)


def test_a_logarithmic_map_spans_four_decades_unless_low_says_less() -> None:
    without, with_low = (ColourScale(GREY, logarithmic=True, low=low) for low in (0.0, 0.1))

    floors = [without.floor, with_low.floor]

    assert floors == [pytest.approx(10.0**-DECADES), pytest.approx(0.1)]


def test_no_difference_is_in_the_middle_and_both_signs_are_mirrored() -> None:
    scale = ColourScale(GREY, high=0.5, signed=True)

    positions = scale.positions([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])

    assert positions.tolist() == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_what_is_not_a_number_has_no_position(logarithmic: bool, signed: bool) -> None:
    scale = ColourScale(GREY, logarithmic, signed=signed)

    positions = scale.positions([np.nan, 0.5])

    assert np.isnan(positions).tolist() == [True, False]


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (0.9, 0.1), (1.0, 1e-6)])
def test_a_dark_end_above_the_bright_one_is_a_step_and_no_error(
    low: float, high: float, logarithmic: bool
) -> None:
    scale = ColourScale(GREY, logarithmic, low, high)

    positions = scale.positions([0.0, 0.9 * high, 1.1 * high])

    assert positions.tolist() == [0.0, 0.0, 1.0]


@given(SCALES, st.lists(CHANGES, min_size=1))
def test_more_change_never_lies_lower(scale: ColourScale, changes: list[float]) -> None:
    ordered = np.sort(np.array(changes, np.float32))

    positions = scale.positions(ordered)

    assert (np.diff(positions) >= 0).all()
    assert positions[0] >= 0
    assert positions[-1] <= 1


@given(SCALES, CHANGES)
def test_differences_of_two_signs_lie_equally_far_from_the_middle(
    scale: ColourScale, change: float
) -> None:
    mirrored = ColourScale(GREY, scale.logarithmic, 0.0, scale.high, signed=True)

    above, below = mirrored.positions([change, -change])

    assert above - 0.5 == pytest.approx(0.5 - below, abs=1e-6)


@given(SCALES, st.floats(0.0, 1.0))
def test_a_position_leads_back_to_its_change(scale: ColourScale, position: float) -> None:
    change = scale.value_at(position)

    assert float(scale.positions(change)) == pytest.approx(position, abs=2e-5)


# --- entries ----------------------------------------------------------------------------------


def test_entries_are_the_nearest_of_the_map_and_gaps_have_their_own() -> None:
    scale = ColourScale(GREY)

    entries = scale.entries([0.0, 1 / 254, 0.5, 1.0, 2.0, np.nan])

    assert entries.tolist() == [0, 1, 127, 254, 254, 255]


@given(SCALES, st.lists(CHANGES, min_size=1))
def test_entries_are_those_that_the_shader_takes(scale: ColourScale, changes: list[float]) -> None:
    given = np.array(changes, np.float32)

    entries = scale.entries(given)

    assert entries.tolist() == [int(p * np.float32(254) + 0.5) for p in scale.positions(given)]


# --- tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAPS)
def test_every_map_leaves_one_value_of_a_byte_for_gaps(name: str) -> None:
    table = colour_table(name)

    assert table.shape == (ENTRIES, 3) == (255, 3)
    assert table.dtype == np.uint8


def test_grey_has_as_many_greys_as_entries() -> None:
    channels = colour_table("grey").astype(int)

    assert (channels == channels[:, :1]).all()
    assert channels[0, 0] == 0
    assert channels[-1, 0] == 255
    assert (np.diff(channels[:, 0]) >= 1).all()


@pytest.mark.parametrize("name", ["viridis", "magma"])
def test_published_maps_are_met_within_five_of_255(name: str) -> None:
    published = mpl.colormaps[name](np.linspace(0, 1, ENTRIES))[:, :3] * 255

    table = colour_table(name)

    assert np.abs(table - published).max() <= 5


@pytest.mark.parametrize("name", ["difference", "difference_light"])
def test_differences_go_from_blue_through_grey_to_orange(name: str) -> None:
    first, middle, last = colour_table(name)[[0, 127, 254]].astype(int)

    assert first[2] - first[0] > 50
    assert last[0] - last[2] > 50
    assert np.ptp(middle) < 10


# --- legends ----------------------------------------------------------------------------------


def test_a_linear_legend_has_five_marks() -> None:
    ticks = ColourScale(GREY, high=0.5).ticks()

    assert ticks == [(0.0, "0"), (0.25, "0.125"), (0.5, "0.25"), (0.75, "0.375"), (1.0, "0.5")]


def test_a_logarithmic_legend_has_a_mark_at_every_power_of_ten() -> None:
    ticks = ColourScale(GREY, logarithmic=True, high=0.5).ticks()

    assert [text for _, text in ticks] == ["0.0001", "0.001", "0.01", "0.1"]


def test_the_ends_of_a_whole_number_of_decades_are_marked_too() -> None:
    ticks = ColourScale(GREY, logarithmic=True).ticks()

    assert [text for _, text in ticks] == ["0.0001", "0.001", "0.01", "0.1", "1"]


def test_a_logarithmic_legend_within_one_decade_is_marked_too() -> None:
    ticks = ColourScale(GREY, logarithmic=True, low=0.2, high=0.8).ticks()

    assert [text for _, text in ticks] == ["0.2", "0.283", "0.4", "0.566", "0.8"]


def test_a_legend_of_differences_says_both_signs() -> None:
    ticks = ColourScale(GREY, high=0.5, signed=True).ticks()

    assert [text for _, text in ticks] == ["-0.5", "-0.25", "0", "0.25", "0.5"]


def test_a_logarithmic_legend_of_differences_is_mirrored_around_none() -> None:
    ticks = ColourScale(GREY, logarithmic=True, high=0.5, signed=True).ticks()

    halves = ["-0.5", "-0.005", "0", "0.005", "0.5"]
    assert ticks == list(zip([0.0, 0.25, 0.5, 0.75, 1.0], halves, strict=True))


@given(SCALES)
def test_every_mark_stands_where_its_number_says(scale: ColourScale) -> None:
    ticks = scale.ticks()

    places = [position for position, _ in ticks]
    assert places == sorted(places)
    assert len(places) > 1
    for position, text in ticks:
        assert float(text) == pytest.approx(scale.value_at(position), rel=6e-3, abs=1e-12)
        assert -1e-9 <= position <= 1 + 1e-9


# --- lines ------------------------------------------------------------------------------------

VISION = {
    "all cones": np.eye(3),
    "no green": np.array(
        [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]
    ),
    "no red": np.array(
        [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]
    ),
}
"""What is seen of linear colours (Machado, Oliveira and Fernandes 2009)."""


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """Return a colour as it is seen, in CIE L*a*b*."""
    byte = np.array(list(bytes.fromhex(colour[1:]))) / 255
    linear = np.where(byte <= 0.04045, byte / 12.92, ((byte + 0.055) / 1.055) ** 2.4)
    rgb = np.clip(seen @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ rgb / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
def test_lines_are_told_apart_from_each_other_and_from_what_is_selected(
    theme: Theme, vision: str
) -> None:
    colours = [lab(colour, VISION[vision]) for colour in (*theme.curves, theme.accent)]

    apart = [float(np.linalg.norm(a - b)) for a, b in combinations(colours, 2)]
    assert min(apart) > 8
