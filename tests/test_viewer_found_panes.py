"""Panes of what probes found, in real windows: real mouse events in, pixels out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe_results import HOSTILE, stored_results
from viewer_helpers import stored
from window_driver import OpenWindow, pixels, rgb, settle

pytest.importorskip("pyqtgraph")
from pyqtgraph.Qt import QtCore, QtGui, QtTest, QtWidgets

from accweight_viewer.panes.scatter_pane import ScatterPane
from accweight_viewer.panes.sheet_pane import SheetPane
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

LEFT = QtCore.Qt.MouseButton.LeftButton
NO_KEY = QtCore.Qt.KeyboardModifier.NoModifier


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis with results of every kind."""
    return stored_results(tmp_path_factory.mktemp("panes") / "run.accw")


def panes_of(window: MainWindow) -> tuple[ScatterPane, SheetPane]:
    scatter, sheet, _ = window.found.panes
    assert isinstance(scatter, ScatterPane)
    assert isinstance(sheet, SheetPane)
    return scatter, sheet


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

    assert [pane.isVisibleTo(with_results) for pane in with_results.found.panes] == [
        True,
        True,
        False,
    ]
    assert not without.found.isVisibleTo(without)
    assert with_results.controls.plate_values.isVisibleTo(with_results)
    assert not without.controls.plate_values.isVisibleTo(without)


def test_the_sheet_follows_the_time_line(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    _, sheet = panes_of(window)
    sheet.head.switch.click()  # not over the input: the pixels as they are stored

    seen = []
    for step in (0, 40):
        window.session.move_to_step(step)
        settle(window)
        shown = pixels(sheet.view.grab().toImage())
        grid, (left, top) = sheet.view.grid, sheet.view.origin
        x, y = grid.place(3)
        seen.append(int(shown[top + y + grid.height - 4, left + x + grid.width // 2, 0]))

    assert seen == [53, 153]


def test_a_line_around_points_shows_their_samples(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane, _ = panes_of(window)
    pane.scatter.choose(pane.scatter.choices[-1])
    pane.renew()
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


def test_points_have_the_colours_of_their_classes(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane, _ = panes_of(window)
    pane.scatter.choose(pane.scatter.choices[-1])
    for theme in ("light", "dark"):
        window.session.change(theme=theme)
        settle(window)
        shown = pixels(pane.view.grab().toImage())
        at = pane.view.pixels_of(pane.scatter.places())
        ratio = shown.shape[1] / pane.view.width()

        x, y = (at[0] * ratio).astype(int)

        wanted = np.array(rgb(pane.view._theme.classes[0]))
        assert np.abs(shown[y, x].astype(int) - wanted).max() <= 30  # a little transparent


def test_plates_show_what_units_do(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed, chosen={"colour_map": "viridis"})
    settle(window)
    before = pixels(window.scenes[0].grabFramebuffer())

    box = window.controls.plate_values
    box.setCurrentIndex(1)
    box.activated.emit(1)
    settle(window)

    assert window.session.settings.plate_values == "everything.values"
    assert (pixels(window.scenes[0].grabFramebuffer()) != before).any()
    assert "everything.values" in window.legend.caption
    assert "\x1b" not in pane_text(window)


def pane_text(window: MainWindow) -> str:
    boxes = [pane.head.box for pane in panes_of(window)]
    texts = [box.itemText(at) for box in boxes for at in range(box.count())]
    assert any("onerror" in text for text in texts), HOSTILE
    return "".join(texts)
