"""The window without an analysis, the guide and the hint: what is dropped, pressed and flown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from viewer_helpers import run_of, stopped, stored, walks
from window_driver import click, type_key

import accweight_core as aw
from accweight_viewer.panes.guide import GROUPS
from accweight_viewer.preferences import MOST_RECENT, Preferences
from accweight_viewer.start import StartWindow
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl

KEY = QtCore.Qt.Key


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("start"), "run", walks(["a", "b"], 3))


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    return Preferences(str(tmp_path / "kept.ini"))


def start(qtbot: Any, preferences: Preferences) -> tuple[StartWindow, list[Path]]:
    """Return the window, shown, and the list of what it opens."""
    opened: list[Path] = []
    window = StartWindow(opened.append, preferences)
    qtbot.addWidget(window)
    with qtbot.waitExposed(window):
        window.show()
    return window, opened


def drop(window: Any, path: Path) -> bool:
    """Drag a path over a window and drop it; return whether it was taken."""
    data = QtCore.QMimeData()
    data.setUrls([QtCore.QUrl.fromLocalFile(str(path))])
    copy, left = QtCore.Qt.DropAction.CopyAction, QtCore.Qt.MouseButton.LeftButton
    none, place = QtCore.Qt.KeyboardModifier.NoModifier, window.rect().center()
    entering = QtGui.QDragEnterEvent(place, copy, data, left, none)
    QtWidgets.QApplication.sendEvent(window, entering)
    if not entering.isAccepted():
        return False
    dropping = QtGui.QDropEvent(QtCore.QPointF(place), copy, data, left, none)
    QtWidgets.QApplication.sendEvent(window, dropping)
    return True


def test_an_analysis_that_is_dropped_is_opened(
    qtbot: Any, preferences: Preferences, analysis: Path
) -> None:
    window, opened = start(qtbot, preferences)

    taken = drop(window, analysis)

    assert taken
    assert opened == [analysis]
    assert not window.isVisible()


def test_a_folder_of_checkpoints_is_analysed_and_opened(
    qtbot: Any, preferences: Preferences, tmp_path: Path
) -> None:
    folder = run_of(tmp_path / "net", walks(["a"], 3)).source
    window, opened = start(qtbot, preferences)

    drop(window, Path(folder))
    qtbot.waitUntil(lambda: bool(opened), timeout=60_000)

    assert opened == [tmp_path / "net.accw"]
    assert opened[0].is_dir()
    assert not window.isVisible()


def test_an_analysis_that_was_stopped_goes_on_when_its_folder_is_opened_again(
    qtbot: Any, preferences: Preferences, tmp_path: Path
) -> None:
    run = run_of(tmp_path / "net", walks(["a", "b"], 3))
    out = stopped(run, tmp_path / "net.accw", after=1)
    window, opened = start(qtbot, preferences)

    drop(window, tmp_path / "net")
    qtbot.waitUntil(lambda: bool(opened), timeout=60_000)

    assert opened == [out]
    assert aw.Analysis.open(out).header.complete


def test_what_cannot_be_analysed_is_said_and_another_can_be_opened(
    qtbot: Any, preferences: Preferences, analysis: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    window, opened = start(qtbot, preferences)

    drop(window, tmp_path / "notes")
    qtbot.waitUntil(lambda: "no checkpoints found" in window.said.text(), timeout=60_000)
    drop(window, analysis)

    assert opened == [analysis]
    assert not (tmp_path / "notes.accw").exists()


def test_text_from_elsewhere_is_not_taken(qtbot: Any, preferences: Preferences) -> None:
    window, opened = start(qtbot, preferences)

    assert not drop(window, Path("/nothing here"))
    assert opened == []


def test_analyses_opened_before_are_a_click_away(
    qtbot: Any, preferences: Preferences, analysis: Path, tmp_path: Path
) -> None:
    for number in range(MOST_RECENT):
        (tmp_path / f"{number}.accw").mkdir()
        preferences.keep_recent([tmp_path / f"{number}.accw"])
    preferences.keep_recent([analysis])
    (tmp_path / "3.accw").rmdir()
    window, opened = start(qtbot, preferences)

    names = [button.text() for button in window.recent]
    click(window.recent[0], window.recent[0].rect().center())

    assert names == ["run.accw", *(f"{n}.accw" for n in (7, 6, 5, 4, 2, 1))]
    assert opened == [analysis]


@pytest.mark.parametrize("key", [KEY.Key_Question, KEY.Key_F1])
def test_a_key_shows_the_guide_and_escape_or_a_click_hides_it(
    window_of: Any, analysis: Path, key: Any
) -> None:
    window: MainWindow = window_of(analysis)
    scene, guide = window.scenes[0], window.help.guide

    type_key(scene, key)
    shown = guide.isVisible(), guide.size() == window.size()
    type_key(scene, KEY.Key_Escape)
    after_escape = guide.isVisible()
    type_key(scene, key)
    click(guide, guide.rect().center())

    assert shown == (True, True)
    assert not after_escape
    assert not guide.isVisible()
    assert "each layer" in guide.text


def test_every_key_of_the_guide_does_something(window_of: Any, analysis: Path) -> None:
    window: MainWindow = window_of(analysis)
    shortcuts = window.findChildren(QtWidgets.QShortcut) + window.actions()
    known = {(one.key() if hasattr(one, "key") else one.shortcut()).toString() for one in shortcuts}

    told = {key for keys in GROUPS.values() for key, _ in keys}

    mouse = {"drag", "drag right", "drag middle", "wheel", "click", "double click"}
    flying = {"W A S D", "Q  E", "Shift"}
    for keys in told - mouse - flying:
        assert set(keys.split()) <= known


def test_the_hint_goes_when_one_has_flown_and_never_comes_back(
    opened: Any, qtbot: Any, analysis: Path, own_settings: Path
) -> None:
    window: MainWindow = opened(analysis, remember=True)
    hint = window.help.hint
    assert hint is not None

    before = hint.isVisible(), Preferences().has_flown
    with qtbot.waitSignal(hint.gone, timeout=20_000):
        qtbot.keyPress(window.scenes[0], KEY.Key_W)
        qtbot.waitUntil(lambda: not window.flight.at_home, timeout=10_000)
        qtbot.keyRelease(window.scenes[0], KEY.Key_W)
    another: MainWindow = opened(analysis, remember=True)

    assert before == (True, False)
    assert not hint.isVisible()
    assert Preferences().has_flown
    assert another.help.hint is None
