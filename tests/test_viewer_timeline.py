"""The timeline: buttons, the plot under the mouse, and what is drawn in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from viewer_helpers import session_of, stored, walks

from accweight_core.metrics.table import TABLE
from accweight_viewer.model.chart import Chart
from accweight_viewer.model.curve_scale import CurveScale
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.session import Session
from accweight_viewer.panes.timeline_bar import SPEEDS, TimelineBar
from accweight_viewer.panes.timeline_image import TimelineImage
from accweight_viewer.panes.timeline_places import MANY, SELECTED, Surface, strokes
from accweight_viewer.panes.timeline_plot import TimelinePlot
from accweight_viewer.theme import DARK, LEGIBLE, LIGHT, Theme, contrast, legible

pytestmark = pytest.mark.gl

LEFT = QtCore.Qt.MouseButton.LeftButton
NO_BUTTON = QtCore.Qt.MouseButton.NoButton
STEPS = [0, 100, 200, 500, 1000, 1500, 2000]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers over uneven steps, with loss and accuracy."""
    measures = {
        "val_loss": [2.0, 1.6, 1.2, 0.9, 0.7, 0.6, 0.5],
        "val_acc": [0.1, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9],
    }
    series = walks(["a", "b", "c"], len(STEPS))
    folder = tmp_path_factory.mktemp("timeline")
    return stored(folder, "first", series, steps=STEPS, measures=measures)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    series = walks(["a", "b", "d"], 3, seed=1)
    return stored(tmp_path_factory.mktemp("other"), "second", series, steps=[0, 700, 2500])


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = [f"h.{number}.fc" for number in range(30)]
    return stored(tmp_path_factory.mktemp("wide"), "wide", walks(names, 6))


def shown(qtbot: Any, session: Session) -> TimelineBar:
    bar = TimelineBar(session)
    qtbot.addWidget(bar)
    bar.resize(1000, 180)
    with qtbot.waitExposed(bar):
        bar.show()
    return bar


def place(bar: TimelineBar, position: float, share: float = 0.5) -> Any:
    """Return a point of the plot: at a position, and at a share of its height from the top."""
    area = bar.plot.image.area
    x, y = bar.plot.image.x_at(position), area.top() + share * area.height()
    return QtCore.QPoint(round(x), round(y))


def on_curve(bar: TimelineBar, layer: int, position: int) -> Any:
    chart, area = Chart(bar.plot._session), bar.plot.image.area
    share = 1 - chart.scale.heights(chart.curves[0].values[layer, position])
    return QtCore.QPointF(bar.plot.image.x_at(position), area.top() + share * area.height())


def move(bar: TimelineBar, point: Any, buttons: Any = NO_BUTTON) -> None:
    """Move the mouse; QTest moves it without the button that is down."""
    event = QtGui.QMouseEvent(
        QtCore.QEvent.Type.MouseMove,
        QtCore.QPointF(point),
        QtCore.QPointF(bar.plot.mapToGlobal(point)),
        NO_BUTTON,
        buttons,
        QtCore.Qt.KeyboardModifier.NoModifier,
    )
    QtWidgets.QApplication.sendEvent(bar.plot, event)


