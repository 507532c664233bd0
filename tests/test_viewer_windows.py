"""The two windows: real mouse events on real pictures, checked by values, texts and pixels."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyqtgraph.Qt import QtCore, QtGui, QtTest, QtWidgets
from viewer_helpers import run_of, session_of, stopped, stored

import accweight_core as aw
from accweight_core.colours.scale import Entries
from accweight_core.errors import UnknownNameError
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.picture_requests import PictureRequest
from accweight_viewer.model.plate_choice import PlateChoice
from accweight_viewer.model.session import Session
from accweight_viewer.model.texels import TexelDifference, TexelValue
from accweight_viewer.model.viewport2d import WHOLE, Shares
from accweight_viewer.panes.picture_link import link
from accweight_viewer.panes.picture_window import PictureWindow
from accweight_viewer.theme import DARK, LIGHT

pytestmark = pytest.mark.gl

LEFT = QtCore.Qt.MouseButton.LeftButton
NO_BUTTON = QtCore.Qt.MouseButton.NoButton
NO_KEY = QtCore.Qt.KeyboardModifier.NoModifier
SHAPES = {
    "conv.weight": (8, 4, 3, 3),
    "lstm.weight_ih_l0": (32, 12),
    "lstm.weight_hh_l0": (32, 8),
    "big.weight": (300, 300),
}
STEPS = [0, 10, 20, 50]


def series(seed: int, **shapes: tuple[int, ...]) -> list[dict[str, torch.Tensor]]:
    """Return four steps of a convolution that moves most, an LSTM, and a matrix with levels."""
    chance = torch.Generator().manual_seed(seed)
    state = {name: torch.zeros(shape) for name, shape in (SHAPES | shapes).items()}
    found = [dict(state)]
    for _ in STEPS[1:]:
        for place, name in enumerate(state):
            step = torch.rand(state[name].shape, generator=chance) / (1 + place)
            state[name] = state[name] + step
        found.append(dict(state))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("windows")


@pytest.fixture(scope="module")
def analysis(folder: Path) -> Path:
    return stored(folder, "first", series(1), steps=STEPS)


@pytest.fixture(scope="module")
def other(folder: Path) -> Path:
    """The same network, but for the size of its matrix."""
    return stored(folder, "second", series(2, **{"big.weight": (300, 200)}), steps=STEPS)


@pytest.fixture(scope="module")
def coarse(folder: Path) -> Path:
    """Means of squares where the matrix was."""
    out = folder / "coarse.accw"
    aw.analyze(run_of(folder / "coarse", series(1), steps=STEPS), out, picture_budget_bytes=200_000)
    return out


def shown(
    qtbot: Any,
    session: Session,
    parameter: str = "",
    *,
    number: int = 0,
    size: tuple[int, int] = (420, 480),
) -> PictureWindow:
    window = PictureWindow(session, number)
    qtbot.addWidget(window)
    window.resize(*size)
    with qtbot.waitExposed(window):
        window.show()
    if parameter:
        window.show_plate(0, parameter)
    settled(qtbot, window)
    return window


def settled(qtbot: Any, *windows: PictureWindow) -> None:
    qtbot.waitUntil(lambda: all(window.settled for window in windows), timeout=10_000)


def point(window: PictureWindow, row: int, col: int) -> Any:
    """Return the point of the canvas in the middle of a texel."""
    return window.view.position_of(row, col).toPoint()


def move(window: PictureWindow, place: Any, buttons: Any = NO_BUTTON) -> None:
    """Move the mouse; QTest moves it without the button that is down."""
    event = QtGui.QMouseEvent(
        QtCore.QEvent.Type.MouseMove,
        QtCore.QPointF(place),
        QtCore.QPointF(window.view.mapToGlobal(place)),
        NO_BUTTON,
        buttons,
        NO_KEY,
    )
    QtWidgets.QApplication.sendEvent(window.view, event)


def hover(window: PictureWindow, row: int, col: int) -> None:
    move(window, point(window, row, col))
    come_to_rest(window)


def come_to_rest(window: PictureWindow) -> None:
    """Wait for what is read in the background."""
    stop = time.monotonic() + 20
    while not window.settled:
        QtWidgets.QApplication.processEvents()
        assert time.monotonic() < stop
    QtWidgets.QApplication.processEvents()


def leave(window: PictureWindow) -> None:
    QtWidgets.QApplication.sendEvent(window.view, QtCore.QEvent(QtCore.QEvent.Type.Leave))


def turn(window: PictureWindow, place: Any, notches: int) -> None:
    event = QtGui.QWheelEvent(
        QtCore.QPointF(place),
        QtCore.QPointF(window.view.mapToGlobal(place)),
        QtCore.QPoint(0, 0),
        QtCore.QPoint(0, 120 * notches),
        NO_BUTTON,
        NO_KEY,
        QtCore.Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QtWidgets.QApplication.sendEvent(window.view, event)


def drag(window: PictureWindow, start: Any, stop: Any) -> None:
    QtTest.QTest.mousePress(window.view, LEFT, NO_KEY, start)
    for share in (0.25, 0.5, 0.75, 1.0):
        move(window, start + (stop - start) * share, LEFT)
    QtTest.QTest.mouseRelease(window.view, LEFT, NO_KEY, stop)


def image(window: PictureWindow) -> Any:
    """Return what the canvas shows; a null image would have a colour too."""
    leave(window)
    grabbed = window.view.grab().toImage()
    assert not grabbed.isNull()
    return grabbed


def colour(window: PictureWindow, row: int, col: int) -> tuple[int, int, int]:
    place = point(window, row, col)
    found = image(window).pixelColor(place)
    return found.red(), found.green(), found.blue()


def rgb(text: str) -> tuple[int, int, int]:
    found = QtGui.QColor(text)
    return found.red(), found.green(), found.blue()


def expected(window: PictureWindow, value: float) -> tuple[int, int, int]:
    """Return the colour of a normalised change, by the colour scale alone."""
    source, session = window.source, window._session
    scale = session.colour_scale(signed=source is not None and source.signed)
    red, green, blue = scale.colours[scale.entries(value)]
    return int(red), int(green), int(blue)


def normalised(path: Path, name: str, step: int) -> np.ndarray:
    return aw.open_analysis(path).normalized(name, step, "layer")


def alike(found: tuple[int, int, int], wanted: tuple[int, int, int]) -> bool:
    """Tell whether colours are one entry of the map apart at most: values are rounded."""
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 3


# --- what is under the mouse ----------------------------------------------------------------


def test_hovering_tells_the_exact_value_and_what_it_belongs_to(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "conv.weight")
    plate = window.plate
    assert plate is not None
    row, col = plate.layout.texel((5, 2, 1, 0))

    hover(window, row, col)

    exact = np.float32(aw.open_analysis(analysis).cumulative("conv.weight", 50)[5, 2, 1, 0])
    assert isinstance(window.hovered, TexelValue)
    assert window.hovered.value == exact
    assert window.footer.name.text() == "conv.weight[5, 2, 1, 0]"
    assert window.footer.detail.text() == "output 5, input 2, row 1, column 0"
    assert window.footer.value.text() == f"moved {exact:.6g}"
    assert window.footer.share.text().endswith("step 50")


def test_what_is_hovered_follows_the_time(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "big.weight")
    hover(window, 120, 33)

    session.move_to_step(20)
    come_to_rest(window)

    assert isinstance(window.hovered, TexelValue)
    row, col = window._texel or (0, 0)
    assert window.hovered.value == np.float32(
        aw.open_analysis(analysis).cumulative("big.weight", 20)[row, col]
    )
    assert "step 20" in window.footer.share.text()


def test_gaps_between_kernels_are_said_to_be_gaps(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "conv.weight")

    hover(window, 3, 3)

    assert isinstance(window.hovered, TexelValue)
    assert np.isnan(window.hovered.value)
    assert window.footer.detail.text() == "between weights"
    assert window.footer.value.text() == ""


def test_where_only_means_are_stored_the_mean_and_the_maximum_are_told(
    qtbot: Any, coarse: Path
) -> None:
    window = shown(qtbot, session_of(coarse), "big.weight")
    assert window.plate is not None
    side = 1 << window.plate.finest

    hover(window, 150, 150)

    row, col = (v // side * side for v in window._texel or (0, 0))
    square = aw.open_analysis(coarse).cumulative("big.weight", 50)[
        row : row + side, col : col + side
    ]
    assert side > 1
    assert isinstance(window.hovered, TexelValue)
    assert window.hovered.value == pytest.approx(square.mean(), rel=1e-5)
    assert window.footer.value.text().startswith(f"mean of {side}\N{MULTIPLICATION SIGN}{side} ")
    assert window.footer.share.text().startswith(f"max {square.max():.6g}")


def test_beside_the_picture_the_plate_itself_is_described(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "conv.weight")

    move(window, QtCore.QPoint(3, 3))

    assert window.hovered is None
    assert window.footer.name.text() == "conv.weight"
    assert "each texel one weight" in window.footer.detail.text()


def test_a_narrow_footer_says_what_a_texel_is_in_fewer_words(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "conv.weight")
    detail = window.footer.detail
    whole, brief = detail.text(), detail.brief
    advance = detail.fontMetrics().horizontalAdvance

    detail.resize(advance(brief) + 2, detail.height())
    narrow = detail.grab().toImage()
    detail.setText(brief)

    assert whole.endswith("each texel one weight")
    assert brief.endswith("every weight")
    assert advance(brief) < advance(whole)
    assert not narrow.isNull()
    assert narrow == detail.grab().toImage(), "the brief words, and no dots"


def test_the_legend_points_at_what_is_hovered(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "conv.weight")

    hover(window, 0, 0)

    assert window.hovered is not None
    assert window.bar._marker == window.hovered.normalised
    leave(window)
    assert window.bar._marker is None


# --- clicking -------------------------------------------------------------------------------


def test_a_click_selects_the_texel(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "conv.weight")

    qtbot.mouseClick(window.view, LEFT, pos=point(window, 5, 9))

    assert session.pick == Pick(0, window.plate, 5, 9)
    assert session.layer == "conv"


def test_a_click_on_a_gap_selects_nothing(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "conv.weight")

    qtbot.mouseClick(window.view, LEFT, pos=point(window, 3, 3))

    assert session.pick is None


def test_the_selected_texel_is_framed_in_the_accent_colour(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "conv.weight")
    before = image(window)

    window.view.clicked.emit(5, 9)

    middle, half = window.view.position_of(5, 9), window.view.viewport.scale / 2
    edge = QtCore.QPointF(middle.x() - half - 1, middle.y()).toPoint()
    assert before.pixelColor(edge).name() != DARK.accent
    assert image(window).pixelColor(edge).name() == DARK.accent
    assert window.footer.name.text().startswith("conv.weight[")


def test_a_selection_on_another_plate_is_not_framed(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "conv.weight")
    before = image(window)

    session.select_texel(Pick(0, session.runs[0].plates[1], 5, 9))

    assert image(window) == before


# --- zoom and pan ---------------------------------------------------------------------------


def test_zooming_in_shows_single_weights_in_their_exact_colours(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis, colour_map="viridis"), "big.weight")
    values = normalised(analysis, "big.weight", 50)

    turn(window, point(window, 200, 40), 12)
    settled(qtbot, window)

    assert window.view.region is not None
    assert window.view.region.level == 0
    assert window.view.viewport.scale > 8
    for row, col in ((200, 40), (201, 40), (200, 42), (203, 38), (198, 41)):
        assert alike(colour(window, row, col), expected(window, values[row, col]))
    assert len({colour(window, 200, col) for col in range(36, 45)}) > 4


def test_the_whole_of_a_large_picture_is_shown_by_means(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, colour_map="viridis")
    window = shown(qtbot, session, "big.weight", size=(260, 380))
    part = window.view.region

    found = colour(window, 64, 128)

    assert part is not None
    assert part.level == 1
    mean = normalised(analysis, "big.weight", 50)[64:66, 128:130].mean()
    assert alike(found, expected(window, mean))


def test_the_maximum_is_shown_where_it_is_asked_for(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, colour_map="viridis")
    window = shown(qtbot, session, "big.weight", size=(260, 380))

    session.change(plane="max")
    settled(qtbot, window)

    most = normalised(analysis, "big.weight", 50)[64:66, 128:130].max()
    assert alike(colour(window, 64, 128), expected(window, most))
    assert "each texel the max of" in window.footer.detail.text()


def test_the_wheel_zooms_around_the_mouse(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "big.weight")
    place = point(window, 90, 210)
    before = window.texel_at(window.view.mapTo(window, place))

    turn(window, place, 5)

    assert window.texel_at(window.view.mapTo(window, place)) == before == (90, 210)
    assert window.shares.right - window.shares.left < 0.5


def test_dragging_pans_and_selects_nothing(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "big.weight")
    turn(window, point(window, 150, 150), 8)
    start = point(window, 150, 150)

    drag(window, start, start + QtCore.QPoint(40, 20))

    moved = point(window, 150, 150) - start
    assert (moved.x(), moved.y()) == (40, 20)
    assert session.pick is None


def test_a_double_click_shows_the_whole_picture_again(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "big.weight")
    turn(window, point(window, 10, 10), 8)

    qtbot.mouseDClick(window.view, LEFT, pos=point(window, 11, 11))

    assert window.shares == WHOLE


def test_the_fit_button_shows_the_whole_picture_again(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "big.weight")
    turn(window, point(window, 10, 10), 8)

    window.header.fit.click()

    assert window.shares == WHOLE


def test_the_little_map_shows_where_one_is_and_goes_where_it_is_pressed(
    qtbot: Any, analysis: Path
) -> None:
    window = shown(qtbot, session_of(analysis), "big.weight")
    turn(window, point(window, 20, 20), 12)
    settled(qtbot, window)
    place = window.view._geometry.map

    qtbot.mouseClick(window.view, LEFT, pos=place.center().toPoint())

    shares = window.shares
    assert (shares.left + shares.right) / 2 == pytest.approx(0.5, abs=0.02)
    assert (shares.top + shares.bottom) / 2 == pytest.approx(0.5, abs=0.02)
    assert window._session.pick is None


def test_a_resized_window_shows_the_whole_picture_still(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "big.weight")

    window.resize(300, 700)
    settled(qtbot, window)

    assert window.shares == WHOLE
    assert window.view.texel_at(window.view.position_of(299, 299)) == (299, 299)


# --- linked windows -------------------------------------------------------------------------


def pair(qtbot: Any, session: Session) -> tuple[PictureWindow, PictureWindow]:
    first = shown(qtbot, session, "big.weight", size=(420, 480))
    second = shown(qtbot, session, "lstm.weight_ih_l0", number=1, size=(300, 600))
    link(first, second, session)
    return first, second


def test_linked_windows_zoom_and_pan_together(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, linked=True)
    first, second = pair(qtbot, session)

    turn(first, point(first, 75, 225), 7)

    wanted, found = first.shares, second.shares
    assert wanted != WHOLE
    assert (found.left + found.right) / 2 == pytest.approx((wanted.left + wanted.right) / 2)
    assert (found.top + found.bottom) / 2 == pytest.approx((wanted.top + wanted.bottom) / 2)
    second.view.fit()
    assert first.shares == WHOLE


def test_windows_that_are_not_linked_go_their_own_ways(qtbot: Any, analysis: Path) -> None:
    first, second = pair(qtbot, session_of(analysis))

    turn(first, point(first, 75, 225), 7)

    assert second.shares == WHOLE


def test_linking_lets_the_second_window_show_what_the_first_one_shows(
    qtbot: Any, analysis: Path
) -> None:
    session = session_of(analysis)
    first, second = pair(qtbot, session)
    turn(first, point(first, 75, 225), 7)

    second.header.link.click()

    assert session.settings.linked
    assert first.header.link.isChecked()
    assert second.shares != WHOLE


def test_a_view_that_is_set_from_outside_is_not_reported_back(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "big.weight")
    heard: list[Shares] = []
    window.view_changed.connect(heard.append)

    window.set_view(Shares(0.25, 0.25, 0.5, 0.5))

    assert heard == []
    assert window.shares.left < 0.3
    assert window.shares.right < 0.6
    turn(window, point(window, 100, 100), 1)
    assert heard == [window.shares]


# --- time -----------------------------------------------------------------------------------


def test_another_step_changes_the_picture(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, colour_map="viridis", fitted=False)
    window = shown(qtbot, session, "conv.weight")
    at_end = colour(window, 5, 9)

    session.move_to_step(10)
    settled(qtbot, window)

    found = colour(window, 5, 9)
    index = window.plate.layout.element(5, 9) if window.plate else None
    assert found != at_end
    assert alike(found, expected(window, normalised(analysis, "conv.weight", 10)[index]))


def test_the_first_step_shows_that_nothing_has_moved(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, colour_map="viridis")
    window = shown(qtbot, session, "conv.weight")

    session.move_to(0)
    settled(qtbot, window)

    assert colour(window, 5, 9) == expected(window, 0.0)


class SlowFiles:
    """Pretends that every part takes a while to be read, and notes which were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.read: list[int] = []
        original = PictureRequest.read

        def slow(wish: PictureRequest) -> Entries:
            time.sleep(seconds)
            self.read.append(wish.position)
            return original(wish)

        monkeypatch.setattr(PictureRequest, "read", slow)


