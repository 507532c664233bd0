"""Keys of the window, wherever the focus is: flying, time, search, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore, QtTest, QtWidgets
from viewer_helpers import stored, walks
from window_driver import (
    KEY,
    OpenWindow,
    Pixels,
    click,
    middle_of,
    move_mouse,
    picture,
    plate_called,
    press_key,
    release_key,
    settle,
    texel_colour,
    type_key,
)

from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import Plate
from accweight_viewer.panes.layer_model import Column
from accweight_viewer.scene.view import SceneView
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

LAST = ("fc2", "embed")
"""Two layers of which something is seen from home."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, window_of: OpenWindow) -> MainWindow:
    return window_of(stored(tmp_path_factory.mktemp("keys"), "net"))


@pytest.fixture
def window(qtbot: Any, shared: MainWindow) -> Iterator[MainWindow]:
    """The window of the module as it opens: nothing selected, all in view."""
    with qtbot.waitActive(shared):
        shared.activateWindow()
    shared.scenes[0].setFocus()
    shared.flight.release_all()
    shared.flight.home(shared.scenes[0].content.places, at_once=True)
    settle(shared)
    yield shared
    shared.table.search.clear()
    shared.session.select_layer(None)


def focused() -> Any:
    return QtWidgets.QApplication.focusWidget()


def flies(window: MainWindow) -> bool:
    """Hold W where the focus is; tell whether the camera goes forward, and rests afterwards."""
    before = window.flight.camera.pose
    press_key(focused(), KEY.Key_W)
    held = window.flight.moving
    window.flight.advance(0.05, window.scenes[0].content.places)
    release_key(focused(), KEY.Key_W)
    return held and window.flight.camera.pose != before and not window.flight.moving


def brightest(scene: SceneView, seen: Pixels, plate: Plate) -> tuple[int, int]:
    """Return the texel of a plate that is brightest where nothing stands before it."""
    rows, cols = plate.size
    free = []
    for row, col in np.ndindex(rows, cols):
        at = scene.point_of(Pick(0, plate, row, col))
        around = [scene.pick_at(at.x() + away, at.y()) for away in (-3, 0, 3)]  # beside edges too
        if all(hit is not None and hit.plate == plate for hit in around):
            free.append((max(texel_colour(scene, seen, plate, row, col)), (row, col)))
    return max(free)[1]


@pytest.mark.parametrize("way", ["double click", "Enter"])
def test_keys_fly_after_going_to_a_layer_from_the_table(window: MainWindow, way: str) -> None:
    table = window.table.view
    row = window.table.model.row_of("fc1")
    place = table.visualRect(window.table.model.index(row, Column.LAYER)).center()
    table.setFocus()
    QtTest.QTest.mouseClick(table.viewport(), QtCore.Qt.MouseButton.LeftButton, pos=place)
    if way == "Enter":
        type_key(table, KEY.Key_Return)
    else:
        QtTest.QTest.mouseDClick(table.viewport(), QtCore.Qt.MouseButton.LeftButton, pos=place)
    settle(window)
    came = focused()

    flew = flies(window)

    assert came is table
    assert flew
    assert window.session.layer == "fc1", "the letter searched no name"


def test_keys_fly_after_enter_in_the_range(window: MainWindow) -> None:
    high = window.controls.high
    high.setFocus()
    QtTest.QTest.keyClicks(high, "0.5")
    in_field = window.flight.moving

    type_key(high, KEY.Key_Return)

    assert not in_field
    assert focused() is window.scenes[0]
    assert flies(window)


@pytest.mark.parametrize("pane", ["metric", "speed"])
def test_keys_fly_from_a_list_of_choices(window: MainWindow, pane: str) -> None:
    box = getattr(window.timeline, pane)
    box.setFocus()
    before = box.currentText()

    assert flies(window)
    assert box.currentText() == before


def test_letters_fly_nowhere_while_a_plate_is_searched(window: MainWindow) -> None:
    box = window.windows[0].header.box
    box.setFocus()

    QtTest.QTest.keyClicks(box, "wasdeq")

    assert not window.flight.moving
    assert "wasdeq" in box.currentText()
    type_key(box, KEY.Key_Escape)


