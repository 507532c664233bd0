"""The pane with the graph, in real windows: real mouse events in, pixels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted_graphs import TWELVE, run_of_twelve
from viewer_helpers import stored
from window_driver import KEY, OpenWindow, click, pixels, rgb, settle, type_key

pytest.importorskip("pyqtgraph")
pytest.importorskip("quickjs")
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.analysis.graph_colours import graph_scale
from accweight_viewer.panes.graph_pane import GraphPane
from accweight_viewer.theme import theme_called
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis with a graph."""
    return run_of_twelve(tmp_path_factory.mktemp("graph"))


def pane_of(window: MainWindow, *, whole: bool = True) -> GraphPane:
    """Return the pane, in place of the scene, with all layers."""
    pane = window.found.graph
    click(pane.larger, pane.larger.rect().center())
    if whole:
        pane.head.switch.click()
    settle(window)
    return pane


def item_called(pane: GraphPane, name: str) -> int:
    return next(item.number for item in pane.scene.tree.items if item.name == name)


def band_colour(pane: GraphPane, name: str) -> tuple[int, int, int]:
    """Return the colour in the band of a layer's card."""
    view = pane.view
    assert view.drawing is not None
    card = next(c for c in view.drawing.cards if c.item == item_called(pane, name))
    spot = QtCore.QPointF(card.x + card.width / 2, card.y + card.height - 8.5)
    at = (spot * view.zoom + view.offset).toPoint()
    red, green, blue = pixels(view.grab().toImage())[at.y(), at.x()].tolist()
    return red, green, blue


def wanted_colour(window: MainWindow, name: str, by: str) -> tuple[int, int, int]:
    """Return the colour that a number has on the scale."""
    session, run = window.session, window.session.runs[0]
    values = run.metric(by)
    scale = graph_scale(
        values, session.settings.colour_map, light=session.settings.theme == "light"
    )
    row = [layer.name for layer in run.layers].index(name)
    entry = int(scale.entries(values[row, run.position_at(session.step)]))
    red, green, blue = scale.colours[entry].tolist()
    return red, green, blue


def test_a_click_on_a_layer_selects_it_in_the_table(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane = pane_of(window)

    click(pane.view, pane.view.point_of(item_called(pane, "right.1")))
    settle(window)

    assert window.session.layer == "right.1"
    rows = window.table.view.selectionModel().selectedRows()
    assert [row.row() for row in rows] == [window.session.layer_names.index("right.1")]


def test_a_selection_elsewhere_marks_the_card(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane = pane_of(window)
    accent = np.array(rgb(theme_called("dark").accent))

    def marked() -> int:
        seen = pixels(pane.view.grab().toImage())
        return int((np.abs(seen.astype(int) - accent).max(axis=2) < 12).sum())

    before = marked()
    window.session.select_layer("body.1.fc1")
    settle(window)

    assert before == 0
    assert marked() > 60


def test_the_time_recolours_every_card(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane = pane_of(window)

    for step in (0, 1, 2):
        window.session.move_to_step(step)
        settle(window)
        for name in TWELVE:
            assert band_colour(pane, name) == wanted_colour(window, name, "relative")


def test_another_number_and_theme_recolour_too(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane = pane_of(window)

    at = pane.head.box.findText("rotation")
    pane.head.box.setCurrentIndex(at)
    pane.head.box.activated.emit(at)
    window.session.change(theme="light", colour_map="viridis")
    settle(window)

    assert pane.scene.chosen.title == "rotation"
    assert band_colour(pane, "head") == wanted_colour(window, "head", "rotation")
    assert tuple(pixels(pane.view.grab().toImage())[2, 2]) == rgb(theme_called("light").page)


def test_a_module_unfolds_by_a_click_and_folds_by_one_on_its_head(
    analysed: Path, opened: OpenWindow
) -> None:
    window = opened(analysed)
    pane = pane_of(window, whole=False)
    pane.scene.toggle(item_called(pane, "left"))  # folded
    pane.renew()
    settle(window)
    left = item_called(pane, "left")

    def cards() -> int:
        assert pane.view.drawing is not None
        return len(pane.view.drawing.cards)

    folded = cards()
    click(pane.view, pane.view.point_of(left))
    settle(window)
    unfolded = cards()
    click(pane.view, pane.view.point_of(left))
    settle(window)

    assert (unfolded - folded, cards()) == (3, folded)  # three layers and a join for one card


def test_the_wheel_zooms_at_the_mouse_and_dragging_moves(
    analysed: Path, opened: OpenWindow
) -> None:
    window = opened(analysed)
    view = pane_of(window).view
    place = QtCore.QPointF(200, 150)
    under = (place - view.offset) / view.zoom

    wheel = QtGui.QWheelEvent(
        place, QtCore.QPointF(view.mapToGlobal(place.toPoint())), QtCore.QPoint(),
        QtCore.QPoint(0, 240), QtCore.Qt.MouseButton.NoButton,
        QtCore.Qt.KeyboardModifier.NoModifier, QtCore.Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    zoom = view.zoom
    QtWidgets.QApplication.sendEvent(view, wheel)
    after = (place - view.offset) / view.zoom

    assert view.zoom > 1.4 * zoom
    assert abs(after.x() - under.x()) + abs(after.y() - under.y()) < 1e-6


def test_without_a_graph_it_is_shown_when_asked_for_and_says_that_it_is_the_order(
    tmp_path: Path, opened: OpenWindow
) -> None:
    window = opened(stored(tmp_path))
    pane = window.found.graph

    assert not pane.isVisibleTo(window)
    type_key(window, KEY.Key_G)
    settle(window)
    assert pane.isVisibleTo(window)
    assert "no graph of this network is known" in pane.head.note.text()
    type_key(window, KEY.Key_G)
    settle(window)
    assert not pane.isVisibleTo(window)


def test_escape_gives_the_scene_its_room_back(analysed: Path, opened: OpenWindow) -> None:
    window = opened(analysed)
    pane = pane_of(window)

    hidden = not window.scenes[0].isVisibleTo(window)
    type_key(window, KEY.Key_Escape)
    settle(window)

    assert hidden
    assert window.scenes[0].isVisibleTo(window)
    assert not pane.is_enlarged