def test_the_old_picture_stays_and_is_marked_while_the_new_one_is_read(
    qtbot: Any, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowFiles(monkeypatch, 0.5)
    session = session_of(analysis, colour_map="viridis")
    window = shown(qtbot, session, "conv.weight")
    before = colour(window, 5, 9)

    session.move_to(0)

    assert colour(window, 5, 9) == before
    qtbot.waitUntil(lambda: window.view.loading, timeout=2000)
    assert image(window).pixelColor(5, 0).name() == DARK.accent
    settled(qtbot, window)
    assert not window.view.loading
    assert image(window).pixelColor(5, 0).name() == DARK.page
    assert colour(window, 5, 9) == expected(window, 0.0)


def test_where_nothing_fine_is_read_yet_the_coarse_picture_of_this_step_is_seen(
    qtbot: Any, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(analysis, colour_map="viridis")
    window = shown(qtbot, session, "big.weight", size=(500, 620))
    turn(window, point(window, 10, 10), 14)
    session.move_to_step(10)
    settled(qtbot, window)
    SlowFiles(monkeypatch, 0.5)

    window.view.fit()

    assert window.plate is not None
    side = 1 << window.plate.coarsest
    row, col = 25 * side + side // 2, 30 * side + side // 2
    square = normalised(analysis, "big.weight", 10)[25 * side : 26 * side, 30 * side : 31 * side]
    assert side > 1
    assert alike(colour(window, row, col), expected(window, square.mean()))
    settled(qtbot, window)


def test_who_hurries_through_time_sees_the_last_step_and_waits_for_no_other(
    qtbot: Any, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(analysis, colour_map="viridis")
    window = shown(qtbot, session, "conv.weight")
    files = SlowFiles(monkeypatch, 0.05)

    for _ in range(10):
        for position in (2, 1, 0, 1):
            session.move_to(position)
    session.move_to_step(20)
    settled(qtbot, window)

    index = window.plate.layout.element(5, 9) if window.plate else None
    wanted = expected(window, normalised(analysis, "conv.weight", 20)[index])
    assert alike(colour(window, 5, 9), wanted)
    assert len(files.read) <= 3


def test_while_time_runs_the_next_step_is_read_ahead(
    qtbot: Any, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "conv.weight")
    files = SlowFiles(monkeypatch, 0.0)

    session.play()
    settled(qtbot, window)

    assert session.cursor.position == 0
    assert set(files.read) == {0, 1}


# --- choosing -------------------------------------------------------------------------------


def test_the_first_window_follows_and_the_second_one_stays(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    first, second = shown(qtbot, session), shown(qtbot, session, number=1)
    assert first.choice == PlateChoice(0, "conv.weight")
    assert second.choice == PlateChoice(0, "lstm.weight_ih_l0")

    session.select_layer("big")
    settled(qtbot, first, second)

    assert first.choice == PlateChoice(0, "big.weight")
    assert second.choice == PlateChoice(0, "lstm.weight_ih_l0")
    assert first.header.box.currentText() == "big.weight"


def test_choosing_a_plate_ends_following(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session)

    window.show_plate(0, "lstm.weight_ih_l0")
    session.select_layer("big")

    assert not window.following
    assert window.choice == PlateChoice(0, "lstm.weight_ih_l0")


def test_following_again_shows_the_selection_at_once(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "conv.weight")
    session.select_layer("big")

    window.header.follow.click()

    assert window.choice == PlateChoice(0, "big.weight")


def test_any_part_of_a_name_finds_the_plate(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis))
    field = window.header.box.lineEdit()

    field.selectAll()
    qtbot.keyClicks(field, "ih_l")
    qtbot.keyClick(field, QtCore.Qt.Key.Key_Return)

    assert window.choice == PlateChoice(0, "lstm.weight_ih_l0")
    assert window.header.box.currentText() == "lstm.weight_ih_l0"


def test_a_name_that_nothing_has_is_forgotten(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "conv.weight")
    field = window.header.box.lineEdit()

    field.selectAll()
    qtbot.keyClicks(field, "resnet")
    qtbot.keyClick(field, QtCore.Qt.Key.Key_Return)

    assert window.choice == PlateChoice(0, "conv.weight")
    assert field.text() == "conv.weight"


def test_the_list_chooses_too(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis))
    box = window.header.box

    box.activated.emit(box.findText("big.weight"))

    assert window.choice == PlateChoice(0, "big.weight")


def test_a_plate_that_is_not_there_cannot_be_shown(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis))

    with pytest.raises(UnknownNameError, match=r"'fc\.weight'"):
        window.show_plate(0, "fc.weight")


def test_gates_are_named_and_parted(qtbot: Any, analysis: Path) -> None:
    window = shown(qtbot, session_of(analysis), "lstm.weight_ih_l0")
    plate = window.plate
    assert plate is not None

    stage = window.view._geometry
    boundary = stage.rect(0, plate.layout.sections[1].row, 1, 1).top()
    line = QtCore.QPoint(int(stage.picture.left()) - 3, round(boundary))

    assert [section.name for section in plate.layout.sections] == ["i", "f", "g", "o"]
    assert image(window).pixelColor(line).name() == DARK.dim
    left = QtCore.QRect(0, 0, int(stage.picture.left()) - 8, window.view.height())
    assert len(_colours(image(window).copy(left))) > 2


def _colours(picture: Any) -> set[str]:
    places = ((x, y) for x in range(picture.width()) for y in range(picture.height()))
    return {picture.pixelColor(x, y).name() for x, y in places}


# --- settings -------------------------------------------------------------------------------


def test_another_theme_changes_gaps_and_what_is_around_the_picture(
    qtbot: Any, analysis: Path
) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "conv.weight")
    gaps = (3, 3), (7, 0)
    assert image(window).pixelColor(2, 2).name() == DARK.page
    assert [colour(window, *gap) for gap in gaps] == [rgb(DARK.mat)] * 2

    window.set_theme(LIGHT)
    settled(qtbot, window)

    assert image(window).pixelColor(2, 2).name() == LIGHT.page
    assert [colour(window, *gap) for gap in gaps] == [rgb(LIGHT.mat)] * 2


