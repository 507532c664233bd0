"""Where the panes are at any size of the window: nothing squeezed, cut off, or out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyqtgraph.Qt import QtTest, QtWidgets
from viewer_helpers import stored
from window_driver import (
    KEY,
    OpenWindow,
    click,
    colour_at,
    go_to,
    middle_of,
    picture,
    plate_called,
    rgb,
    settle,
    type_key,
)

from accweight_viewer.layout import LEAST_PICTURE
from accweight_viewer.theme import DARK
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

SIZES = [(1600, 1000), (1280, 720), (1000, 700), (640, 480)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, window_of: OpenWindow) -> MainWindow:
    folder = tmp_path_factory.mktemp("layout")
    return window_of(stored(folder, "first"), stored(folder, "second"), size=(1280, 720))


@pytest.fixture
def window(qtbot: Any, shared: MainWindow) -> Iterator[MainWindow]:
    with qtbot.waitActive(shared):
        shared.activateWindow()
    yield shared
    shared.session.select_layer(None)
    shared.resize(1280, 720)
    settle(shared)


def resized(window: MainWindow, size: tuple[int, int]) -> None:
    window.resize(*size)
    settle(window)


@pytest.mark.parametrize("size", SIZES)
def test_flat_pictures_are_large_enough_or_absent(
    window: MainWindow, size: tuple[int, int]
) -> None:
    resized(window, size)

    shown = [flat for flat in window.windows if flat.isVisible()]
    assert all(flat.view.height() >= LEAST_PICTURE for flat in shown)
    assert len(shown) == {1600: 2, 1280: 1, 1000: 1, 640: 0}[size[0]]


@pytest.mark.parametrize("size", SIZES)
def test_every_control_is_in_the_row_or_in_the_panel(
    window: MainWindow, size: tuple[int, int]
) -> None:
    resized(window, size)

    row = window.controls.row
    outside = [group for group in row.groups if group.wanted and group not in row.inside]
    for group in row.inside:
        assert group.geometry().right() <= row.width()
        assert group.width() >= group.sizeHint().width()
    assert row.more.isVisible() == bool(outside)
    click(row.more, row.more.rect().center())
    assert all(group.isVisible() for group in outside)
    row.panel.hide()
    switch = window.controls.switches["plane"]
    click(switch.buttons["max"], switch.buttons["max"].rect().center())
    assert window.session.settings.plane == "max"
    window.session.change(plane="auto")


def test_all_parts_give_way_when_the_window_shrinks(window: MainWindow) -> None:
    resized(window, (1600, 1000))
    across, whole = (window.layout_of_panes.splitters[name] for name in ("across", "whole"))
    before = across.sizes(), whole.sizes()

    resized(window, (1200, 760))

    assert all(now < was for now, was in zip(across.sizes(), before[0], strict=True))
    assert all(now < was for now, was in zip(whole.sizes(), before[1], strict=True))


def test_values_of_a_weight_take_room_while_one_is_picked(window: MainWindow) -> None:
    before = window.readout.isVisible()
    go_to(window, "fc1")
    scene = window.scenes[0]

    click(scene, middle_of(scene, plate_called(window, "fc1.weight"), 3, 3))
    settle(window)

    assert not before
    assert window.readout.isVisible()
    assert window.readout.height() >= window.readout.minimumSizeHint().height()


def test_a_picture_takes_the_place_of_the_scene_and_gives_it_back(window: MainWindow) -> None:
    flat, scene = window.windows[0], window.scenes[0]
    place = window.layout_of_panes.splitters["across"].widget(1)
    before = flat.view.width()

    click(flat.header.enlarge, flat.header.enlarge.rect().center())
    settle(window)

    assert not scene.isVisible()
    assert place.isAncestorOf(flat)
    assert flat.view.width() > 1.5 * before
    type_key(QtWidgets.QApplication.focusWidget(), KEY.Key_Escape)
    settle(window)
    assert scene.isVisible()
    assert flat.view.width() == pytest.approx(before, abs=3)
    assert not flat.header.enlarge.isChecked()
    assert colour_at(picture(scene), 2, 2) == rgb(DARK.page), "the scene is drawn again"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_parts_can_be_switched_off(window: MainWindow, part: int) -> None:
    widget = (window.table, window.windows[0], window.timeline)[part]
    wide = window.scenes[0].width() * window.scenes[0].height()
    action = window.controls.parts[part]
    assert widget.isVisible()

    action.trigger()
    settle(window)

    assert not widget.isVisible()
    assert window.scenes[0].width() * window.scenes[0].height() > wide
    action.trigger()
    settle(window)
    assert widget.isVisible()
    QtTest.QTest.qWait(0)