def turn(bar: TimelineBar, angle: int) -> None:
    point = QtCore.QPointF(place(bar, 1))
    event = QtGui.QWheelEvent(
        point,
        point,
        QtCore.QPoint(),
        QtCore.QPoint(0, angle),
        NO_BUTTON,
        QtCore.Qt.KeyboardModifier.NoModifier,
        QtCore.Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QtWidgets.QApplication.sendEvent(bar.plot, event)


def grabbed(widget: Any) -> Any:
    image = widget.grab().toImage()
    assert not image.isNull()
    return image


def handle_colour(bar: TimelineBar, position: float) -> str:
    picture = bar.plot.image
    x, y = round(picture.x_at(position)), round(picture.area.bottom()) + 7
    name: str = grabbed(bar.plot).pixelColor(x, y).name()
    return name


def frame(theme: Any = DARK, width: int = 600, height: int = 160) -> Surface:
    return Surface(theme, QtWidgets.QApplication.font(), width, height, 1.0)


# --- buttons ------------------------------------------------------------------------------


def test_the_step_is_told_in_large_and_the_checkpoint_beside_it(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    session.move_to_step(1500)

    assert bar.step_label.text() == "step 1500"
    assert bar.checkpoint_label.text() == "checkpoint 6 of 7"
    assert bar.step_label.font().pixelSize() > 1.5 * bar.checkpoint_label.fontInfo().pixelSize()


def test_large_steps_are_told_in_groups_of_three_digits(qtbot: Any, tmp_path: Path) -> None:
    run = stored(tmp_path, "long", walks(["a"], 2), steps=[0, 1234567])

    bar = shown(qtbot, session_of(run))

    assert bar.step_label.text() == "step 1\u202f234\u202f567"


def test_buttons_move_through_time(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    passed = []

    for name in ("first", "forward", "forward", "back", "last"):
        qtbot.mouseClick(bar.buttons[name], LEFT)
        passed.append(session.cursor.position)

    assert passed == [0, 1, 2, 1, 6]


def test_there_is_nothing_before_the_first_checkpoint_and_after_the_last(
    qtbot: Any, analysis: Path
) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    def off() -> set[str]:
        return {name for name, button in bar.buttons.items() if not button.isEnabled()}

    at_the_end = off()
    session.move_to(0)
    at_the_start = off()
    session.move_to(3)

    assert at_the_end == {"forward", "last"}
    assert at_the_start == {"first", "back"}
    assert off() == set()


def test_the_play_button_plays_and_pauses_and_says_which(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    button = bar.buttons["play"]

    qtbot.mouseClick(button, LEFT)
    playing, words = session.cursor.playing, button.accessibleName()
    qtbot.mouseClick(button, LEFT)

    assert (playing, words) == (True, "Pause")
    assert (session.cursor.playing, button.accessibleName()) == (False, "Play")
    assert "Space" in button.toolTip()


def test_stepping_by_hand_pauses(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    session.play()

    bar.forward()

    assert not session.cursor.playing
    assert session.cursor.position == 1


def test_all_buttons_have_names_and_their_keys_as_tool_tips(qtbot: Any, analysis: Path) -> None:
    bar = shown(qtbot, session_of(analysis))

    assert all(button.accessibleName() for button in bar.buttons.values())
    keys = {"first": "[", "back": "Left", "play": "Space", "forward": "Right", "last": "]"}
    assert all(key in bar.buttons[name].toolTip() for name, key in keys.items())


def test_loop_speed_and_metric_are_settings(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    qtbot.mouseClick(bar.buttons["loop"], LEFT)
    bar.speed.setFocus()
    qtbot.keyClick(bar.speed, QtCore.Qt.Key.Key_Down)
    bar.metric.setFocus()
    qtbot.keyClick(bar.metric, QtCore.Qt.Key.Key_Down)

    assert session.settings.loop is False
    assert session.settings.speed == SPEEDS[SPEEDS.index(3.0) + 1]
    assert session.settings.curve_metric == "max"
    assert bar.plot.image.chart.metric == "max"


def test_the_list_of_metrics_has_a_line_of_words_for_each(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    qtbot.mouseClick(bar.metric, LEFT)
    listed = bar.metric.view()
    qtbot.waitUntil(listed.isVisible)
    measure = listed.fontMetrics().horizontalAdvance
    row = bar.metric.findData("rotation")
    wide, line = listed.viewport().width(), listed.visualRect(bar.metric.model().index(row, 0))
    image = listed.viewport().grab(line).toImage()
    for _ in range(row - listed.currentIndex().row()):
        qtbot.keyClick(listed, QtCore.Qt.Key.Key_Down)
    qtbot.keyClick(listed, QtCore.Qt.Key.Key_Return)

    assert {name: bar.metric.words_of(name) for name in TABLE} == {
        name: metric.line for name, metric in TABLE.items()
    }
    assert wide > max(measure(f"{name}  {metric.line}") for name, metric in TABLE.items())
    right = [x for x in range(image.width()) if len({image.pixel(x, y) for y in range(4, 20)}) > 1]
    assert max(right) > measure("rotation") + measure(TABLE["rotation"].line), "all words are seen"
    assert session.settings.curve_metric == "rotation"
    assert TABLE["rotation"].line in bar.metric.toolTip()


def test_settings_changed_elsewhere_are_shown(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    session.change(loop=False, speed=7.5, curve_metric="rotation")

    assert not bar.buttons["loop"].isChecked()
    assert bar.speed.currentText() == "7.5 / s"
    assert bar.metric.currentText() == "rotation"


# --- the mouse ----------------------------------------------------------------------------


def test_dragging_goes_to_the_nearest_checkpoint(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    passed: list[int] = []
    session.time_changed.connect(lambda: passed.append(session.cursor.position))

    qtbot.mousePress(bar.plot, LEFT, pos=place(bar, 4))
    move(bar, place(bar, 4.4), LEFT)
    move(bar, place(bar, 4.6), LEFT)
    move(bar, QtCore.QPoint(-50, 10), LEFT)
    qtbot.mouseRelease(bar.plot, LEFT, pos=place(bar, 0))
    move(bar, place(bar, 3))

    assert passed == [4, 5, 0]


def test_dragging_pauses(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    session.play()

    qtbot.mousePress(bar.plot, LEFT, pos=place(bar, 2))

    assert not session.cursor.playing
    assert session.cursor.position == 2


def test_other_buttons_of_the_mouse_do_nothing(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    qtbot.mouseClick(bar.plot, QtCore.Qt.MouseButton.RightButton, pos=place(bar, 2))

    assert session.cursor.position == 6


def test_the_wheel_goes_step_by_step_and_adds_up_small_turns(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    passed = []

    for angle in (-120, -120, 60, 60, -40, -40):
        turn(bar, angle)
        passed.append(session.cursor.position)

    assert passed == [5, 4, 4, 5, 5, 5]


def test_a_double_click_on_a_curve_selects_its_layer(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    qtbot.mouseDClick(bar.plot, LEFT, pos=on_curve(bar, 1, 5).toPoint())

    assert session.layer == "b"


def test_a_double_click_elsewhere_selects_nothing(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    qtbot.mouseDClick(bar.plot, LEFT, pos=place(bar, 1, 0.05))

    assert session.layer is None


def test_hovering_tells_step_nearest_curve_and_measures(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    point = on_curve(bar, 0, 5)
    value = session.curves()[0, 5]

    move(bar, point.toPoint())

    text = bar.plot.hover_text(point.x(), point.y())
    assert text == f"step 1500\na  {value:.3f}\nval_loss  0.6000\nval_acc  0.8500"
    assert QtWidgets.QToolTip.text() == text
    assert session.cursor.position == 6


def test_hovering_tells_a_loss_that_is_not_finite(qtbot: Any, tmp_path: Path) -> None:
    series = walks(["a", "b"], 2)
    path = stored(tmp_path, "run", series, steps=[0, 1], measures={"loss": [0.5, np.inf]})
    bar = shown(qtbot, session_of(path))

    text = bar.plot.hover_text(bar.plot.image.x_at(1), 5)

    assert text.splitlines()[-1] == "loss  inf"


def test_nearness_is_measured_to_the_line_between_two_checkpoints(
    qtbot: Any, analysis: Path
) -> None:
    bar = shown(qtbot, session_of(analysis))
    before, after = on_curve(bar, 2, 5), on_curve(bar, 2, 6)
    middle = (before + after) / 2

    near = bar.plot.image.nearest(middle.x(), middle.y() + 3)

    assert near is not None
    assert near.name == "c"
    assert 1 < near.distance <= 3
    assert bar.plot.image.nearest(middle.x(), middle.y() + 40, reach=5) is None


# --- the cursor ---------------------------------------------------------------------------


def test_the_cursor_stands_at_the_step(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    session.move_to(3)

    assert handle_colour(bar, 3) == DARK.accent
    assert handle_colour(bar, 6) != DARK.accent


def test_the_cursor_moves_between_checkpoints_while_playing(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    session.move_to(4)
    session.cursor.playing, session.cursor.phase = True, 0.5

    bar.tick(0.0)

    assert handle_colour(bar, 4.5) == DARK.accent
    assert bar.plot.image.x_at(4.5) == pytest.approx(
        (bar.plot.image.x_at(4) + bar.plot.image.x_at(5)) / 2
    )


def test_a_step_draws_the_cursor_alone(
    qtbot: Any, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    grabbed(bar.plot)
    picture, drawn = bar.plot.image, []
    draw_picture, draw_cursor = TimelineImage.pixmap, TimelinePlot._draw_cursor
    monkeypatch.setattr(
        TimelineImage, "pixmap", lambda *a: drawn.append("picture") or draw_picture(*a)
    )
    monkeypatch.setattr(
        TimelinePlot, "_draw_cursor", lambda *a: drawn.append("cursor") or draw_cursor(*a)
    )

    for position in range(6):
        session.move_to(position)
        bar.plot.repaint()

    assert bar.plot.image is picture
    assert drawn == ["cursor"] * 6


def test_another_texel_of_the_same_layer_draws_nothing_anew(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    plate = session.runs[0].plates[0]
    session.select_texel(Pick(0, plate, 0, 0))
    picture = bar.plot.image

    session.select_texel(Pick(0, plate, 1, 1))
    same = bar.plot.image is picture
    session.select_layer("b")

    assert same
    assert bar.plot.image is not picture


# --- curves -------------------------------------------------------------------------------


def test_every_layer_has_a_colour_of_its_own_where_there_are_few(
    qtbot: Any, analysis: Path
) -> None:
    drawn = strokes(Chart(session_of(analysis)), None, DARK)

    assert [stroke.colour.name() for stroke in drawn] == list(DARK.curves[:3])
    assert {stroke.rank for stroke in drawn} == {1}


def test_the_selected_curve_is_thick_and_drawn_last(qtbot: Any, analysis: Path) -> None:
    drawn = strokes(Chart(session_of(analysis)), "a", DARK)

    assert (drawn[-1].name, drawn[-1].rank) == ("a", SELECTED)
    assert drawn[-1].colour.name() == DARK.accent
    assert drawn[-1].width > drawn[0].width


def test_curves_have_beads_where_their_colour_is_that_of_another(
    qtbot: Any, tmp_path: Path
) -> None:
    names = [f"layer{n}" for n in range(9)]
    chart = Chart(session_of(stored(tmp_path, "run", walks(names, 3))))

    drawn = {stroke.name: stroke for stroke in strokes(chart, None, DARK)}
    selected = {stroke.name: stroke for stroke in strokes(chart, "layer8", DARK)}
    surface = Surface(DARK, QtGui.QFont(), 600, 160, 1.0)
    image = TimelineImage(chart, None, surface)
    seen = image.pixmap().toImage()

    assert not seen.isNull()
    assert [name for name in names if drawn[name].has_beads] == ["layer7", "layer8"]
    assert drawn["layer8"].colour == drawn["layer1"].colour
    assert not selected["layer8"].has_beads, "its colour is its own"
    place = {s.name: image._y[0][s.row] for s in image.strokes}
    x = round(image._x[0][1])
    for name, beaded in (("layer7", True), ("layer0", False)):
        above = seen.pixelColor(x, round(place[name][1]) - 2)
        apart = abs(above.red() - drawn[name].colour.red())
        assert (apart < 60 and above != QtGui.QColor(DARK.panel)) is beaded, name


def test_of_many_layers_the_top_three_are_coloured_and_the_others_faint(
    qtbot: Any, wide: Path
) -> None:
    chart = Chart(session_of(wide))

    drawn = strokes(chart, None, DARK)

    assert len(chart.names) > MANY
    coloured = {stroke.name: stroke.colour.name() for stroke in drawn if stroke.rank == 1}
    assert coloured == dict(zip(chart.ranked()[:3], DARK.curves, strict=False))
    assert all(s.colour.alphaF() < 0.5 for s in drawn if s.rank == 0)


def test_no_curve_has_the_colour_of_the_selection(qtbot: Any, tmp_path: Path) -> None:
    chart = Chart(session_of(stored(tmp_path, "six", walks(list("abcdef"), 2))))

    drawn = strokes(chart, None, LIGHT)

    assert LIGHT.accent not in LIGHT.curves
    assert LIGHT.accent not in {stroke.colour.name() for stroke in drawn}


def test_of_a_second_run_the_selected_layer_is_drawn(
    qtbot: Any, analysis: Path, other: Path, wide: Path
) -> None:
    few = strokes(Chart(session_of(analysis, other)), "b", DARK)
    many = strokes(Chart(session_of(wide, wide)), "h.3.fc", DARK)

    assert [stroke.name for stroke in few if stroke.run == 1] == ["a", "d", "b"]
    assert [stroke.name for stroke in many if stroke.run == 1] == ["h.3.fc"]


def test_curves_are_drawn_where_nearness_looks_for_them(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    session.select_layer("b")
    session.move_to(0)
    middle = (on_curve(bar, 1, 4) + on_curve(bar, 1, 5)) / 2

    image = grabbed(bar.plot)

    assert image.pixelColor(middle.toPoint()).name() == DARK.accent


def test_a_missing_value_is_a_gap_in_the_line(qtbot: Any, analysis: Path) -> None:
    chart = Chart(session_of(analysis))
    chart.measures = []
    values = np.full((3, 7), np.nan)
    values[0] = [1, 1, 1, 1, np.nan, 1, 1]
    chart.curves = [replace(chart.curves[0], drawn=values)]
    chart.scale = CurveScale(0.0, 2.3)

    picture = TimelineImage(chart, "a", frame())
    image = picture.pixmap().toImage()
    y = round(picture.area.bottom() - picture.area.height() / 2.3)

    assert not image.isNull()
    colours = [image.pixelColor(round(picture.x_at(p)), y).name() for p in (2.5, 3.7, 4, 4.3, 5.5)]
    assert [colour == DARK.accent for colour in colours] == [True, False, False, False, True]


def test_measures_are_dashed_lines_from_zero_to_their_largest(qtbot: Any, analysis: Path) -> None:
    chart = Chart(session_of(analysis))
    chart.curves = [replace(chart.curves[0], drawn=np.full((3, 7), np.nan))]
    picture = TimelineImage(chart, None, frame())
    image = picture.pixmap().toImage()
    background = DARK.panel
    loss = chart.measures[0]

    inked = []
    for x in range(round(picture.x_at(4)), round(picture.x_at(6))):
        position = np.interp(x, [picture.x_at(p) for p in range(7)], range(7))
        value = float(np.interp(position, range(7), loss.values))
        y = picture.area.bottom() - value / loss.high * 0.98 * picture.area.height()
        inked.append(image.pixelColor(x, round(y - 0.5)).name() != background)

    assert (loss.name, loss.high) == ("val_loss", 2.0)
    assert 0.3 < np.mean(inked) < 0.95


def test_a_plot_without_any_finished_layer_is_drawn(qtbot: Any, analysis: Path) -> None:
    chart = Chart(session_of(analysis))
    chart.curves = [replace(chart.curves[0], drawn=np.full((3, 7), np.nan))]

    picture = TimelineImage(chart, "a", frame())

    assert not picture.pixmap().toImage().isNull()
    assert picture.nearest(300, 50) is None
    assert picture.points_at(3) == []


@pytest.mark.parametrize("size", [(240, 96), (320, 60), (1800, 400)])
def test_any_size_is_drawn(qtbot: Any, analysis: Path, other: Path, size: tuple[int, int]) -> None:
    picture = TimelineImage(Chart(session_of(analysis, other)), "a", frame(LIGHT, *size))

    image = picture.pixmap().toImage()

    assert (image.width(), image.height()) == size
    assert 0 < picture.area.left() < picture.area.right()


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
def test_names_of_curves_are_legible_and_keep_colours_that_are(theme: Theme) -> None:
    for colour in (*theme.curves, theme.accent):
        assert contrast(legible(colour, theme), theme.panel) >= LEGIBLE
        if contrast(colour, theme.panel) >= LEGIBLE:
            assert legible(colour, theme) == colour
    assert len({legible(colour, theme) for colour in theme.curves}) == len(theme.curves)


def test_the_theme_recolours_everything(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)

    bar.set_theme(LIGHT)

    assert grabbed(bar.plot).pixelColor(1, 1).name() == LIGHT.panel
    assert handle_colour(bar, 6) == LIGHT.accent


def test_growth_is_shown(qtbot: Any, tmp_path: Path, analysis: Path, other: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    longer = session_of(other)

    session.take(longer.runs)

    assert bar.step_label.text() == "step 2500"
    assert bar.checkpoint_label.text() == "checkpoint 3 of 3"
    assert bar.plot.image.chart.names == ["a", "b", "d"]


def test_the_scale_and_the_smoothing_are_chosen_in_a_menu(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    bar = shown(qtbot, session)
    before = grabbed(bar.plot)

    bar.logarithmic.trigger()
    logarithmic = grabbed(bar.plot)
    bar.smoothings[0.6].trigger()

    assert (session.settings.curve_scale, session.settings.smoothing) == ("logarithmic", 0.6)
    assert before != logarithmic
    assert logarithmic != grabbed(bar.plot)
    assert bar.smoothings[0.6].isChecked()
