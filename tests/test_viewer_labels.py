"""Labels: what stands beside plates, and which of it there is room for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from thorough import up_to
from viewer_plates import (
    EVERY_LAYOUT,
    NETWORK,
    WINDOW,
    blocks,
    camera_on,
    one_behind_another,
    shown,
)

from accweight_viewer.model.arrangement import Arrangement, arrange
from accweight_viewer.model.camera import Camera, Pose, framing
from accweight_viewer.model.flight import Flight
from accweight_viewer.model.label_places import PlacedLabels, placed
from accweight_viewer.model.label_room import lie_across
from accweight_viewer.model.labels import FEW, Label, Tone, labels_of

SIZE = 60.0, 14.0


def scene(shapes: Mapping[str, object], how: str = "line") -> tuple[list[Label], Arrangement]:
    """Return the labels of plates, and their places."""
    layers = shown(shapes)
    places = one_behind_another(layers) if how == "line" else arrange(layers, how)
    return labels_of(layers, places), places


def sizes_of(labels: Sequence[Label]) -> np.ndarray:
    return np.array([(7.0 * len(label.text), 14.0) for label in labels]).reshape(-1, 2)


def shown_from(
    camera: Camera, labels: Sequence[Label], places: Arrangement, **options: object
) -> PlacedLabels:
    return placed(labels, sizes_of(labels), camera, WINDOW, places, **options)


def texts(labels: Sequence[Label], found: PlacedLabels) -> list[str]:
    return [labels[index].text for index in found.chosen]


# --- what they say ------------------------------------------------------------------------------


def test_a_layer_is_named_and_told_what_it_is() -> None:
    labels, _ = scene({"fc.weight": (40, 72)})

    assert [(c.text, c.tone, c.names, c.bold) for c in labels] == [
        ("linear 40x72", Tone.DIM, False, False),
        ("fc", Tone.INK, True, True),
    ]


def test_plates_are_named_where_a_layer_has_several() -> None:
    labels, _ = scene({"fc.weight": (40, 72), "fc.bias": (40,), "t": ()})

    found = [c.text for c in labels if not c.gives_way]
    assert found == ["linear 2 parameters", "fc", "weight", "bias", "other scalar", "t"]


def test_layers_of_a_line_are_numbered_between_input_and_output() -> None:
    labels, places = scene({"a.weight": (40, 72), "b.weight": (9, 9), "t": ()})

    on_ground = {c.text: c.anchor for c in labels if c.gives_way}
    depths = [z for _, _, z in on_ground.values()]
    assert list(on_ground) == ["input", "1", "2", "3", "output"]
    assert depths == sorted(depths, reverse=True)
    right = places.corners[:, 0] + places.sizes[:, 0]
    assert all(on_ground[str(row + 1)][0] > right[row] for row in range(3))


def test_gates_stand_beside_their_rows() -> None:
    labels, places = scene({"lstm.weight": EVERY_LAYOUT["lstm"]})

    gates = [c for c in labels if c.text in ("i", "f", "g", "o")]
    (left, top, z), (_, height) = places.corners[0], places.sizes[0]
    assert [c.text for c in gates] == ["i", "f", "g", "o"]
    assert {(c.anchor[0], c.anchor[2]) for c in gates} == {(left, z)}
    shares = [(top - c.anchor[1]) / height for c in gates]
    assert shares == pytest.approx([1 / 8, 3 / 8, 5 / 8, 7 / 8])
    assert {c.height for c in gates} == {height / 4}


def test_what_one_run_alone_has_is_marked_and_says_which() -> None:
    layers = shown({"a.weight": (4, 4), "b.weight": (4, 4)})

    labels = labels_of(layers, arrange(layers), {"a": "", "b": "second"})

    details = {c.layer: (c.text, c.tone) for c in labels if c.detail}
    assert details["a"] == ("linear 4x4", Tone.DIM)
    assert details["b"] == ("linear 4x4 \N{BULLET} only in second", Tone.MARK)


def test_layers_of_a_row_leave_out_what_its_title_says() -> None:
    labels, places = scene(blocks(3), "rows")

    titles = [c.text for c in labels if c.layer == ""]
    names = {c.layer: c.text for c in labels if c.names}
    assert titles == [title for _, title, _ in places.titles] != []
    assert names["h.1.mlp"] == "mlp"
    assert names["embed"] == "embed"


def test_long_names_keep_their_end() -> None:
    name = "model." + "very_" * 30 + "deep.projection"
    labels, _ = scene({f"{name}.weight": (4, 4)})

    text = next(c.text for c in labels if c.names)

    assert text == "\N{HORIZONTAL ELLIPSIS}projection"


def test_few_layers_are_always_named_and_many_where_they_are_large() -> None:
    leasts = []

    for count in (FEW, FEW + 1):
        labels, _ = scene({f"l{i}.weight": (4, 4) for i in range(count)})
        leasts.append({c.least for c in labels if c.names})

    assert leasts[0] == {0}
    assert min(leasts[1]) > 0


@pytest.mark.parametrize("name", ["h.0.a\nb", " ", "...", "\N{GREEK SMALL LETTER ALPHA}", "1.2.3"])
def test_odd_names_are_labels_like_others(name: str) -> None:
    labels, _ = scene({f"{name}.weight": (4, 4), f"{name}.bias": (4,)})

    assert [c.text for c in labels if c.names] == [name]
    assert [c.text for c in labels if not c.names and not c.detail] == ["weight", "bias"]


# --- where they are -----------------------------------------------------------------------------


def test_names_stand_above_their_plate_and_details_between() -> None:
    labels, places = scene({"fc.weight": (40, 40)})
    camera = camera_on(places, 0)

    found = shown_from(camera, labels, places)

    corner = camera.project(places.corners[:1], *WINDOW)[0]
    at = dict(zip(texts(labels, found), found.at, strict=True))
    assert at["fc"][:2] == pytest.approx([corner[0], corner[1] - 17 - 5 - 14], abs=0.51)
    assert at["linear 40x40"][:2] == pytest.approx([corner[0], corner[1] - 5 - 14], abs=0.51)
    assert at["fc"][2] == pytest.approx(corner[2])


def test_texts_stand_on_whole_pixels() -> None:
    labels, places = scene(NETWORK)

    found = shown_from(camera_on(places, 0, yaw=0.3), labels, places)

    assert len(found.chosen) > 2
    np.testing.assert_array_equal(found.at[:, :2], np.rint(found.at[:, :2]))


@given(
    st.tuples(st.floats(-5, 5), st.floats(-1, 4), st.floats(-40, 8)),
    st.floats(-3.1, 3.1),
    st.floats(-1.2, 1.2),
    st.sampled_from(["line", "rows"]),
    st.sampled_from([None, "h.1.k", "embed", "nothing"]),
)
@example((0.0, 0.0, 2.2250738585072014e-308), -1.0, 1.0, "line", None)  # in the plane of a plate
@settings(max_examples=up_to(60))
def test_no_label_covers_another_or_lies_behind_or_beside(
    position: tuple[float, float, float],
    yaw: float,
    pitch: float,
    how: str,
    selected: str | None,
) -> None:
    labels, places = scene(blocks(4), how)
    camera = Camera(Pose(position, yaw, pitch))
    sizes = sizes_of(labels)

    found = shown_from(camera, labels, places, selected=selected)

    boxes = np.concatenate([found.at[:, :2], found.at[:, :2] + sizes[found.chosen]], axis=1)
    for one in range(len(boxes)):
        left, top, right, bottom = boxes[one]
        assert (right >= 0) & (bottom >= 0)
        assert (left <= WINDOW[0]) & (top <= WINDOW[1])
        for other in boxes[:one]:
            across = min(right, other[2]) - max(left, other[0])
            down = min(bottom, other[3]) - max(top, other[1])
            assert min(across, down) <= 5  # both have a margin of two pixels
    depths = camera.project(np.array([c.anchor for c in labels]), *WINDOW)[found.chosen, 2]
    assert (depths > camera.near).all()
    assert len(set(found.chosen)) == len(found.chosen)


def test_a_detail_never_stands_without_its_name() -> None:
    labels, places = scene({f"layer{i}.weight": (4, 4) for i in range(10)})
    flight = Flight()
    flight.home(places, at_once=True)

    for distance in (1.0, 3.0, 9.0):
        camera = camera_on(places, 0, distance, yaw=-0.4)
        found = [labels[index] for index in shown_from(camera, labels, places).chosen]

        named = {c.layer for c in found if c.names}
        assert {c.layer for c in found if c.detail} <= named
        assert named


def test_the_nearest_of_two_that_cover_each_other_is_shown() -> None:
    labels, places = scene({f"l{i}.weight": (4, 4) for i in range(6)})
    camera = camera_on(places, 0, 4.0)

    found = texts(labels, shown_from(camera, labels, places))

    assert "l0" in found
    assert "l1" not in found


def test_the_selected_layer_is_named_before_all_others() -> None:
    labels, places = scene({f"l{i}.weight": (4, 4) for i in range(6)})
    camera = camera_on(places, 0, 4.0)

    found = texts(labels, shown_from(camera, labels, places, selected="l3"))

    assert found[0] == "l3"
    assert "linear 4x4" in found[1]


def test_the_name_of_a_layer_stands_above_its_tallest_plate() -> None:
    labels, places = scene({"fc.a": (8, 256), "fc.b": (256, 8)})

    (name,) = (label for label in labels if label.names)

    assert name.anchor[1] == places.corners[:, 1].max()
    assert name.anchor[0] == places.corners[0, 0]


def test_the_selected_layer_is_named_even_where_it_is_small() -> None:
    labels, places = scene({f"l{i}.weight": (4, 4) for i in range(FEW + 1)})
    camera = camera_on(places, 0, 40.0)

    found = [
        texts(labels, shown_from(camera, labels, places, selected=name)) for name in (None, "l5")
    ]

    assert found[0] == []
    assert "l5" in found[1]


def test_hidden_rows_have_no_labels() -> None:
    labels, places = scene({f"l{i}.weight": (4, 4) for i in range(6)})
    camera = camera_on(places, 0, 4.0, yaw=-0.5)

    found = shown_from(camera, labels, places, nearer_hidden=3)

    rows = [labels[index].row for index in found.chosen]
    assert rows
    assert min(rows) == 3


def test_behind_the_camera_there_are_no_labels() -> None:
    labels, places = scene(NETWORK)
    camera = Camera(Pose((0, 0.5, -50)))

    assert shown_from(camera, labels, places).chosen.tolist() == []


@pytest.mark.parametrize("position", [(0.0, 0.5, 0.0), (-0.5, 1.0, 0.0)])
def test_a_camera_within_a_plate_is_no_error(position: tuple[float, float, float]) -> None:
    labels, places = scene({f"l{i}.weight": (40, 40) for i in range(3)})

    found = shown_from(Camera(Pose(position)), labels, places)

    assert 0 not in [labels[index].row for index in found.chosen]


def test_a_camera_that_looks_along_the_plates_is_no_error() -> None:
    labels, places = scene({f"l{i}.weight": (40, 40) for i in range(3)})

    found = texts(labels, shown_from(Camera(Pose((-3, 1, 0), math.pi / 2)), labels, places))

    assert "l0" in found


def dots(count: int = 6) -> tuple[list[Label], Arrangement]:
    """Return labels without extent in the middle of plates that stand in a line."""
    layers = shown({f"l{i}.weight": (4, 4) for i in range(count)})
    places = one_behind_another(layers)
    names = [c for c in labels_of(layers, places) if c.names]
    return [replace(c, anchor=(0.0, 0.5, c.anchor[2]), least=1.0) for c in names], places


def named_from(
    camera: Camera, labels: Sequence[Label], places: Arrangement, **options: object
) -> list[str]:
    found = placed(labels, np.ones((len(labels), 2)), camera, WINDOW, places, **options)
    return texts(labels, found)


@pytest.mark.parametrize(
    ("yaw", "names"),
    [(0.0, ["l0"]), (-0.9, ["l0", "l1", "l2", "l3"]), (0.9, ["l0", "l1", "l2", "l3"])],
)
def test_what_is_behind_a_plate_is_not_named(yaw: float, names: list[str]) -> None:
    labels, places = dots()

    found = named_from(camera_on(places, 0, 3.0, yaw), labels, places)

    assert found[: len(names)] == names
    assert (len(found) == 1) == (len(names) == 1)


@pytest.mark.parametrize("side", [-0.6, 0.6])
def test_a_plate_covers_what_is_behind_it_from_where_one_stands(side: float) -> None:
    labels, places = dots()

    found = named_from(Camera(Pose((side, 0.5, 3.0))), labels, places)

    assert found == ["l0"]


def test_what_is_hidden_covers_nothing() -> None:
    labels, places = dots()
    camera = camera_on(places, 0, 3.0)

    found = named_from(camera, labels, places, nearer_hidden=2)

    assert found == ["l2"]


def test_few_layers_and_the_selected_one_are_named_through_what_stands_before_them() -> None:
    labels, places = dots()
    camera = camera_on(places, 0, 3.0)

    few = [replace(label, least=0.0) for label in labels]
    selected = placed(labels, np.ones((6, 2)), camera, WINDOW, places, "l4")

    assert named_from(camera, few, places) == ["l0", "l1", "l2", "l3", "l4", "l5"]
    assert texts(labels, selected) == ["l4", "l0"]
    assert selected.at[0, 2] == 0 < selected.at[1, 2]


def test_no_labels_need_no_room() -> None:
    found = placed([], np.zeros((0, 2)), Camera(), WINDOW, arrange([]))

    assert found.chosen.tolist() == []
    assert found.at.shape == (0, 3)


# --- room -----------------------------------------------------------------------------------


def boxes_of(labels: list[Label], shown: PlacedLabels, sizes: np.ndarray) -> np.ndarray:
    """Return (n, 4) left, top, right and bottom of the labels that are shown."""
    return np.concatenate([shown.at[:, :2], shown.at[:, :2] + sizes[shown.chosen]], axis=1)


@pytest.mark.parametrize("count", [2, 6, 12])
def test_no_name_is_cut_at_the_edge_when_all_is_in_view(count: int) -> None:
    names = {f"layer_with_a_long_name_{n}.weight": (40, 60) for n in range(count)}
    layers = shown(names)
    places = arrange(layers)
    labels = labels_of(layers, places)
    flight = Flight()
    flight.aspect = WINDOW[0] / WINDOW[1]
    flight.home(places, at_once=True)
    sizes = sizes_of(labels)

    found = placed(labels, sizes, flight.camera, WINDOW, places)

    boxes = boxes_of(labels, found, sizes)
    assert len(boxes) > count
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= WINDOW).all()


def test_names_of_many_layers_lie_across_no_other_plate() -> None:
    labels, places = scene(blocks(8), "rows")
    flight = Flight()
    flight.aspect = WINDOW[0] / WINDOW[1]
    flight.home(places, at_once=True)
    sizes = sizes_of(labels)

    found = placed(labels, sizes, flight.camera, WINDOW, places)

    own = np.array([labels[i].own for i in found.chosen])
    named = own[:, 1] > own[:, 0]
    boxes = boxes_of(labels, found, sizes)[named]
    assert named.sum() >= 3, "some are still named"
    assert not lie_across(boxes, own[named], flight.camera, WINDOW, places).any()


def test_a_text_whose_upper_half_a_plate_hides_lies_across_it() -> None:
    layers = shown({"a.weight": (40, 40), "b.weight": (40, 40)})
    places = one_behind_another(layers)
    camera = Camera(framing(places.box([0]), 0.0, 0.0, WINDOW[0] / WINDOW[1]))
    foot = places.corners[:1] - [0, places.sizes[0, 1], 0]
    left, bottom = camera.project(foot, *WINDOW)[0, :2]
    boxes = np.array([[left + 20, bottom + y, left + 80, bottom + y + 15] for y in (-5, 3)])

    across = lie_across(boxes, np.array([(1, 2)] * 2), camera, WINDOW, places)

    assert across.tolist() == [True, False]


def test_texts_are_whole_before_plates_that_they_begin_or_end_across() -> None:
    labels, places = scene({"embed.weight": (64, 24), "gru.weight_ih_l0": (144, 24)})
    eyes = [(x, 1.6, 4.0) for x in np.linspace(-3, 3, 25)]

    over = []
    for eye in eyes:
        camera = Camera(Pose(eye, 0.0, 0.0))
        found = shown_from(camera, labels, places)
        boxes = boxes_of(labels, found, sizes_of(labels))
        own = np.array([labels[index].own for index in found.chosen]).reshape(-1, 2)
        cut = lie_across(boxes, own, camera, WINDOW, places, most=0.0)
        over += [found.at[at, 2] for at in np.flatnonzero(cut) if own[at, 1] > own[at, 0]]

    assert set(over) == {0.0}


def test_a_text_across_a_plate_of_another_layer_is_found() -> None:
    layers = shown({"a.weight": (40, 40), "b.weight": (40, 40)})
    places = one_behind_another(layers)
    camera = Camera(framing(places.box([0]), 0.0, 0.0, WINDOW[0] / WINDOW[1]))
    left, top = camera.project(places.corners[:1], *WINDOW)[0, :2]
    box = np.array([[left + 20, top + 20, left + 80, top + 35]])

    mine, foreign = (
        lie_across(box, np.array([own]), camera, WINDOW, places)[0] for own in ((0, 1), (1, 2))
    )

    assert (mine, foreign) == (False, True)