def test_another_colour_map_needs_no_reading(
    qtbot: Any, analysis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(analysis)
    window = shown(qtbot, session, "conv.weight")
    index = window.plate.layout.element(5, 9) if window.plate else None
    value = normalised(analysis, "conv.weight", 50)[index]
    files = SlowFiles(monkeypatch, 0.0)

    session.change(colour_map="magma")

    assert alike(colour(window, 5, 9), expected(window, value))
    assert files.read == []


@pytest.mark.parametrize(
    "change", [{"logarithmic": True}, {"low": 0.3}, {"fitted": False, "high": 0.6}]
)
def test_the_range_of_values_changes_the_picture(
    qtbot: Any, analysis: Path, change: dict[str, Any]
) -> None:
    session = session_of(analysis, colour_map="viridis")
    window = shown(qtbot, session, "lstm.weight_ih_l0")
    before = image(window)
    value = normalised(analysis, "lstm.weight_ih_l0", 50)[9, 4]

    session.change(**change)
    settled(qtbot, window)

    assert image(window) != before
    assert alike(colour(window, 9, 4), expected(window, value))


def test_the_scope_changes_the_scale(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis, colour_map="viridis", fitted=False)
    window = shown(qtbot, session, "big.weight", size=(700, 800))

    session.change(scope="global")
    settled(qtbot, window)

    value = aw.open_analysis(analysis).normalized("big.weight", 50, "global")[30, 40]
    assert alike(colour(window, 30, 40), expected(window, value))


# --- two runs -------------------------------------------------------------------------------


def test_two_runs_stand_in_two_windows(qtbot: Any, analysis: Path, other: Path) -> None:
    session = session_of(analysis, other)
    first, second = shown(qtbot, session), shown(qtbot, session, number=1)

    session.select_layer("lstm")

    assert first.choice == PlateChoice(0, "lstm.weight_ih_l0")
    assert second.choice == PlateChoice(1, "lstm.weight_ih_l0")


def test_a_click_in_the_second_run_selects_there(qtbot: Any, analysis: Path, other: Path) -> None:
    session = session_of(analysis, other)
    window = shown(qtbot, session, number=1)
    window.show_plate(1, "conv.weight")
    settled(qtbot, window)

    qtbot.mouseClick(window.view, LEFT, pos=point(window, 5, 9))

    assert session.pick == Pick(1, session.runs[1].plates[0], 5, 9)


def test_a_difference_shows_which_run_has_moved_more(
    qtbot: Any, analysis: Path, other: Path
) -> None:
    session = session_of(analysis, other, difference_scale="own")
    window = shown(qtbot, session)

    window.show_plate("difference", "conv.weight")
    settled(qtbot, window)
    hover(window, 5, 9)

    index = window.plate.layout.element(5, 9) if window.plate else None
    ours, theirs = (normalised(path, "conv.weight", 50)[index] for path in (analysis, other))
    assert isinstance(window.hovered, TexelDifference)
    assert window.hovered.value == pytest.approx(ours - theirs, abs=1e-6)
    assert window.footer.value.text().startswith("difference ")
    assert window.bar.signed
    assert window.bar.caption.startswith("first \N{MINUS SIGN} second: difference of change")
    assert alike(colour(window, 5, 9), expected(window, ours - theirs))


def test_comparing_by_difference_changes_the_following_window(
    qtbot: Any, analysis: Path, other: Path
) -> None:
    session = session_of(analysis, other)
    window = shown(qtbot, session)
    settled(qtbot, window)
    beside = image(window)

    session.compare_as("difference")
    settled(qtbot, window)

    assert window.choice == PlateChoice("difference", "conv.weight")
    assert image(window) != beside
    session.compare_as("beside")
    settled(qtbot, window)
    assert image(window) == beside


def test_shapes_that_differ_have_no_difference_and_it_is_said(
    qtbot: Any, analysis: Path, other: Path
) -> None:
    window = shown(qtbot, session_of(analysis, other))

    window.show_plate("difference", "big.weight")

    assert "same shape in both runs" in window.message
    hover(window, 5, 5)
    assert window.hovered is None


# --- what is not there ----------------------------------------------------------------------


def test_an_analysis_without_pictures_shows_one_colour_and_says_so(
    qtbot: Any, folder: Path
) -> None:
    out = folder / "bare.accw"
    aw.analyze(run_of(folder / "bare", series(1), steps=STEPS), out, picture_budget_bytes=0)
    session = session_of(out, colour_map="viridis")
    window = shown(qtbot, session, "big.weight")

    hover(window, 10, 10)

    mean = normalised(out, "big.weight", 50).mean()
    assert window.footer.value.text().startswith("mean of all weights")
    assert colour(window, 10, 10) == colour(window, 290, 290)
    assert alike(colour(window, 10, 10), expected(window, mean))
    qtbot.mouseClick(window.view, LEFT, pos=point(window, 5, 9))
    assert session.layer == "big"
    assert session.pick is None


def test_what_is_not_analysed_yet_appears_when_it_is(qtbot: Any, tmp_path: Path) -> None:
    run, out = run_of(tmp_path / "grow", series(1), steps=STEPS), tmp_path / "grow.accw"
    session = session_of(stopped(run, out, after=1))
    window = shown(qtbot, session)
    unfinished = [plate.name for plate in session.runs[0].plates if not plate.ready]
    window.show_plate(0, unfinished[0])
    assert window.message == "not analysed yet"

    aw.analyze(run, out)
    assert session.refresh()
    settled(qtbot, window)

    assert window.message == ""
    hover(window, 1, 1)
    assert isinstance(window.hovered, TexelValue)
    assert window.hovered.value > 0


def test_a_damaged_picture_is_named(qtbot: Any, analysis: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.accw"
    shutil.copytree(analysis, broken)
    window = shown(qtbot, session_of(broken), "conv.weight")
    damaged = list((broken / "pictures").rglob("c.*"))
    for file in damaged:
        file.write_bytes(b"short")

    window.show_plate(0, "big.weight")
    settled(qtbot, window)

    assert damaged
    assert window.message.startswith("cannot be read: ")
    hover(window, 10, 10)
    assert window.hovered is None


def test_closing_ends_the_thread(qtbot: Any, analysis: Path) -> None:
    before = threading.active_count()
    window = shown(qtbot, session_of(analysis))
    assert threading.active_count() == before + 2, "pictures, and texels under the mouse"

    window.close()

    assert threading.active_count() == before


def test_a_window_that_is_gone_hears_nothing(qtbot: Any, analysis: Path) -> None:
    session = session_of(analysis)
    window = PictureWindow(session, 0)
    window.close()

    window.deleteLater()
    QtWidgets.QApplication.sendPostedEvents(window, QtCore.QEvent.Type.DeferredDelete)

    session.move_to(0)
    session.select_layer("big")
    session.change(theme="light", linked=True)
