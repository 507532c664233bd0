"""Places: where plates stand, alone, beside each other, in repeated blocks, and in two runs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewer_plates import NETWORK, blocks, places_of, plates_of, shown

from accweight_viewer.model.arrangement import (
    LARGEST,
    LONGEST,
    SMALLEST,
    TRUE_LARGEST,
    arrange,
)
from accweight_viewer.model.folding import folded_rows, merged_names
from accweight_viewer.model.ground import ground_ends, ground_lines, ground_marks, ground_segments
from accweight_viewer.model.plates import ShownLayer

LAYERS = st.lists(
    st.tuples(
        st.sampled_from(["h.0.", "h.1.", "h.2.", "", "stage/3/"]),
        st.sampled_from(["q", "k", "mlp", "norm"]),
        st.lists(st.integers(1, 300), max_size=4),
        st.integers(1, 6),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda layer: layer[:2],
).map(
    lambda drawn: shown(
        {
            f"{block}{name}.{n}": tuple(shape)
            for block, name, shape, count in drawn
            for n in "abcdef"[:count]
        }
    )
)
"""Layers of one to six plates of all shapes, some of them in repeated blocks."""

HOW = st.sampled_from(["auto", "line", "rows"])


# --- names in rows ----------------------------------------------------------------------------


def test_every_repeated_block_has_a_row_of_its_own() -> None:
    names = ["wte", "h.0.attn.q", "h.0.mlp", "h.1.attn.q", "h.1.mlp", "h.10.attn.q", "ln", "head"]

    rows = folded_rows(names)

    assert rows == [
        ["wte"],
        ["h.0.attn.q", "h.0.mlp"],
        ["h.1.attn.q", "h.1.mlp"],
        ["h.10.attn.q"],
        ["ln"],
        ["head"],
    ]


@pytest.mark.parametrize("separator", [".", "/", "_"])
def test_blocks_are_found_whatever_separates_their_names(separator: str) -> None:
    names = [separator.join(("net", block, part)) for block in "01" for part in "abc"]

    assert folded_rows(names) == [names[:3], names[3:]]


def test_numbers_that_name_a_single_block_are_no_blocks() -> None:
    names = [f"net.0.{letter}" for letter in "abcdefgh"]

    among_blocks = [*names[:2], "h.0.q", "h.0.k", "h.1.q", "h.1.k"]

    assert folded_rows(names) == [names[:2], names[2:4], names[4:6], names[6:]]
    assert folded_rows(among_blocks)[:3] == [names[:1], names[1:2], ["h.0.q", "h.0.k"]]


def test_blocks_of_many_layers_take_several_rows() -> None:
    names = [f"net.{block}.{number}" for block in "01" for number in range(50)]

    rows = folded_rows(names)

    assert {len(row) for row in rows} == {15, 5}


def test_no_layers_are_no_rows() -> None:
    assert folded_rows([]) == []


@given(
    st.lists(st.text("ab01._/\n \N{GREEK SMALL LETTER ALPHA}", min_size=1, max_size=9), unique=True)
)
def test_rows_hold_every_name_once_and_in_order(names: list[str]) -> None:
    rows = folded_rows(names)

    assert [name for row in rows for name in row if name] == names  # "" is an empty slot
    assert all(row[0] and row[-1] for row in rows)


def test_names_of_two_runs_follow_those_that_they_follow_in_their_own_run() -> None:
    merged = merged_names(["a", "b", "c"], ["x", "a", "y", "z", "c", "w"])

    assert merged == ["x", "a", "y", "z", "b", "c", "w"]


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.lists(st.sampled_from("abcdefgh"), unique=True),
)
def test_merged_names_keep_the_order_of_the_first_run(first: list[str], second: list[str]) -> None:
    merged = merged_names(first, second)

    assert sorted(merged) == sorted({*first, *second})
    assert [name for name in merged if name in first] == first
    for before, name in itertools.pairwise(second):
        if name not in first:
            assert merged.index(name) == merged.index(before) + 1


# --- plates in the world ------------------------------------------------------------------------


def test_a_line_runs_away_from_the_viewer_and_to_the_right() -> None:
    layers = shown(NETWORK)

    places = arrange(layers, "line")

    depths = [places.corners[plate.number, 2] for layer in layers for plate in layer.plates]
    assert depths[0] == depths[1] == 0
    assert depths[2] == depths[3] < 0
    assert places.rows.tolist() == [0, 0, 1, 1]
    assert (np.diff(places.spots[:, 0]) > 0).all()
    assert places.spots[0, 0] == pytest.approx(-places.spots[-1, 0])
    for row, layer in enumerate(layers):
        box = places.box([plate.number for plate in layer.plates])
        assert (box[:, 0].min() + box[:, 0].max()) / 2 == pytest.approx(places.spots[row, 0])
        assert box[:, 1].min() == pytest.approx(0)


def test_rows_stand_at_equal_distances() -> None:
    places = places_of({f"l{i}.weight": (2**i, 2**i) for i in range(8)}, "line")

    gaps = np.diff(places.corners[:, 2])

    np.testing.assert_allclose(gaps, gaps[0])
    assert gaps[0] < -places.sizes[:, 0].min()


@pytest.mark.parametrize(("count", "lines"), [(2, 1), (8, 1), (9, 2), (12, 2), (20, 3), (24, 3)])
def test_a_long_line_is_cut_into_shelves_that_are_read_like_lines_of_text(
    count: int, lines: int
) -> None:
    layers = shown({f"l{i}.weight": (30 + 9 * i, 40) for i in range(count)})

    places = arrange(layers)

    floors, at = np.unique(places.spots[:, 1], return_inverse=True)
    assert len(floors) == lines
    assert (np.diff(at) <= 0).all(), "the first layers are on the highest shelf"
    assert floors[0] == 0
    tops = [places.corners[places.rows == row, 1].max() for row in range(count)]
    for row, top in enumerate(tops):
        above = floors[floors > places.spots[row, 1] + 1e-9]
        assert top < min(above, default=math.inf), "a shelf is above what stands on the next"
    assert np.ptp(np.bincount(at)) <= 1, "as many on each"
    assert not arrange(layers, "line").has_shelves


@pytest.mark.parametrize("count", [9, 12, 24])
def test_the_line_on_the_ground_goes_on_along_every_shelf(count: int) -> None:
    places = arrange(shown({f"l{i}.weight": (30, 40) for i in range(count)}))
    marks, lines = ground_marks(places), ground_lines(places)

    assert len(lines) == len(np.unique(places.spots[:, 1]))
    np.testing.assert_allclose(marks[:, 1:], places.spots[:, 1:])
    np.testing.assert_array_equal(ground_ends(places), [lines[0, 0], lines[-1, 1]])
    right = [
        (places.corners[places.rows == row, 0] + places.sizes[places.rows == row, 0]).max()
        for row in range(count)
    ]
    assert (marks[:, 0] > right).all(), "it is beside the plates"
    segments = ground_segments(places)
    assert len(segments) == len(lines) + 2 + count, "an arrow at the end, and a tick for each"


def test_few_layers_stand_in_a_line_and_many_are_folded() -> None:
    few, many = places_of(blocks(4)), places_of(blocks(20))

    assert (few.folded, many.folded) == (False, True)
    assert few.rows.tolist() == list(range(14))
    assert many.rows.max() <= 21


@pytest.mark.parametrize("count", [40, 200])
def test_many_blocks_are_no_long_narrow_street(count: int) -> None:
    box = places_of(blocks(count)).box()

    across, depth = np.ptp(box[:, 0]), np.ptp(box[:, 2])

    assert 0.3 < depth / across < 4


def test_blocks_of_one_pattern_stand_in_columns() -> None:
    shapes = blocks(40)
    shapes["h.7.k.weight"] = (400, 10)  # of another shape in one of the blocks
    layers = shown(shapes)

    places = arrange(layers, "rows")

    columns: dict[int, list[float]] = {}
    for layer in layers:
        if layer.name.startswith("h."):
            number = layer.plates[0].number
            middle = round(float(places.centre([number])[0]), 6)
            columns.setdefault(int(places.rows[number]), []).append(middle)
    widest = max(columns.values(), key=len)
    assert len(columns) > 1
    assert all(middles == widest[: len(middles)] for middles in columns.values())


def test_blocks_have_titles_that_say_what_their_names_begin_with() -> None:
    places = places_of(blocks(2), "rows")

    assert [(row, title) for row, title, _ in places.titles] == [(1, "h.0"), (2, "h.1")]
    assert places.prefixes["h.1.mlp"] == "h.1."
    assert "embed" not in places.prefixes


def test_a_row_of_several_blocks_names_the_first_and_the_last() -> None:
    places = places_of(blocks(40), "rows")

    titles = [title for _, title, _ in places.titles]

    assert len(titles) == len(np.unique(places.rows)) - 2
    assert titles[0].startswith("h.0 \N{EN DASH} h.")
    assert titles[-1].endswith("h.39")
    assert places.prefixes["h.21.mlp"] == "h.21."


def test_titles_end_beside_the_last_plate_of_their_row() -> None:
    places = places_of(blocks(2), "rows")

    for row, _, (x, y, z) in places.title_ends:
        here = places.rows == row
        assert x == (places.corners[here, 0] + places.sizes[here, 0]).max()
        assert y == places.sizes[here, 1].max() / 2
        assert z == places.corners[here, 2][0]


def test_a_line_has_no_titles() -> None:
    assert places_of(blocks(2), "line").titles == ()


def test_layers_of_two_runs_stand_at_the_same_depth_whatever_the_other_lacks() -> None:
    names = ["a", "b", "c", "d"]
    first = arrange(shown({"a.weight": (4, 4), "d.weight": (4, 4)}), "line", slots=names)
    second = arrange(shown({f"{n}.weight": (4, 4) for n in "bcd"}), "line", slots=names)

    assert first.rows.tolist() == [0, 3]
    assert second.rows.tolist() == [1, 2, 3]
    assert first.corners[1, 2] == second.corners[2, 2]
    np.testing.assert_array_equal(first.spots, second.spots)


def test_two_runs_stand_on_shelves_at_the_same_heights_whatever_is_on_them() -> None:
    names = [f"l{i}" for i in range(12)]
    flat = shown({f"{name}.weight": (30, 40) for name in names})
    tall = shown({f"{name}.weight": (30 + 40 * (i > 3), 40) for i, name in enumerate(names[:10])})

    both = [
        arrange(layers, slots=names, beside=(flat, tall)) for layers in (flat, tall)
    ]  # fmt: skip

    assert both[0].has_shelves
    np.testing.assert_array_equal(both[0].spots, both[1].spots)
    for places in both:
        lower = places.rows > 5
        assert places.corners[lower, 1].max() < places.spots[0, 1], "none reaches the next shelf"


def test_plates_grow_slowly_within_limits() -> None:
    shapes = {"tiny": (1,), "small.weight": (9, 9), "mid.weight": (90, 90)}
    places = places_of({**shapes, "huge.weight": (200_000, 50_000)})

    sides = np.sqrt(places.sizes[:, 0] * places.sizes[:, 1])
    assert (np.diff(sides) > 0).all()
    assert sides[0] >= SMALLEST
    assert sides[-1] <= LARGEST


@given(LAYERS, HOW)
def test_plates_have_an_aspect_that_can_be_seen(layers: list[ShownLayer], how: str) -> None:
    places = arrange(layers, how)

    aspect = places.sizes[:, 0] / places.sizes[:, 1]
    assert (aspect <= LONGEST + 1e-9).all()
    assert (aspect >= 1 / LONGEST - 1e-9).all()


def test_at_true_scale_a_texel_is_equally_large_on_every_plate() -> None:
    layers = shown({**NETWORK, "scale": ()})

    places = arrange(layers, true_scale=True)

    texels = np.array([plate.size[::-1] for plate in plates_of(layers)])
    np.testing.assert_allclose(places.sizes / texels, (places.sizes / texels)[0, 0])
    assert places.sizes.max() == TRUE_LARGEST


@given(LAYERS, HOW, st.booleans())
def test_plates_of_a_row_never_cover_each_other(
    layers: list[ShownLayer], how: str, true_scale: bool
) -> None:
    places = arrange(layers, how, true_scale=true_scale)

    left, top = places.corners[:, 0], places.corners[:, 1]
    right, bottom = left + places.sizes[:, 0], top - places.sizes[:, 1]
    for one, other in itertools.combinations(range(len(left)), 2):
        if places.rows[one] == places.rows[other]:
            assert places.corners[one, 2] == places.corners[other, 2]
            assert min(right[one], right[other]) < max(left[one], left[other]) or min(
                top[one], top[other]
            ) < max(bottom[one], bottom[other])
    for row in np.unique(places.rows):
        floor = places.spots[row, 1]
        assert bottom[places.rows == row].min() == pytest.approx(floor, abs=1e-9)


def test_many_plates_of_a_layer_stand_on_each_other() -> None:
    places = places_of({f"lstm.weight_{n}": (32, 8) for n in "abcd"})

    lines = {round(float(y), 6) for y in places.corners[:, 1]}

    assert len(lines) == 2
    assert places.corners[0, 1] == places.corners[1, 1] > places.corners[2, 1]
    assert places.corners[0, 0] == places.corners[2, 0] < places.corners[1, 0]


def test_high_plates_of_a_layer_stand_beside_each_other() -> None:
    places = places_of({f"gru.weight_{n}": (96, 32) for n in "abcd"})

    assert len(set(places.corners[:, 1].tolist())) == 1
    assert (np.diff(places.corners[:, 0]) > places.sizes[:-1, 0]).all()


def test_a_network_without_layers_has_an_empty_place() -> None:
    places = arrange([])

    assert places.box().tolist() == [[0, 0, 0]]
    assert places.centre([]).tolist() == [0, 0, 0]
    assert places.title_ends == []


@pytest.mark.parametrize("how", ["line", "rows"])
def test_odd_names_have_places_like_others(how: str) -> None:
    names = ["h.0.a\nb", "h.1.a\nb", "\n", " ", "...", "h.0.\N{GREEK SMALL LETTER ALPHA}", "1.2.3"]
    layers = shown({f"{name}.weight": (3, 3) for name in names})

    places = arrange(layers, how)

    assert len(places.sizes) == len(names)
    assert np.isfinite(places.corners).all()
