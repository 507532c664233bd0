"""What can be taken out of the window: a picture, a movie, a table; and settings put back.

The items are the last of the View menu. What goes wrong is said in the status bar.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.analysis.export import export
from accweight_core.analysis.figures.film import FRAMES_PER_SECOND
from accweight_core.errors import AccweightError, StoreError
from accweight_core.text import plain
from accweight_viewer import capture
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import Settings

ITEMS = {
    "copy_picture": ("Copy picture", "Ctrl+C"),
    "save_picture": ("Save picture \N{HORIZONTAL ELLIPSIS}", "Ctrl+S"),
    "save_movie": ("Save movie \N{HORIZONTAL ELLIPSIS}", ""),
    "export_table": ("Export table \N{HORIZONTAL ELLIPSIS}", "Ctrl+E"),
    "reset_settings": ("Reset all settings", ""),
}
"""Text and key of each item, by the name of its method."""

MOVIES = "Movies (*.mp4 *.gif)"
TABLES = "Tables (*.csv *.parquet *.npz)"


class ExportedWindow(capture.CapturedWindow, Protocol):
    """What exports need of a window."""

    status: Any

    def addAction(self, action: Any) -> Any:  # noqa: N802 - Qt's name
        """Let the key of an action work wherever the focus is."""

    def hold(self) -> AbstractContextManager[None]:
        """Let time and camera stand still."""


class _StoppedError(Exception):
    """Raised within a movie that the user has stopped."""


class Exports:
    """The items of the View menu that write something.

    Attributes:
        actions: Menu items, by the names in `ITEMS`.
    """

    def __init__(self, window: ExportedWindow, menu: Any) -> None:
        """Add the items to a menu."""
        self._window: Any = window  # also the parent of dialogs
        self.actions: dict[str, Any] = {}
        for name, (text, key) in ITEMS.items():
            if name in ("copy_picture", "reset_settings"):
                menu.addSeparator()
            action = menu.addAction(text)
            if key:
                action.setShortcut(QtGui.QKeySequence(key))
            action.triggered.connect(lambda *_, n=name: self._told(getattr(self, n)))
            window.addAction(action)
            self.actions[name] = action

    # --- what can be done -----------------------------------------------------------------

    def copy_picture(self) -> str:
        """Copy the window as a picture."""
        with self._window.hold():
            capture.settle(self._window)
            QtWidgets.QApplication.clipboard().setImage(self._window.grab_image())
        return "the picture of the window is copied"

    def save_picture(self) -> str:
        """Write the window to a PNG."""
        path = self._asked("Save picture", "png", "Pictures (*.png)")
        if path is None:
            return ""
        with self._window.hold():
            capture.screenshot(self._window, path)
        return f"written: {path}"

    def save_movie(self) -> str:
        """Write the timeline, played once, to an MP4 or a GIF."""
        path = self._asked("Save movie", "mp4", MOVIES)
        if path is None:
            return ""
        if path.suffix.lower() not in FRAMES_PER_SECOND:
            return f"{path}: a movie is an .mp4 or a .gif"
        session: Session = self._window.session
        before = session.cursor.position
        bar = QtWidgets.QProgressDialog("Writing the movie", "Stop", 0, 1, self._window)
        bar.setWindowModality(QtCore.Qt.WindowModality.WindowModal)

        def progress(done: int, total: int) -> None:
            bar.setMaximum(total)
            bar.setValue(done)
            if bar.wasCanceled():
                raise _StoppedError

        try:
            with self._window.hold():
                frames = capture.movie(self._window, path, progress)
        except _StoppedError:
            return "the movie was stopped, and nothing written"
        finally:
            bar.close()
            session.pause()
            session.move_to(before)
        return f"written: {path}, {frames} frames"

    def export_table(self) -> str:
        """Write all metrics of all layers and steps of the first run."""
        path = self._asked("Export table", "csv", TABLES)
        if path is None:
            return ""
        run = self._window.session.runs[0]
        rows = export(run.analysis, path, path.suffix.lower().removeprefix("."), overwrite=True)
        return f"written: {path}, {rows:,} rows of {run.name}"

    def reset_settings(self) -> str:
        """Put all settings back to what they are at first, but for the theme."""
        session: Session = self._window.session
        values = {**Settings().to_json(), "theme": session.settings.theme}
        ends = {"low": 0.0, "high": 1.0, "fitted": True}
        session.change(**{**values, **ends})
        return "all settings are as they were at first"

    # --- asking and telling ---------------------------------------------------------------

    def _asked(self, title: str, suffix: str, kinds: str) -> Path | None:
        """Ask for a file; return None if the user gives none."""
        name = f"{self._window.session.runs[0].name}.{suffix}"
        chosen, _ = QtWidgets.QFileDialog.getSaveFileName(self._window, title, name, kinds)
        if not chosen:
            return None
        path = Path(chosen)
        if path.suffix:
            return path
        path = path.with_suffix(f".{suffix}")
        if path.exists():  # the dialog has asked about the name without its ending alone
            raise StoreError(f"{path}: exists already; choose it by its whole name to replace it")
        return path

    def _told(self, act: Callable[[], str]) -> None:
        """Do something, and say in the status bar what was done or what went wrong."""
        try:
            said = act()
        except AccweightError as error:
            said = str(error)
        if said:
            self._window.status.setText(plain(said))
