"""The whole window: time, keys, selection, settings and files, with every pane in its place."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from pyqtgraph.Qt import QtCore, QtGui, QtTest, QtWidgets
from test_imports import BLOCKER
from viewer_helpers import stored, walks
from window_driver import (
    KEY,
    LEFT,
    NO_KEY,
    SHIFT,
    OpenWindow,
    alike,
    click,
    colour_at,
    contents,
    drag,
    edge_colours,
    go_to,
    middle_of,
    move_mouse,
    picture,
    pixels,
    plate_called,
    press_key,
    rgb,
    run_colour,
    settle,
    texel_colour,
    type_key,
    wrong_texels,
)

import accweight_core as aw
from accweight_viewer import command
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import Settings
from accweight_viewer.opening import opened_window
from accweight_viewer.panes.formatting import number_text
from accweight_viewer.panes.layer_model import Column
from accweight_viewer.preferences import Preferences
from accweight_viewer.theme import DARK, LIGHT
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

STEPS = [0, 10, 20, 50, 80]
TIME_KEYS = [
    (KEY.Key_Left, NO_KEY, 10),
    (KEY.Key_Right, NO_KEY, 50),
    (KEY.Key_BracketLeft, NO_KEY, 0),
    (KEY.Key_BracketRight, NO_KEY, 80),
    (KEY.Key_Left, SHIFT, 0),
    (KEY.Key_Right, SHIFT, 80),
]
"""Keys, and the step that they lead to from step 20."""

RANGES: list[dict[str, Any]] = [
    {"logarithmic": True},
    {"scope": "global"},
    {"fitted": False, "high": 0.3},
    {"low": 0.4},
    {"logarithmic": True, "low": 0.05, "scope": "global"},
]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("window"), "net", steps=STEPS)


def cell_point(window: MainWindow, layer: str) -> QtCore.QPoint:
    table = window.table
    row = table.model.row_of(layer)
    return table.view.visualRect(table.model.index(row, Column.LAYER)).center()


def cells(window: MainWindow, column: Column) -> list[str]:
    model = window.table.model
    return [model.index(row, column).data() for row in range(model.rowCount())]


# --- time -----------------------------------------------------------------------------------


def test_dragging_along_the_timeline_moves_every_pane(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"labels": False})
    session, plot = window.session, window.timeline.plot
    go_to(window, "fc2")
    plate = plate_called(window, "fc2.weight")
    scene, flat = window.scenes[0], window.windows[0]
    before, flat_before = picture(scene), pixels(flat.view.grab().toImage())
    last, second = (QtCore.QPoint(int(plot.image.x_at(at)), plot.height() // 2) for at in (4, 1))

    drag(plot, last, second.x() - last.x(), 0)
    settle(window)

    shown = aw.open_analysis(analysis).table().query("step == 10")["relative"].tolist()
    at = flat.view.position_of(3, 3)
    assert session.step == 10
    assert wrong_texels(window, plate) == []
    assert picture(scene).mean() < before.mean()
    assert cells(window, Column.FIRST) == [number_text(value) for value in shown]
    assert window.timeline.step_label.text() == "step 10"
    wanted = run_colour(session, session.runs[0], plate, 3, 3)
    assert alike(colour_at(pixels(flat.view.grab().toImage()), at.x(), at.y()), wanted)
    assert not alike(colour_at(flat_before, at.x(), at.y()), wanted)


def test_space_plays_and_pauses(qtbot: Any, opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"speed": 8.0, "loop": False})
    session = window.session
    heard: list[int] = []
    session.time_changed.connect(lambda: heard.append(session.step))

    type_key(window.scenes[0], KEY.Key_Space)
    began = session.cursor.playing
    qtbot.waitUntil(lambda: not session.cursor.playing)

    assert began
    assert heard == STEPS, "from the beginning, as it was at the end, and no step left out"


def test_space_pauses_on_the_checkpoint_that_is_shown(
    qtbot: Any, opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis, chosen={"speed": 20.0})
    session = window.session
    type_key(window.scenes[0], KEY.Key_Space)
    qtbot.waitUntil(lambda: session.cursor.position == 2)

    type_key(window.scenes[0], KEY.Key_Space)
    at = session.cursor.position
    qtbot.wait(150)

    assert not session.cursor.playing
    assert (session.cursor.position, session.cursor.phase) == (at, 0.0)


@pytest.mark.parametrize("pane", ["scene", "table"])
def test_keys_step_through_time_whatever_has_the_focus(
    opened: OpenWindow, analysis: Path, pane: str
) -> None:
    window = opened(analysis, size=(700, 500))
    focused = window.scenes[0] if pane == "scene" else window.table.view
    focused.setFocus()
    found = []

    for key, modifier, _ in TIME_KEYS:
        window.session.move_to_step(20)
        type_key(focused, key, modifier)
        found.append(window.session.step)

    assert found == [step for _, _, step in TIME_KEYS]


def test_time_stops_at_its_ends(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    scene = window.scenes[0]

    type_key(scene, KEY.Key_Right)
    last = window.session.step
    type_key(scene, KEY.Key_BracketLeft)
    type_key(scene, KEY.Key_Left)

    assert (last, window.session.step) == (80, 0)


class SteadyClock:
    """Passes the time of a frame whenever it is looked at, however long the machine took."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.02
        return self.now


