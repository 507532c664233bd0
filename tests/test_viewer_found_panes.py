"""Panes of what probes found, in real windows: real mouse events in, pixels out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe_networks import Classifier, Plain, digits, trained, write_states
from probe_results import HOSTILE, field, stored_results
from viewer_helpers import stored
from window_driver import OpenWindow, colour_at, move_mouse, pixels, rgb, settle, shown_panes

import accweight_core as aw
from accweight_core.store.probe_store import ProbeDocument, ProbeStore

pytest.importorskip("pyqtgraph")
from pyqtgraph.Qt import QtCore, QtGui, QtTest, QtWidgets

from accweight_viewer.panes.scatter_pane import ScatterPane
from accweight_viewer.panes.sheet_pane import SheetPane
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

LEFT = QtCore.Qt.MouseButton.LeftButton
NO_KEY = QtCore.Qt.KeyboardModifier.NoModifier
COLS = range(4)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis with results of every kind."""
    return stored_results(tmp_path_factory.mktemp("panes") / "run.accw")


def panes_of(window: MainWindow) -> tuple[ScatterPane, SheetPane]:
    scatter, _, sheet, _ = window.found.panes
    assert isinstance(scatter, ScatterPane)
    assert isinstance(sheet, SheetPane)
    return scatter, sheet


def staged(pane: ScatterPane) -> None:
    """Let it show the samples at the last stage."""
    pane.scatter.choose(next(one for one in reversed(pane.scatter.choices) if one.stage))
    pane.renew()


def drag(view: Any, corners: list[Any]) -> None:
    """Draw a line with the left button."""
    QtTest.QTest.mousePress(view, LEFT, NO_KEY, corners[0])
    for point in corners[1:]:
        place, far = QtCore.QPointF(point), QtCore.QPointF(view.mapToGlobal(point))
        moved = QtGui.QMouseEvent(
            QtCore.QEvent.Type.MouseMove, place, far, QtCore.Qt.MouseButton.NoButton, LEFT, NO_KEY
        )
        QtWidgets.QApplication.sendEvent(view, moved)
    QtTest.QTest.mouseRelease(view, LEFT, NO_KEY, corners[-1])


def test_panes_are_there_only_for_what_is_stored(
    analysed: Path, opened: OpenWindow, tmp_path: Path
) -> None:
    with_results = opened(analysed)
    without = opened(stored(tmp_path))

    assert shown_panes(with_results) == ["ScatterPane", "SheetPane"]
    assert not without.found.isVisibleTo(without)
    assert with_results.controls.plate_values.isVisibleTo(with_results)
    assert not without.controls.plate_values.isVisibleTo(without)


