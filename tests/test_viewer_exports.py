"""What the View menu writes: the clipboard, a picture, a movie, a table; and the reset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets
from viewer_helpers import stored, walks
from window_driver import type_key

from accweight_core.analysis.export import export
from accweight_viewer.window import MainWindow

pytestmark = pytest.mark.gl


@pytest.fixture(scope="module")
def window(window_of: Any, tmp_path_factory: pytest.TempPathFactory) -> MainWindow:
    run = stored(tmp_path_factory.mktemp("exports"), "run", walks(["a", "b"], 3))
    shown: MainWindow = window_of(run, size=(900, 600), chosen={"speed": 20.0})
    return shown


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes the dialog for files answer with a path."""

    def answer(path: Path | str) -> None:
        monkeypatch.setattr(
            QtWidgets.QFileDialog, "getSaveFileName", lambda *_: (str(path), "anything")
        )

    return answer


def test_a_key_copies_the_picture_of_the_window(window: MainWindow) -> None:
    clipboard = QtWidgets.QApplication.clipboard()
    clipboard.clear()

    control = QtCore.Qt.KeyboardModifier.ControlModifier
    type_key(window.scenes[0], QtCore.Qt.Key.Key_C, control)

    image = clipboard.image()
    assert not image.isNull()
    assert (image.width(), image.height()) == (window.width(), window.height())
    assert "copied" in window.status.text()


def test_a_picture_is_written_where_the_user_says(
    window: MainWindow, answered: Any, tmp_path: Path
) -> None:
    answered(tmp_path / "picture")

    window.exports.actions["save_picture"].trigger()

    image = QtGui.QImage(str(tmp_path / "picture.png"))
    assert not image.isNull()
    assert image.width() == window.width()


def test_a_movie_is_written_and_the_step_stays(
    window: MainWindow, answered: Any, tmp_path: Path
) -> None:
    answered(tmp_path / "movie.gif")
    window.session.move_to(1)

    window.exports.actions["save_movie"].trigger()

    movie = QtGui.QImageReader(str(tmp_path / "movie.gif"))
    assert movie.imageCount() > 2
    assert window.session.cursor.position == 1
    assert not window.session.cursor.playing


def test_a_table_has_what_the_command_exports(
    window: MainWindow, answered: Any, tmp_path: Path
) -> None:
    answered(tmp_path / "table.csv")
    analysis = window.session.runs[0].analysis

    window.exports.actions["export_table"].trigger()
    export(analysis, tmp_path / "other.csv", "csv")

    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()


@pytest.mark.parametrize(
    ("name", "file", "told"),
    [
        ("export_table", "table.txt", "no format is called"),
        ("save_movie", "movie.avi", "a movie is an .mp4 or a .gif"),
        ("save_picture", "a file/a.png", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said(
    window: MainWindow, answered: Any, tmp_path: Path, name: str, file: str, told: str
) -> None:
    (tmp_path / "a file").touch()
    answered(tmp_path / file)

    window.exports.actions[name].trigger()

    assert told in window.status.text()


def test_a_file_that_nobody_was_asked_about_is_not_replaced(
    window: MainWindow, answered: Any, tmp_path: Path
) -> None:
    (tmp_path / "kept.csv").write_text("mine")
    answered(tmp_path / "kept")

    window.exports.actions["export_table"].trigger()

    assert (tmp_path / "kept.csv").read_text() == "mine"
    assert "exists already" in window.status.text()


def test_a_dialog_that_is_left_changes_nothing(window: MainWindow, answered: Any) -> None:
    answered("")
    window.status.setText("before")

    for name in ("save_picture", "save_movie", "export_table"):
        window.exports.actions[name].trigger()

    assert window.status.text() == "before"


def test_settings_are_put_back_but_for_the_theme(window: MainWindow) -> None:
    window.session.change(theme="light", colour_map="magma", low=0.2, smoothing=0.5)

    window.exports.actions["reset_settings"].trigger()

    settings = window.session.settings
    assert (settings.theme, settings.low, settings.smoothing) == ("light", 0.0, 0.0)
    assert settings.colour_map == type(settings)().colour_map
