"""Controls, legend and readout: what is pressed changes the session, what changes is shown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from viewer_helpers import run_of, session_of, stored, walks

import accweight_core as aw
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import Settings
from accweight_viewer.panes.colour_bar import ColourBar
from accweight_viewer.panes.controls import Controls
from accweight_viewer.panes.readout import NOTHING, Readout
from accweight_viewer.theme import DARK, LIGHT

pytestmark = pytest.mark.gl

LEFT = QtCore.Qt.MouseButton.LeftButton
UP, DOWN = QtCore.Qt.Key.Key_Up, QtCore.Qt.Key.Key_Down
STEPS = [0, 10, 20, 50]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("controls")


@pytest.fixture(scope="module")
def analysis(folder: Path) -> Path:
    return stored(folder, "first", walks(["a", "b", "c"], 4), steps=STEPS)


@pytest.fixture(scope="module")
def other(folder: Path) -> Path:
    return stored(folder, "second", walks(["a", "b", "c"], 4, seed=1), steps=STEPS)


@pytest.fixture(scope="module")
def coarse(folder: Path) -> Path:
    series = walks(["a"], 4, size=200)
    run = run_of(folder / "coarse", series, steps=STEPS)
    aw.analyze(run, folder / "coarse.accw", picture_budget_bytes=100_000)
    return folder / "coarse.accw"


def put_up(qtbot: Any, pane: Any, width: int, height: int) -> None:
    qtbot.addWidget(pane)
    pane.resize(width, height)
    with qtbot.waitExposed(pane):
        pane.show()


def image(pane: Any) -> Any:
    """Return what a pane shows; a null image would have a colour too."""
    grabbed = pane.grab().toImage()
    assert not grabbed.isNull()
    return grabbed


def controls(qtbot: Any, session: Session) -> Controls:
    pane = Controls(session)
    put_up(qtbot, pane, 1280, 40)
    return pane


def readout(qtbot: Any, session: Session) -> Readout:
    pane = Readout(session)
    put_up(qtbot, pane, 360, 220)
    return pane


def pick(session: Session, name: str, row: int, col: int, run: int = 0) -> Pick:
    plate = next(plate for plate in session.runs[run].plates if plate.name == name)
    return Pick(run, plate, row, col)


def select(qtbot: Any, pane: Readout, session: Session, name: str, row: int, col: int) -> None:
    session.select_texel(pick(session, name, row, col))
    qtbot.waitUntil(lambda: pane.settled, timeout=10_000)


# --- controls -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scope", "plane"])
def test_switches_change_their_setting(qtbot: Any, analysis: Path, name: str) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)

    for value, button in reversed(pane.switches[name].buttons.items()):
        qtbot.mouseClick(button, LEFT)

        assert getattr(session.settings, name) == value
        assert pane.switches[name].value == value


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"colour_map": "viridis"}, lambda pane: pane.maps.currentText() == "viridis"),
        ({"logarithmic": True}, lambda pane: pane.logarithmic.isChecked()),
        ({"low": 0.25}, lambda pane: pane.low.value() == 0.25),
        ({"fitted": False, "high": 0.5}, lambda pane: pane.high.value() == 0.5),
        ({"fitted": False}, lambda pane: not pane.fitted.isChecked()),
        ({"scope": "global"}, lambda pane: pane.switches["scope"].value == "global"),
        ({"plane": "max"}, lambda pane: pane.switches["plane"].value == "max"),
        ({"arrangement": "rows"}, lambda pane: pane.arrangements["rows"].isChecked()),
        ({"true_scale": True}, lambda pane: pane.options["true_scale"].isChecked()),
        ({"labels": False}, lambda pane: not pane.options["labels"].isChecked()),
        ({"smooth": False}, lambda pane: not pane.options["smooth"].isChecked()),
        ({"linked": True}, lambda pane: pane.options["linked"].isChecked()),
    ],
)
def test_what_others_change_is_shown(
    qtbot: Any, analysis: Path, change: dict[str, Any], shown: Any
) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)
    assert not shown(pane)

    session.change(**change)

    assert shown(pane)
    assert session.settings == Settings().changed(**change)


def test_the_list_of_colour_maps_chooses_one(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, colour_map="grey")
    pane = controls(qtbot, session)

    qtbot.keyClick(pane.maps, DOWN)

    assert session.settings.colour_map == "viridis"


def test_the_switch_to_logarithmic_colours_is_pressed(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)

    qtbot.mouseClick(pane.logarithmic, LEFT)

    assert session.settings.logarithmic


def test_the_range_steps_by_tenths_of_a_power_of_ten(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)

    values = []
    for _ in range(3):
        qtbot.keyClick(pane.low, UP)
        values.append(session.settings.low)
    for _ in range(3):
        qtbot.keyClick(pane.low, DOWN)

    assert values == [0.0001, 0.00013, 0.00016]
    assert session.settings.low == 0.0


def test_a_share_is_typed(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)

    pane.high.selectAll()
    qtbot.keyClicks(pane.high, "0.125")
    assert session.settings.fitted
    qtbot.keyClick(pane.high, QtCore.Qt.Key.Key_Return)

    assert session.settings.high == 0.125
    assert not session.settings.fitted
    assert pane.high.text() == "0.125"


def test_the_range_that_is_found_by_itself_is_shown_and_can_be_kept(
    qtbot: Any, analysis: Path
) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)
    found = session.fitted_high
    assert pane.high.value() == pytest.approx(found)

    qtbot.mouseClick(pane.fitted, LEFT)

    assert not session.settings.fitted
    assert session.settings.high == pytest.approx(found)


def test_resetting_the_range_is_offered_where_there_is_something_to_reset(
    qtbot: Any, analysis: Path
) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)
    assert pane.reset.isHidden()
    session.change(low=0.2, high=0.4, fitted=False)
    assert not pane.reset.isHidden()

    qtbot.mouseClick(pane.reset, LEFT)

    assert session.settings == Settings()
    assert pane.reset.isHidden()


def test_the_menu_arranges_and_switches(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)

    pane.arrangements["line"].trigger()
    for action in pane.options.values():
        action.trigger()

    settings = session.settings
    assert settings.arrangement == "line"
    assert [action.isChecked() for action in pane.arrangements.values()] == [False, True, False]
    assert (settings.true_scale, settings.labels, settings.smooth, settings.linked) == (
        (True, False, False, True)
    )


def test_the_theme_is_switched_there_and_back(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = controls(qtbot, session)

    qtbot.mouseClick(pane.theme_button, LEFT)
    assert session.settings.theme == "light"
    qtbot.mouseClick(pane.theme_button, LEFT)

    assert session.settings.theme == "dark"


def test_runs_are_compared_where_there_are_two(qtbot: Any, analysis: Path, other: Path) -> None:
    session = session_of(analysis, other)
    pane = controls(qtbot, session)

    qtbot.mouseClick(pane.comparison.buttons["difference"], LEFT)
    assert session.comparison == "difference"
    session.compare_as("beside")

    assert pane.comparison.isVisible()
    assert pane.comparison.value == "beside"


def test_a_single_run_is_compared_with_nothing(qtbot: Any, analysis: Path) -> None:
    pane = controls(qtbot, session_of(analysis))

    assert not pane.comparison.isVisible()


def test_every_control_explains_itself(qtbot: Any, analysis: Path, other: Path) -> None:
    pane = controls(qtbot, session_of(analysis, other))

    buttons = pane.findChildren(QtWidgets.QToolButton)
    fields = [pane.maps, pane.low, pane.high]

    assert len(buttons) >= 10
    assert all(widget.toolTip() and widget.accessibleName() for widget in (*buttons, *fields))


# --- the legend -----------------------------------------------------------------------------


def bar(qtbot: Any, session: Session, **options: Any) -> ColourBar:
    pane = ColourBar(session, **options)
    put_up(qtbot, pane, 516, pane.sizeHint().height())
    return pane


def band(pane: ColourBar, share: float) -> tuple[int, int, int]:
    """Return the colour of the band at a share of its length."""
    grabbed = image(pane)
    y = pane.fontMetrics().height() + 9
    found = grabbed.pixelColor(round(8 + share * 499), y)
    return found.red(), found.green(), found.blue()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_legend_has_the_colours_of_the_map(qtbot: Any, analysis: Path, share: float) -> None:
    session = session_of(analysis, colour_map="viridis")
    pane = bar(qtbot, session)

    found = band(pane, share)

    wanted = session.colour_scale().colours[round(share * 254)]
    assert np.abs(np.array(found) - wanted).max() <= 4


def test_the_legend_follows_the_settings(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, colour_map="grey")
    pane = bar(qtbot, session)
    grey, caption = band(pane, 0.5), pane.caption

    session.change(colour_map="magma", scope="global", logarithmic=True)

    assert band(pane, 0.5) != grey
    assert caption == "cumulative change, share of each layer's largest"
    assert pane.caption == "cumulative change, share of the network's largest"
    assert pane.scale.logarithmic


def test_the_legend_of_the_scene_becomes_that_of_a_difference(
    qtbot: Any, analysis: Path, other: Path
) -> None:
    session = session_of(analysis, other)
    scene, fixed = bar(qtbot, session), bar(qtbot, session, signed=False)

    session.compare_as("difference")

    assert scene.signed
    assert scene.scale.signed
    assert scene.caption.startswith("first \N{MINUS SIGN} second: difference of change, share of")
    assert not fixed.signed


def test_a_compact_legend_has_its_caption_as_a_tool_tip(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)

    compact, full = bar(qtbot, session, compact=True), bar(qtbot, session)

    assert compact.height() < full.height() - 8
    assert compact.toolTip() == full.caption


def test_the_legend_takes_the_colours_of_the_theme(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = bar(qtbot, session)

    pane.set_theme(LIGHT)

    assert image(pane).pixelColor(2, 2).name() == LIGHT.panel


def test_a_marked_value_is_pointed_at(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = bar(qtbot, session)
    place = round(8 + 0.5 * 500), pane.fontMetrics().height() + 3
    before = image(pane).pixelColor(*place).name()

    pane.mark(session.colour_scale().value_at(0.5))

    assert before != DARK.accent
    assert image(pane).pixelColor(*place).name() == DARK.accent


def test_numbers_of_the_legend_are_left_out_rather_than_drawn_over_each_other(
    qtbot: Any, analysis: Path
) -> None:
    pane = bar(qtbot, session_of(analysis))
    wide = image(pane)

    pane.resize(60, pane.height())

    row = slice(pane.fontMetrics().height() + 5 + 8 + 5, None)
    narrow = _ink(image(pane), row)
    assert 0 < narrow.sum() < _ink(wide, row).sum()
    runs = np.diff(np.flatnonzero(narrow.any(axis=0)))
    assert runs.max() >= 8


def _ink(picture: Any, rows: slice) -> np.ndarray:
    """Return where something is drawn on the panel."""
    found = [
        [picture.pixelColor(x, y).name() != DARK.panel for x in range(picture.width())]
        for y in range(picture.height())
    ]
    return np.array(found)[rows]


# --- the readout ----------------------------------------------------------------------------


def test_nothing_is_read_out_before_something_is_selected(qtbot: Any, analysis: Path) -> None:
    pane = readout(qtbot, session_of(analysis))

    assert pane.empty.isVisible()
    assert pane.empty.text() == NOTHING
    assert pane.as_json() == ""


def test_stored_values_are_shown_at_once(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)

    select(qtbot, pane, session, "b.weight", 2, 3)

    exact = aw.open_analysis(analysis)
    value = np.float32(exact.cumulative("b.weight")[2, 3])
    share = exact.normalized("b.weight", scope="layer")[2, 3]
    assert pane.name.text() == "b.weight[2, 3]"
    assert pane.place.text() == "output 2, input 3"
    assert pane.cumulative == value
    assert pane.path.value.text() == f"{value:.6g}"
    assert pane.path.note.text().startswith(f"N {share:.3}"[:5])
    assert pane.path.note.text().endswith("step 50")
    assert pane.weight.note.text().startswith("reading") or not pane.weight.note.text()
    np.testing.assert_array_equal(
        pane.path.curve.values,
        [np.float32(exact.cumulative("b.weight", step)[2, 3]) for step in STEPS],
    )


def test_what_checkpoints_say_replaces_what_is_stored(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)
    found = aw.open_analysis(analysis).trace("b.weight", (2, 3))

    pane.set_exact(STEPS, found.weights.tolist(), found.cumulative.tolist())

    assert pane.cumulative == found.cumulative[-1]
    assert pane.current_weight == found.weights[-1]
    assert pane.weight.value.text() == f"{found.weights[-1]:.6g}"
    assert pane.weight.note.text() == "initially 0"
    np.testing.assert_array_equal(pane.weight.curve.values, found.weights)


def test_the_readout_follows_the_time(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)
    pane.set_exact(STEPS, [1.0, -2.0, None, 4.0], [0.0, 3.0, None, 9.0])

    session.move_to_step(10)
    early = pane.path.value.text(), pane.weight.value.text()
    session.move_to_step(20)

    assert early == ("3", "\N{MINUS SIGN}2")
    assert pane.weight.value.text() == "\N{EN DASH}"
    assert pane.path.curve.position == pane.weight.curve.position == 2
    assert pane.path.note.text().endswith("step 20")


def test_a_complex_weight_has_two_parts(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)

    pane.set_exact(STEPS, [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [3.0, -4.0]], [0.0, 1.0, 2.0, 5.0])

    assert pane.weight.value.text() == "3 - 4i"
    np.testing.assert_array_equal(pane.weight.curve.values, [0, 1, 1, 5])
    assert json.loads(pane.as_json())["weight"] == [3.0, -4.0]


def test_checkpoints_that_are_gone_are_said_to_be_gone(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)

    pane.set_exact_error("step_0.pt: is gone")

    assert pane.weight.note.text() == "step_0.pt: is gone"
    assert pane.cumulative is not None


def test_another_selection_forgets_the_exact_values_of_the_last_one(
    qtbot: Any, analysis: Path
) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)
    pane.set_exact(STEPS, [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0])

    select(qtbot, pane, session, "c.weight", 0, 1)

    assert pane.name.text() == "c.weight[0, 1]"
    assert pane.current_weight is None
    assert pane.weight.note.text().startswith("reading") or not pane.weight.note.text()
    session.select_layer(None)
    assert pane.empty.isVisible()


def test_means_are_called_means_until_checkpoints_are_read(qtbot: Any, coarse: Path) -> None:
    session = session_of(coarse)
    pane = readout(qtbot, session)

    select(qtbot, pane, session, "a.weight", 100, 31)
    stored_as = pane.path.caption.text()
    pane.set_exact(STEPS, [0.0] * 4, [0.0, 1.0, 2.0, 3.0])

    side = 1 << session.runs[0].plates[0].finest
    assert side > 1
    assert stored_as == (
        f"cumulative change A, mean of {side}\N{MULTIPLICATION SIGN}{side} weights"
    )
    assert pane.path.caption.text() == "cumulative change A"


def test_with_two_runs_the_run_is_named(qtbot: Any, analysis: Path, other: Path) -> None:
    session = session_of(analysis, other)
    pane = readout(qtbot, session)

    session.select_texel(pick(session, "b.weight", 1, 1, run=1))

    assert pane.place.text().startswith("second ")


def test_the_copied_line_holds_what_is_shown(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)
    pane.set_exact(STEPS, [1.0, 2.0, 3.0, 0.1], [0.0, 1.0, 2.0, 0.30000000000000004])

    qtbot.mouseClick(pane.copy_button, LEFT)

    assert json.loads(QtWidgets.QApplication.clipboard().text()) == {
        "parameter": "b.weight",
        "index": [2, 3],
        "step": 50,
        "cumulative": 0.30000000000000004,
        "weight": 0.1,
    }


def test_values_can_be_selected(qtbot: Any, analysis: Path) -> None:
    pane = readout(qtbot, session_of(analysis))

    flags = pane.path.value.textInteractionFlags()

    assert flags & QtCore.Qt.TextInteractionFlag.TextSelectableByMouse


def test_a_click_into_a_curve_goes_to_that_step(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)
    curve = pane.path.curve

    qtbot.mouseClick(curve, LEFT, pos=QtCore.QPoint(round(curve.width() * 0.38), 10))

    assert session.step == 20


def test_the_curve_is_drawn_and_the_time_is_marked_in_it(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    empty = _names(image(pane.path.curve))

    select(qtbot, pane, session, "b.weight", 2, 3)

    drawn = _names(image(pane.path.curve))
    assert DARK.accent not in empty
    assert DARK.accent in drawn
    assert DARK.curves[0] in drawn


def _names(picture: Any) -> set[str]:
    places = ((x, y) for x in range(picture.width()) for y in range(picture.height()))
    return {picture.pixelColor(x, y).name() for x, y in places}


def test_a_value_that_never_changes_is_a_line_in_the_middle(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)

    pane.set_exact(STEPS, [0.5] * 4, [0.0] * 4)

    heights = [y for _, y in pane.weight.curve._places()]
    assert heights == pytest.approx([pane.weight.curve.height() / 2] * 4)


def test_gaps_in_a_curve_stay_gaps(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)

    pane.set_exact(STEPS, [0.5, None, 1.5, 2.5], [0.0] * 4)

    heights = [y for _, y in pane.weight.curve._places()]
    assert [math.isfinite(y) for y in heights] == [True, False, True, True]
    assert not image(pane).isNull()


def test_a_growing_run_keeps_what_was_read_out(qtbot: Any, tmp_path: Path) -> None:
    series = walks(["a", "b"], 4)
    out = tmp_path / "grow.accw"
    aw.analyze(run_of(tmp_path / "grow", series[:3], steps=STEPS[:3]), out, keep_state=True)
    session = session_of(out)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)
    torch.save({"state_dict": series[3]}, tmp_path / "grow" / "step_50.pt")

    aw.append(aw.open_run(tmp_path / "grow"), out)
    assert session.refresh()
    qtbot.waitUntil(lambda: pane.settled, timeout=10_000)

    assert pane.step == 50
    assert pane.cumulative == np.float32(aw.open_analysis(out).cumulative("b.weight")[2, 3])
    assert len(pane.path.curve.values) == 4


def test_readout_and_controls_take_the_colours_of_the_theme(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    pane = readout(qtbot, session)
    select(qtbot, pane, session, "b.weight", 2, 3)

    pane.set_theme(LIGHT)

    found = image(pane.path.curve)
    assert found.pixelColor(found.width() - 1, 0).name() in (LIGHT.panel, LIGHT.accent)
    assert QtGui.QColor(LIGHT.curves[0]).name() in _names(found)