@pytest.mark.parametrize("place", ["search", "table", "high", "plate", "metric", "button"])
def test_escape_leads_back_to_the_scene(window: MainWindow, place: str) -> None:
    places = {
        "search": window.table.search,
        "table": window.table.view,
        "high": window.controls.high,
        "plate": window.windows[0].header.box,
        "metric": window.timeline.metric,
        "button": window.timeline.buttons["loop"],
    }
    places[place].setFocus()

    type_key(focused(), KEY.Key_Escape)

    assert focused() is window.scenes[0]


def test_a_number_that_escape_leaves_is_not_taken(window: MainWindow) -> None:
    high, before = window.controls.high, window.session.settings
    high.setFocus()
    high.selectAll()
    QtTest.QTest.keyClicks(high, "0.123")

    type_key(high, KEY.Key_Escape)

    assert window.session.settings == before
    assert high.text() != "0.123"


def test_a_key_held_into_a_menu_flies_no_further(window: MainWindow) -> None:
    window.table.view.setFocus()
    press_key(focused(), KEY.Key_W)
    began = window.flight.moving

    menu = window.controls.view_button.menu()
    menu.popup(QtCore.QPoint(0, 0))
    ended = window.flight.moving
    menu.close()

    assert began
    assert not ended


# --- search ---------------------------------------------------------------------------------


def test_slash_a_name_and_enter_go_to_the_layer(window: MainWindow) -> None:
    type_key(focused(), KEY.Key_Slash)
    QtTest.QTest.keyClicks(focused(), "fc2")
    type_key(focused(), KEY.Key_Return)
    settle(window)

    plate = next(p for p in window.scenes[0].source.plates if p.name == "fc2.weight")
    assert window.session.layer == "fc2"
    assert window.flight.focus_row == window.scenes[0].content.places.rows[plate.number]
    assert flies(window)


def test_escape_clears_the_filter_from_anywhere(window: MainWindow) -> None:
    window.table.focus_search()
    QtTest.QTest.keyClicks(focused(), "fc")
    type_key(focused(), KEY.Key_Return)

    type_key(focused(), KEY.Key_Escape)

    assert window.table.search.text() == ""
    assert window.table.model.rowCount() == 6
    assert focused() is window.scenes[0]


def test_the_scene_dims_what_is_filtered_out(window: MainWindow) -> None:
    scene, kept, left = window.scenes[0], *(plate_called(window, f"{n}.weight") for n in LAST)
    before = picture(scene)
    at = {plate: brightest(scene, before, plate) for plate in (kept, left)}

    window.table.focus_search()
    QtTest.QTest.keyClicks(focused(), LAST[0])
    settle(window)

    seen = picture(scene)
    same, dimmed = (texel_colour(scene, seen, plate, *at[plate]) for plate in (kept, left))
    assert same == texel_colour(scene, before, kept, *at[kept])
    assert max(dimmed) < 0.4 * max(texel_colour(scene, before, left, *at[left]))
    type_key(focused(), KEY.Key_Escape)
    settle(window)
    assert np.array_equal(picture(scene), before)


def test_typing_in_the_chooser_of_a_picture_searches(qtbot: Any, window: MainWindow) -> None:
    flat = window.windows[1]
    box = flat.header.box
    click(box.lineEdit(), box.lineEdit().rect().center())
    qtbot.waitUntil(lambda: box.lineEdit().selectedText() != "")

    QtTest.QTest.keyClicks(focused(), "embed")
    typed = box.currentText()
    type_key(QtWidgets.QApplication.activePopupWidget() or focused(), KEY.Key_Return)

    assert typed == "embed"
    assert flat.plate is not None
    assert flat.plate.name == "embed.weight"


# --- words ----------------------------------------------------------------------------------


def test_speeds_are_offered_as_plain_numbers(window: MainWindow) -> None:
    speed = window.timeline.speed

    assert [speed.itemText(at) for at in (0, 1, 5)] == ["0.5 / s", "1 / s", "10 / s"]


def test_late_steps_are_written_with_a_space_in_the_status_bar(
    opened: OpenWindow, tmp_path: Path
) -> None:
    late = opened(stored(tmp_path, "late", walks(["a"], 2), steps=[0, 250_000]))
    scene, plate = late.scenes[0], plate_called(late, "a.weight")

    move_mouse(scene, middle_of(scene, plate, 1, 1))
    settle(late)

    assert late.status.text().endswith("step 250\N{NARROW NO-BREAK SPACE}000")