def test_the_sheet_follows_the_time_line(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    _, sheet = panes_of(window)
    sheet.head.switch.click()  # not over the input: ratings alone, on the page

    seen = []
    for step in (0, 40):
        window.session.move_to_step(step)
        settle(window)
        shown = pixels(sheet.view.grab().toImage())
        grid, (left, top) = sheet.view.grid, sheet.view.origin
        x, y = grid.place(3)
        cell = shown[top + y + grid.height - 4, left + x + grid.width // 2]
        seen.append(bool(cell[0] > cell[2]))  # redder than blue

    assert seen == [False, True]  # 53 is below 0, 153 above


def test_tokens_stand_in_the_cells_of_their_ratings(tmp_path: Path, opened: OpenWindow) -> None:
    path, names = stored(tmp_path), ["a", "b", "c", "d", "e", "f", "g", "h", "i", " "]
    fields = (field("images", "step picture height width channel", (0, 2, 1, 10, 1), "uint8"),)
    document = ProbeDocument("ratings", 1, {}, (0,), fields, attributes={"tokens": [names, names]})
    grey = np.full((2, 1, 10, 1), 128, np.uint8)
    ProbeStore.begun(path, "0" * 12, document).write_step(0, {"images": grey})
    window = opened(path)
    _, sheet = panes_of(window)

    assert sheet.sheet.tokens == [names, names]
    (left, top), grid = sheet.view.origin, sheet.view.grid
    shown, across = pixels(sheet.view.grab().toImage()), grid.width / 10
    for number, is_written in ((0, True), (9, False)):
        begin = int(left + grid.indent + number * across) + 2
        cell = shown[top + 1 : top + grid.height - 1, begin : begin + int(across) - 4]
        assert (cell.max() - cell.min() > 60) == is_written


def test_a_line_around_points_shows_their_samples(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane, _ = panes_of(window)
    staged(pane)
    settle(window)
    at = pane.view.pixels_of(pane.scatter.places())
    before = pixels(pane.instances.grab().toImage())

    right = int((at[1, 0] + at[2, 0]) / 2)
    high, low = int(at[:, 1].min()) - 10, int(at[:, 1].max()) + 10
    drag(pane.view, [QtCore.QPoint(*p) for p in ((2, high), (right, high), (right, low), (2, low))])

    assert pane.scatter.chosen_points.tolist() == [0, 1]
    after = pixels(pane.instances.grab().toImage())
    assert (after != before).any()
    theme = window.session.settings.theme
    colours = [rgb(c) for c in pane.instances._theme.classes[:2]]
    found = {tuple(pixel) for pixel in after.reshape(-1, 3).tolist()}
    assert set(colours) <= found, theme  # a stripe below each sample, of the colour of its class
    QtTest.QTest.mouseClick(pane.view, LEFT, NO_KEY, QtCore.QPoint(3, 3))
    assert pane.scatter.chosen_points.tolist() == []


def test_given_samples_are_seen_beside_the_points_that_are_chosen(
    opened: OpenWindow, tmp_path: Path
) -> None:
    path = stored_results(tmp_path / "run.accw")
    x = np.zeros((112, 1, 32, 32), np.uint8)
    x[101] = 251  # point 1
    np.savez(tmp_path / "data.npz", x=x, y=(np.arange(112) - 100) % 3)
    window = opened(path, data=tmp_path / "data.npz")
    pane, _ = panes_of(window)
    staged(pane)
    settle(window)
    before = pixels(pane.instances.grab().toImage())

    at = pane.view.pixels_of(pane.scatter.places())[1]
    move_mouse(pane.view, QtCore.QPoint(*map(int, at)))
    settle(window)

    after = pixels(pane.instances.grab().toImage())
    assert pane.scatter.pointed_at == 1
    assert not (before == 251).all(axis=2).any()
    assert (after == 251).all(axis=2).sum() > 900, "its picture"


def test_points_have_the_colours_of_their_classes(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane, _ = panes_of(window)
    staged(pane)
    for theme in ("light", "dark"):
        window.session.change(theme=theme)
        settle(window)
        shown = pixels(pane.view.grab().toImage())
        at = pane.view.pixels_of(pane.scatter.places())
        ratio = shown.shape[1] / pane.view.width()

        x, y = (at[0] * ratio).astype(int)

        wanted = np.array(rgb(pane.view._theme.classes[0]))
        assert np.abs(shown[y, x].astype(int) - wanted).max() <= 30  # a little transparent


def test_things_by_two_quantities_stand_on_axes_with_their_names(
    analysed: Path, opened: OpenWindow
) -> None:
    window = opened(analysed)
    pane, _ = panes_of(window)
    box = pane.head.box
    box.setCurrentIndex(box.count() - 1)
    box.activated.emit(box.count() - 1)
    settle(window)
    scatter = pane.scatter
    at = pane.view.pixels_of(scatter.places())

    move_mouse(pane.view, QtCore.QPoint(*map(round, at[1])))

    # at the last step, the four are at (0, 0), (1, 0), (0, 1) and (0.5, 0.25) of bounds 0 and 1
    corners, ends = pane.view.pixels_of(scatter.box[0]), scatter.box[1]
    np.testing.assert_allclose(ends, [[0, 0], [1, 1]])
    np.testing.assert_allclose(at[:3], [corners[0], [corners[1, 0], corners[0, 1]],
                                        [corners[0, 0], corners[1, 1]]])  # fmt: skip
    assert scatter.text_of(1).splitlines()[:2] == ["unit 1", "open 1"]
    assert "unit 1" in QtWidgets.QToolTip.text()
    assert not pane.head.switch.isVisibleTo(window), "axes are the same at all steps"
    assert scatter.pictures_of([0]) is None, "they are no samples"
    left, high = int(at[3, 0]) - 12, pane.view.height() - 1
    drag(pane.view, [QtCore.QPoint(*p) for p in ((1, 1), (1, high), (left, high), (left, 1))])
    assert scatter.chosen_text().startswith("2 points")


def test_plates_show_what_units_do(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed, chosen={"colour_map": "viridis"})
    window.histogram.leave_out()  # it makes room for the scene
    settle(window)
    before = pixels(window.scenes[0].grabFramebuffer())

    box = window.controls.plate_values
    box.setCurrentIndex(1)
    box.activated.emit(1)
    settle(window)

    assert window.session.settings.plate_values == "everything.values"
    after = pixels(window.scenes[0].grabFramebuffer())
    assert not np.array_equal(after, before)  # a caption of two lines takes room of the scene
    assert "everything: what values is" in window.legend.caption
    assert "\x1b" not in pane_text(window)


def test_plates_show_activation_saliency_and_gradient(tmp_path: Path, opened: OpenWindow) -> None:
    module, data = Classifier(), digits(24)
    states = trained(module, *data, epochs=1)
    run, path = aw.open_run(write_states(tmp_path / "run", states)), tmp_path / "run.accw"
    asked = ["activations", "unit_saliency:points=12"]
    aw.probe(run, Plain(module), data, asked, out=path)
    window = opened(path, chosen={"colour_map": "viridis"})
    box = window.controls.plate_values
    assert window.histogram.isVisibleTo(window)

    seen = []
    for at in range(box.count()):
        box.setCurrentIndex(at)
        box.activated.emit(at)
        settle(window)
        seen.append(pixels(window.scenes[0].grabFramebuffer()).tobytes())

    texts = [box.itemText(at) for at in range(box.count())]
    assert texts == ["movement", "activations", "saliency", "gradient"]
    assert len(set(seen[1:])) == 3
    assert window.legend.caption.startswith("unit_saliency gradient: mean norm of the gradient")
    assert not window.histogram.isVisibleTo(window)  # which is of movement


def pane_text(window: MainWindow) -> str:
    boxes = [pane.head.box for pane in panes_of(window)]
    texts = [box.itemText(at) for box in boxes for at in range(box.count())]
    assert any("onerror" in text for text in texts), HOSTILE
    return "".join(texts)


def test_flat_pictures_and_the_readout_show_what_units_do(
    analysed: Path, opened: OpenWindow
) -> None:
    window = opened(analysed, chosen={"colour_map": "viridis", "scope": "global"})
    session, flat, readout = window.session, window.windows[0], window.readout
    session.select_layer("out")
    settle(window)
    box = window.controls.plate_values
    box.setFocus()
    QtTest.QTest.keyClick(box, QtCore.Qt.Key.Key_Down)
    session.move_to_step(10)
    settle(window)
    seen = pixels(flat.view.grab().toImage())
    rows = [
        {
            colour_at(seen, place.x(), place.y())
            for place in map(flat.view.position_of, [r] * 4, COLS)
        }
        for r in range(5)
    ]
    place = flat.view.position_of(3, 2).toPoint()
    QtTest.QTest.mouseClick(flat.view, LEFT, NO_KEY, place)
    settle(window)

    # unit u of layer 2 has 2 + u / 10, times 2 at the second step; the largest of all is 7.2
    scale = session.scale_of(signed=False)
    for unit, colours in enumerate(rows):
        entry = int(scale.entries(np.float32((2 + unit / 10) * 2 / 7.2)))
        assert colours == {tuple(scale.colours[entry].tolist())}
    assert (flat.bar.scale.colours == scale.colours).all()
    assert "what values is" in flat.bar.caption
    assert flat.footer.value.text() == "unit 3: everything 4.6"
    assert readout.unit.isVisibleTo(window)
    assert readout.unit.caption.text() == "everything of unit 3"
    assert readout.unit.value.text() == "4.6"
    assert "63.9 % of the network's largest" in readout.unit.note.text()
    np.testing.assert_allclose(readout.unit.curve.values, [2.3, 4.6, 6.9], rtol=1e-6)
    assert not window.histogram.isVisibleTo(window), "it is of movement"


def test_movement_is_back_in_the_flat_pictures_when_it_is_chosen(
    analysed: Path, opened: OpenWindow
) -> None:
    window = opened(analysed)
    session, flat = window.session, window.windows[0]
    session.select_layer("out")
    session.select_texel(flat._pick(3, 2))

    def colours() -> list[Any]:
        """Return the colours of all texels but the one that is marked."""
        settle(window)
        seen = pixels(flat.view.grab().toImage())
        places = [flat.view.position_of(row, 0) for row in range(5)]
        return [colour_at(seen, place.x(), place.y()) for place in places]

    before = colours()
    session.change(plate_values="everything.values")
    between = colours()
    session.change(plate_values="movement")

    assert colours() == before != between
    assert not window.readout.unit.isVisibleTo(window)
    assert window.histogram.isVisibleTo(window)
    assert flat.footer.value.text().startswith("moved")


def test_a_flat_picture_of_what_no_probe_knows_says_so(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed, chosen={"plate_values": "everything.values"})

    window.session.select_layer("conv")
    settle(window)

    assert window.windows[0].message == "everything: nothing of this layer"


class Noting(QtGui.QPainter):
    """A painter that keeps the boxes around names."""

    def __init__(self, on: Any) -> None:
        super().__init__(on)
        self.boxes: list[Any] = []

    def drawRoundedRect(self, box: Any, *radii: float) -> None:  # noqa: N802
        """Draw a box, and keep it."""
        self.boxes.append(box)
        super().drawRoundedRect(box, *radii)


def test_names_of_classes_stay_in_the_pane(analysed: Path, opened: OpenWindow) -> None:
    pane, _ = panes_of(opened(analysed))
    staged(pane)
    view, classes = pane.view, pane.scatter.classes
    wide, high = view.width(), view.height()
    page = QtGui.QPixmap(view.size())
    painter = Noting(page)

    view._draw_names(painter, np.array([(0, 0), (wide, high / 2), (wide, high)], float)[classes])

    painter.end()
    first, second, third = painter.boxes
    assert all(QtCore.QRectF(view.rect()).contains(box) for box in painter.boxes)
    assert first.left() < 2 > first.top()
    assert second.right() > wide - 2
    assert second.center().y() == high / 2, "moved no further than is needed"
    assert third.bottom() > high - 2
