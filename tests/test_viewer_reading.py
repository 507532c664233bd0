"""What is read for what is pointed at: never on the thread of the window, once, and told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyqtgraph.Qt import QtCore
from viewer_helpers import stored
from window_driver import OpenWindow, click, go_to, middle_of, move_mouse, plate_called, settle

from accweight_core.analysis.exact_client import ExactClient
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("reading"), "net")


@pytest.fixture(scope="module")
def shared(analysis: Path, window_of: OpenWindow) -> MainWindow:
    return window_of(analysis, chosen={"labels": False})


@pytest.fixture
def window(qtbot: Any, shared: MainWindow) -> Iterator[MainWindow]:
    go_to(shared, "fc1")
    yield shared
    shared.session.select_layer(None)


def test_nothing_is_read_on_the_thread_of_the_window(
    monkeypatch: pytest.MonkeyPatch, window: MainWindow, qtbot: Any
) -> None:
    readers: set[threading.Thread] = set()
    values, refreshed = ShownRun.values, ShownRun.refreshed

    def watched_values(run: ShownRun, *which: Any) -> Any:
        readers.add(threading.current_thread())
        return values(run, *which)

    looked = []

    def watched_refresh(run: ShownRun) -> Any:
        looked.append(threading.current_thread())
        return refreshed(run)

    monkeypatch.setattr(ShownRun, "values", watched_values)
    window.growth.looking.loader._read = watched_refresh
    scene, flat = window.scenes[0], window.windows[0].view
    plate = plate_called(window, "fc1.weight")

    move_mouse(scene, middle_of(scene, plate, 3, 4))
    settle(window)
    move_mouse(flat, flat.position_of(5, 6).toPoint())
    settle(window)
    click(scene, middle_of(scene, plate, 7, 8))
    window.session.move_to(1)
    settle(window)
    qtbot.waitUntil(lambda: bool(looked))

    assert window.status.text().startswith("fc1.weight[3, 4]")
    assert readers
    assert threading.main_thread() not in {*readers, *looked}


def test_exact_values_are_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, window: MainWindow, qtbot: Any
) -> None:
    asked: list[Any] = []
    answers = {"weights": [0.5] * 5, "cumulative": [0.0] * 5}

    def ask(client: ExactClient, parameter: str, index: Any, callback: Any) -> None:
        asked.append(tuple(index))
        callback(answers)

    monkeypatch.setattr(ExactClient, "ask", ask)
    scene, plate = window.scenes[0], plate_called(window, "fc1.weight")
    window.session.move_to(window.session.cursor.last)

    for texel in ((1, 1), (2, 2), (1, 1)):
        click(scene, middle_of(scene, plate, *texel))
        qtbot.waitUntil(lambda: window.readout.weight.value.text() == "0.5")

    assert asked == [(1, 1), (2, 2)]


def test_reading_that_takes_long_is_told_with_its_time(
    monkeypatch: pytest.MonkeyPatch, window: MainWindow, qtbot: Any
) -> None:
    monkeypatch.setattr(ExactClient, "ask", lambda *_: None)
    scene, plate = window.scenes[0], plate_called(window, "fc1.weight")

    click(scene, middle_of(scene, plate, 9, 9))

    note = window.readout.weight.note
    qtbot.waitUntil(lambda: note.text().startswith("reading 5 checkpoints"))
    qtbot.waitUntil(lambda: note.text().endswith(" 1 s"))


def test_pointing_at_a_weight_makes_ready_for_a_click(
    monkeypatch: pytest.MonkeyPatch, window: MainWindow
) -> None:
    started: list[int] = []
    monkeypatch.setattr(ExactClient, "start", lambda client: started.append(1))
    scene, plate = window.scenes[0], plate_called(window, "fc1.weight")

    move_mouse(scene, QtCore.QPoint(2, 2))
    before = list(started)
    move_mouse(scene, middle_of(scene, plate, 3, 3))

    assert (before, started) == ([], [1])