def test_playing_is_smooth_and_the_picture_is_right_when_it_rests(
    qtbot: Any, opened: OpenWindow, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accweight_viewer.clock.time", SteadyClock())
    window = opened(analysis, chosen={"speed": 8.0, "loop": False, "labels": False})
    go_to(window, "fc2")
    plate = plate_called(window, "fc2.weight")
    colours = set()

    window.session.play()
    while window.session.cursor.playing:
        window.process()
        colours.add(texel_colour(window.scenes[0], picture(window.scenes[0]), plate, 2, 2))
    settle(window)

    assert len(colours) > len(STEPS), "there is more to see than the checkpoints themselves"
    assert wrong_texels(window, plate) == []


# --- keys that are typed ----------------------------------------------------------------------


def test_the_first_keys_fly(qtbot: Any, opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)

    focused = QtWidgets.QApplication.focusWidget()
    press_key(focused, KEY.Key_W)

    assert focused is window.scenes[0]
    assert window.flight.moving


def test_letters_typed_into_the_search_field_are_only_typed(
    qtbot: Any, opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    session, search = window.session, window.table.search
    session.move_to_step(20)
    settings, pose = session.settings, window.flight.camera.pose
    type_key(window.scenes[0], KEY.Key_Slash)
    focused = search.hasFocus()

    QtTest.QTest.keyClicks(search, "wasdqe lft[] /")
    type_key(search, KEY.Key_Left)
    type_key(search, KEY.Key_Home)
    qtbot.wait(50)

    assert focused
    assert search.text() == "wasdqe lft[] /"
    assert not window.flight.moving
    assert window.flight.camera.pose == pose
    assert session.settings == settings
    assert session.step == 20
    assert not session.cursor.playing


def test_space_presses_the_button_that_has_the_focus(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    button = window.timeline.buttons["loop"]
    button.setFocus(QtCore.Qt.FocusReason.TabFocusReason)

    type_key(button, KEY.Key_Space)

    assert not window.session.settings.loop
    assert not window.session.cursor.playing


def test_numbers_typed_into_the_range_are_only_typed(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    box = window.controls.high
    box.setFocus()
    box.selectAll()

    QtTest.QTest.keyClicks(box, "0.5")
    type_key(box, KEY.Key_Return)

    assert window.session.settings.high == 0.5
    assert not window.session.settings.fitted
    assert window.session.step == 80
    assert not window.flight.moving


def test_escape_and_enter_lead_from_the_search_field_to_the_table(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis)
    search = window.table.search
    type_key(window.scenes[0], KEY.Key_F, QtCore.Qt.KeyboardModifier.ControlModifier)
    found = search.hasFocus()
    QtTest.QTest.keyClicks(search, "fc")

    type_key(search, KEY.Key_Return)

    assert found
    assert window.table.view.hasFocus()
    assert cells(window, Column.LAYER) == ["fc1", "fc2"]


# --- selection --------------------------------------------------------------------------------


def test_a_click_in_the_table_selects_everywhere(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"labels": False})
    scene = window.scenes[0]
    plate = plate_called(window, "embed.weight")
    before = edge_colours(scene, plate)

    click(window.table.view.viewport(), cell_point(window, "embed"))
    settle(window)

    assert window.session.layer == "embed"
    assert rgb(DARK.accent) not in before
    assert rgb(DARK.accent) in edge_colours(scene, plate)
    assert window.windows[0].plate is not None
    assert window.windows[0].plate.name == "embed.weight"


def test_a_click_in_the_scene_selects_everywhere(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    scene, table = window.scenes[0], window.table
    plate = plate_called(window, "conv2.weight")

    click(scene, middle_of(scene, plate, 20, 10))
    settle(window)

    row = table.view.selectionModel().selectedRows()[0].row()
    assert table.model.name_at(row) == "conv2"
    assert window.windows[0].plate is not None
    assert window.windows[0].plate.name == "conv2.weight"
    assert window.readout.name.text().startswith("conv2.weight[")


def test_a_click_in_a_flat_picture_selects_everywhere(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, chosen={"labels": False})
    scene, flat = window.scenes[0], window.windows[0]
    go_to(window, "fc2")
    plate = plate_called(window, "fc2.weight")

    click(flat.view, flat.view.position_of(7, 9).toPoint())
    settle(window)

    assert window.session.pick == Pick(0, plate, 7, 9)
    seen = picture(scene)
    left, right = (scene.point_of(Pick(0, plate, 7, col)) for col in (8, 9))
    across = range(int(left.x()), int(right.x()) + 1)
    assert rgb(DARK.accent) in {colour_at(seen, x, right.y()) for x in across}
    assert window.readout.name.text() == "fc2.weight[7, 9]"


def test_a_double_click_in_the_table_flies_there(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    viewport, place = window.table.view.viewport(), cell_point(window, "fc2")

    click(viewport, place)
    QtTest.QTest.mouseDClick(viewport, LEFT, NO_KEY, place)
    settle(window)

    plate = plate_called(window, "fc2.weight")
    rows = window.scenes[0].content.places.rows
    assert window.flight.focus_row == rows[plate.number]


# --- settings ---------------------------------------------------------------------------------


def test_the_theme_repaints_everything_and_back(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    corners = []

    for _ in range(3):
        whole = pixels(window.grab_image())
        corners.append((colour_at(picture(window.scenes[0]), 2, 2), (whole.mean() > 128)))
        type_key(window.scenes[0], KEY.Key_T)
        settle(window)

    assert corners == [
        (rgb(DARK.page), False),
        (rgb(LIGHT.page), True),
        (rgb(DARK.page), False),
    ]


def test_every_colour_map_is_drawn_exactly(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, size=(700, 500), chosen={"labels": False})
    go_to(window, "lstm")
    plate, pictures = plate_called(window, "lstm.weight_ih_l0"), []

    for theme, colour_map in product(("dark", "light"), ("grey", "viridis", "magma")):
        window.session.change(colour_map=colour_map, theme=theme)
        settle(window)
        pictures.append(picture(window.scenes[0]))

        assert wrong_texels(window, plate) == [], (theme, colour_map)

    assert all((one != other).any() for one, other in pairwise(pictures))


def test_another_range_recolours_exactly(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, size=(700, 500), chosen={"labels": False})
    session = window.session
    session.move_to_step(20)
    go_to(window, "fc1")
    plate, plain, before = plate_called(window, "fc1.weight"), Settings(), picture(window.scenes[0])

    for change in RANGES:
        session.change(**change)
        settle(window)

        assert wrong_texels(window, plate) == [], change
        assert (picture(window.scenes[0]) != before).any(axis=2).mean() > 0.05, change
        session.change(**{name: getattr(plain, name) for name in change})


def test_l_switches_to_the_logarithm_and_back(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    before = picture(window.scenes[0])

    type_key(window.scenes[0], KEY.Key_L)
    settle(window)
    logarithmic = picture(window.scenes[0])
    type_key(window.scenes[0], KEY.Key_L)
    settle(window)

    assert (logarithmic != before).any()
    assert (picture(window.scenes[0]) == before).all()


def test_a_pooled_plate_shows_means_or_maxima(opened: OpenWindow, tmp_path: Path) -> None:
    path = stored(tmp_path, "wide", walks(["wide"], 3, size=600))
    window = opened(path, size=(700, 500), chosen={"labels": False, "colour_map": "grey"})
    scene, session = window.scenes[0], window.session
    plate = scene.source.plates[0]
    seen = []

    for plane in ("mean", "max"):
        session.change(plane=plane)
        settle(window)
        level = max(tile.level for tile in scene.content._plan.drawn)
        side = 1 << level
        run = session.runs[0]
        pooled = run.values(plate, level, plane, slice(2, 3), slice(0, 600), slice(0, 600))[0]
        wanted = pooled / run.scale(plate, session.settings.scope)
        at = 300 // side
        entries = session.colour_scale().entries(wanted[at - 2 : at + 3, at - 2 : at + 3])
        found = texel_colour(scene, picture(scene), plate, at * side + side // 2, 300)
        seen.append(found[0])
        assert level > 0
        assert entries.min() - 3 <= found[0] <= entries.max() + 3

    assert seen[1] > seen[0] + 20


def test_true_scale_and_rows_move_the_plates_and_keep_all_in_view(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis, chosen={"labels": False})
    scene = window.scenes[0]

    for change in ({"true_scale": True}, {"arrangement": "rows"}, {"arrangement": "line"}):
        window.session.change(**change)
        settle(window)

        x, y, _ = scene.flight.camera.project(
            scene.content.places.box(), scene.width(), scene.height()
        ).T
        assert ((x > 0) & (x < scene.width()) & (y > 0) & (y < scene.height())).all(), change
    go_to(window, "fc1")
    assert wrong_texels(window, plate_called(window, "fc1.weight")) == []


# --- the window itself ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(320, 240), (640, 480), (800, 600), (1200, 720), (1600, 1000)])
def test_a_window_has_the_size_that_is_asked_for_and_squeezes_nothing(
    opened: OpenWindow, analysis: Path, size: tuple[int, int]
) -> None:
    window = opened(analysis, size=size)

    shown = [pane for pane in (*window.windows, window.readout, window.table) if pane.isVisible()]

    assert (window.width(), window.height()) == size
    for pane in shown:
        assert pane.height() >= pane.minimumSizeHint().height(), pane
    grabbed = pixels(window.grab_image())
    assert grabbed.shape[:2] == (size[1], size[0])
    if size[0] >= 1600:
        assert len(shown) == 4


def test_panes_come_back_when_the_window_grows(opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis, size=(500, 360))
    hidden = [pane.isVisible() for pane in (*window.windows, window.readout)]

    window.resize(1300, 1000)
    settle(window)

    assert not all(hidden)
    assert all(pane.isVisible() for pane in (*window.windows, window.readout, window.table))


def test_a_bare_window_is_the_scene_with_its_title_step_and_legend(
    opened: OpenWindow, analysis: Path
) -> None:
    window = opened(analysis, size=(500, 400), bare=True)

    scene = window.scenes[0]

    around = window.caption.height() + window.legend.height()
    assert (scene.width(), scene.height()) == (500, 400 - around)
    assert window.caption.text() == "net   step 80"
    assert window.legend.isVisible()
    window.session.move_to_step(20)
    assert window.caption.text() == "net   step 20"
    assert not window.table.isVisible()
    assert not window.controls.isVisible()
    assert not window.timeline.isVisible()
    go_to(window, "conv1")
    assert wrong_texels(window, plate_called(window, "conv1.weight")) == []


def test_a_closed_window_rests(qtbot: Any, opened: OpenWindow, analysis: Path) -> None:
    window = opened(analysis)
    session = window.session

    window.close()
    session.move_to(0)
    session.change(theme="light")
    session.jump_to("fc1")
    qtbot.wait(100)

    assert not window.clock.timer.isActive()
    assert not window.growth.timer.isActive()


def test_windows_can_be_opened_one_after_another(opened: OpenWindow, analysis: Path) -> None:
    for _ in range(4):
        window = opened(analysis, size=(500, 400), chosen={"labels": False})

        go_to(window, "conv1")

        assert wrong_texels(window, plate_called(window, "conv1.weight")) == []
        window.close()


# --- files ------------------------------------------------------------------------------------


def test_the_viewer_writes_nothing_to_an_analysis(
    qtbot: Any, opened: OpenWindow, tmp_path: Path
) -> None:
    first, second = stored(tmp_path, "first"), stored(tmp_path, "second")
    before = contents(tmp_path)
    window = opened(first, second, chosen={"speed": 60.0, "loop": False})
    session, scene = window.session, window.scenes[0]

    session.play()
    qtbot.waitUntil(lambda: not session.cursor.playing)
    go_to(window, "fc1")
    click(scene, middle_of(scene, plate_called(window, "fc1.weight"), 3, 3))
    qtbot.waitUntil(lambda: window.readout.current_weight is not None, timeout=60_000)
    session.compare_as("difference")
    session.change(plane="max", scope="global", theme="light")
    settle(window)
    window.close()

    assert contents(tmp_path) == before


NAMES = ["<b>bold</b>.weight", "<img src=x>.weight", "a & b 100%s {0}.weight", "ü漢.weight"]


def tip_of(window: MainWindow, layer: str) -> str:
    table = window.table.model
    index = table.index(table.row_of(layer), Column.LAYER)
    return str(index.data(QtCore.Qt.ItemDataRole.ToolTipRole))


def shown(tip: str) -> str:
    """Return what a tool tip shows: Qt takes for markup what looks like it."""
    if not QtCore.Qt.mightBeRichText(tip):
        return tip
    document = QtGui.QTextDocument()
    document.setHtml(tip)
    return str(document.toPlainText())


def test_odd_names_stay_text(opened: OpenWindow, tmp_path: Path) -> None:
    series = [{name: torch.full((3, 3), float(step)) for name in NAMES} for step in range(3)]
    path = stored(tmp_path, "<b>run\n2", series)
    window = opened(path, path, chosen={"labels": True})
    scene = window.scenes[0]
    high = window.statusBar().height()

    for layer in window.session.layer_names:
        go_to(window, layer)
        plate = next(p for p in scene.source.plates if p.name.startswith(layer))
        click(scene, middle_of(scene, plate, 1, 1))
        move_mouse(scene, middle_of(scene, plate, 1, 1))
        settle(window)

        told = window.status.text().partition("   100 % of the layer's largest")
        assert told[0] == f"{plate.name}[1, 1]   output 1, input 1   moved 2"
        assert told[2] == " \N{MIDDLE DOT} step 2"
        assert window.statusBar().height() == high
        assert shown(window.readout.name.toolTip()) == f"{plate.name}[1, 1]"
        assert shown(tip_of(window, layer)).startswith(f"{layer}\n")
        assert shown(window.windows[0].footer.toolTip()).startswith(f"{plate.name}[1, 1]\n")
    labels, plain = window.findChildren(QtWidgets.QLabel), QtCore.Qt.TextFormat.PlainText
    assert [la.text() for la in labels if "<" in la.text() and la.textFormat() != plain] == []
    assert "\n" not in window.windowTitle()
    assert [la.text() for la in window.scene_row.titles if "\n" in la.text()] == []


def test_what_was_chosen_is_there_next_time(
    opened: OpenWindow, analysis: Path, own_settings: Path
) -> None:
    window = opened(analysis, remember=True)
    window.session.change(theme="light", colour_map="magma", speed=10.0, labels=False)
    window.resize(1234, 777)
    settle(window)
    across = window.layout_of_panes.splitters["across"]
    across.setSizes([300, 600, 300])
    widths = across.sizes()
    window.close()

    again = opened(analysis, remember=True)

    assert again.session.settings == window.session.settings
    assert (again.width(), again.height()) == (1234, 777)
    assert again.layout_of_panes.splitters["across"].sizes() == pytest.approx(widths, abs=3)
    assert colour_at(picture(again.scenes[0]), 2, 2) == rgb(LIGHT.page)
    assert list(own_settings.rglob("*.ini"))


def test_a_range_set_by_hand_belongs_to_its_run(
    opened: OpenWindow, analysis: Path, tmp_path: Path, own_settings: Path
) -> None:
    window = opened(analysis, remember=True)
    high = window.controls.high
    before = window.controls.reset.isVisible()
    high.setFocus()
    high.selectAll()
    QtTest.QTest.keyClicks(high, "0.01")
    type_key(high, KEY.Key_Return)
    told = window.controls.reset.isVisible()
    window.session.change(colour_map="magma")
    window.close()

    other = opened(stored(tmp_path, "other"), remember=True)

    assert (before, told) == (False, True), "what clips is said"
    assert other.session.settings.colour_map == "magma", "the rest is kept"
    assert (other.session.settings.fitted, other.session.settings.low) == (True, 0.0)
    assert not other.controls.reset.isVisible()


def test_a_window_closed_while_it_is_mapped_ends_the_program(
    qtbot: Any, opened: OpenWindow, analysis: Path
) -> None:
    window = opened_window([analysis], (900, 700))
    qtbot.addWidget(window)
    stuck: list[bool] = []
    guard = QtCore.QTimer(singleShot=True, interval=3000)
    guard.timeout.connect(lambda: (stuck.append(True), QtWidgets.QApplication.exit(1)))
    QtCore.QTimer.singleShot(0, window.close)
    window.process()

    guard.start()
    command._run(window)

    assert not stuck


def test_a_window_that_is_not_to_remember_keeps_nothing(
    opened: OpenWindow, analysis: Path, own_settings: Path
) -> None:
    window = opened(analysis)

    window.session.change(theme="light")
    window.close()

    assert not own_settings.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not an ini file at all \x00\x01",
        '[General]\nsettings="{"\n',
        "[General]\nsettings=[1, 2, 3]\n",
        '[General]\nsettings="{\\"theme\\": \\"pink\\", \\"speed\\": 1e9, \\"x\\": 1}"\n',
        '[geometry]\nwindow="@ByteArray(nonsense)"\nacross=7\n',
    ],
)
def test_damaged_settings_are_the_defaults(qtbot: Any, analysis: Path, text: str) -> None:
    file = analysis.parent / "damaged.ini"
    file.write_text(text)
    preferences = Preferences(str(file))
    session = Session([analysis], preferences.settings())

    window = MainWindow(session, size=(900, 700), budget_bytes=1 << 24, preferences=preferences)
    qtbot.addWidget(window)
    window.show()
    settle(window)

    assert preferences.settings() == Settings()
    assert (window.width(), window.height()) == (900, 700)


def test_settings_survive_the_file(tmp_path: Path) -> None:
    chosen = Settings().changed(theme="light", order="ranking", columns=("std", "mean"))

    Preferences(str(tmp_path / "v.ini")).keep(chosen)

    assert Preferences(str(tmp_path / "v.ini")).settings() == chosen


# --- imports ----------------------------------------------------------------------------------

HEAVY = ("torch", "zarr", "pandas", "matplotlib", "numba", "scipy", "onnx", "sklearn")


def test_the_window_needs_no_heavy_library(analysis: Path) -> None:
    program = f"""
BLOCKED = {HEAVY!r}
{BLOCKER}
from pathlib import Path
from accweight_viewer.opening import opened_window
from accweight_viewer.capture import settle
window = opened_window([Path({str(analysis)!r})], (900, 700))
settle(window)
window.session.move_to(1)
window.session.select_layer("fc1")
settle(window)
print("loaded:", *sorted(set(BLOCKED) & set(sys.modules)))
window.close()
"""

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["loaded:"]
