"""The window that opens without an analysis: to open one, drop one, or make one.

A folder of checkpoints is analysed first, into `FOLDER.accw` beside it, with its progress shown;
then that opens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_core.analysis.analysis import Analysis
from accweight_core.errors import AccweightError
from accweight_core.jobs.checking import is_analysis
from accweight_core.text import plain
from accweight_viewer.preferences import Preferences
from accweight_viewer.theme import Theme, style_sheet, theme_called
from accweight_viewer.widgets.bridge import Bridge

SIZE = 760, 520
POLL_MS = 100

Opened = Callable[[Path], Any]
"""Opens the viewer on an analysis, and returns its window."""


class _StoppedError(Exception):
    """Raised within an analysis that is no longer wanted."""


class Analysing:
    """An analysis of a folder of checkpoints, on a thread of its own.

    Attributes:
        out: Folder of the analysis.
        done: Bytes read so far.
        total: Bytes in all; 0 before that is known.
        error: Why it failed; empty if it has not.
    """

    def __init__(self, folder: Path, out: Path, ended: Callable[[], object]) -> None:
        """Start it; `ended` is called on its thread."""
        self.out = out
        self.done, self.total, self.error = 0, 0, ""
        self._stopped = False
        self._ended = ended
        self._thread = threading.Thread(target=self._run, args=(folder,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop it before its next block, and wait; what is finished is kept for another time."""
        self._stopped = True
        self._thread.join()

    def _run(self, folder: Path) -> None:
        from accweight_core.jobs.pipeline import analyze
        from accweight_core.runs.opening import open_run

        try:
            analyze(open_run(folder), self.out, progress=self._progress)
        except AccweightError as error:
            self.error = str(error)
        except _StoppedError:
            self.error = "stopped"
        except Exception as error:  # a thread that ends in silence would leave the bar as it is
            self.error = f"{folder}: {type(error).__name__}: {error}"
        if not self._stopped:
            self._ended()

    def _progress(self, done: int, total: int) -> None:
        if self._stopped:
            raise _StoppedError
        self.done, self.total = done, total


class StartWindow(QtWidgets.QMainWindow):  # type: ignore[misc]
    """Opens an analysis that is chosen or dropped, or analyses a folder of checkpoints.

    Attributes:
        opened: The window that was opened; None before.
        said: What went wrong, or what is done.
        bar: Progress of an analysis.
        recent: Buttons of analyses opened before.
    """

    def __init__(self, open_analysis: Opened, preferences: Preferences) -> None:
        super().__init__()
        self._open = open_analysis
        self._analysing: Analysing | None = None
        self._bridge = Bridge(self._ended)
        self.opened: Any = None
        self.setWindowTitle("accweight")
        self.setAcceptDrops(True)
        self.resize(*SIZE)
        self._build(preferences.recent)
        self._polling = QtCore.QTimer(self)
        self._polling.timeout.connect(self._show_progress)
        self._colour(theme_called(preferences.settings().theme))

    # --- building -------------------------------------------------------------------------

    def _build(self, known: list[Path]) -> None:
        title = _centred("Drop an analysis or a folder of checkpoints here", "title")
        words = _centred(
            "An analysis is what accweight analyze writes (NAME.accw). A folder of checkpoints is "
            "analysed first, into FOLDER.accw beside it.",
            "dim",
        )
        words.setWordWrap(True)
        self.choose = QtWidgets.QPushButton("Open \N{HORIZONTAL ELLIPSIS}")
        self.choose.setShortcut("Ctrl+O")
        self.choose.clicked.connect(lambda *_: self._ask())
        self.bar = QtWidgets.QProgressBar()
        self.stop = QtWidgets.QPushButton("Stop")
        self.stop.clicked.connect(lambda *_: self._stop())
        self.said = _centred("", "said")
        self.said.setWordWrap(True)
        self.recent = [self._recent(path) for path in known]
        column = QtWidgets.QVBoxLayout()
        column.setSpacing(12)
        column.setContentsMargins(80, 30, 80, 30)
        column.addStretch(1)
        for widget in (title, words):
            column.addWidget(widget)
        middle = QtCore.Qt.AlignmentFlag.AlignHCenter
        column.addWidget(self.choose, 0, middle)
        column.addWidget(self.bar)
        column.addWidget(self.stop, 0, middle)
        column.addWidget(self.said)
        column.addStretch(1)
        if self.recent:
            column.addWidget(_centred("Opened before", "dim"))
        for button in self.recent:
            column.addWidget(button)
        whole = QtWidgets.QWidget()
        whole.setLayout(column)
        self.setCentralWidget(whole)
        self._show_busy(False)

    def _recent(self, path: Path) -> Any:
        button = QtWidgets.QPushButton(plain(path.name).replace("&", "&&"))
        button.setToolTip(plain(str(path)))
        button.setFlat(True)
        button.clicked.connect(lambda *_: self.open(path))
        return button

    def _colour(self, theme: Theme) -> None:
        self.setStyleSheet(
            style_sheet(theme)
            + f"""
            QLabel#title {{ font-size: 20px; font-weight: 600; }}
            QLabel#said {{ color: {theme.accent}; }}
            QProgressBar {{ border: 1px solid {theme.line}; border-radius: 4px; height: 14px;
                text-align: center; }}
            QProgressBar::chunk {{ background: {theme.bar}; }}
            """
        )

    # --- what can be done -----------------------------------------------------------------

    def open(self, path: Path) -> None:
        """Open an analysis, or analyse a folder of checkpoints and open that."""
        if self._analysing is not None:
            self.said.setText("one folder at a time; stop the analysis first")
            return
        if is_analysis(path):
            self._show(path)
            return
        out = path.resolve().with_name(f"{path.resolve().name}.accw")
        if _is_finished(out):
            self._show(out)
            return
        self.said.setText(plain(f"analysing {path}"))
        self._show_busy(True)
        self._analysing = Analysing(path, out, self._bridge.call)
        self._polling.start(POLL_MS)

    def _ask(self) -> None:
        chosen = QtWidgets.QFileDialog.getExistingDirectory(
            self, "Open an analysis or a folder of checkpoints"
        )
        if chosen:
            self.open(Path(chosen))

    def _stop(self) -> None:
        if self._analysing is not None:
            self._analysing.stop()
            self._finish("stopped; open the folder again to go on")

    def _show(self, path: Path) -> None:
        try:
            self.opened = self._open(path)
        except AccweightError as error:
            self.said.setText(plain(str(error)))
            return
        self.close()

    # --- an analysis in progress ----------------------------------------------------------

    def _show_busy(self, busy: bool) -> None:
        self.bar.setVisible(busy)
        self.stop.setVisible(busy)
        self.choose.setVisible(not busy)

    def _show_progress(self) -> None:
        if self._analysing is not None:
            self.bar.setMaximum(1000 if self._analysing.total else 0)
            share = self._analysing.done / max(self._analysing.total, 1)
            self.bar.setValue(round(1000 * share))

    def _ended(self) -> None:
        """Open what was analysed, or say why it could not be."""
        analysing = self._analysing
        if analysing is None:
            return
        self._finish(analysing.error)
        if not analysing.error:
            self._show(analysing.out)

    def _finish(self, said: str) -> None:
        self._analysing = None
        self._polling.stop()
        self._show_busy(False)
        self.said.setText(plain(said))

    # --- dropping and the end -------------------------------------------------------------

    def dragEnterEvent(self, event: Any) -> None:  # noqa: N802
        """Take folders of this computer."""
        if _dropped(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:  # noqa: N802
        """Open the folder that was dropped; of a file, the folder that it is in."""
        for path in _dropped(event.mimeData())[:1]:
            event.acceptProposedAction()
            self.open(path if path.is_dir() else path.parent)

    def closeEvent(self, event: Any) -> None:  # noqa: N802
        """Stop an analysis in progress."""
        self._bridge.closed = True
        if self._analysing is not None:
            self._analysing.stop()
        super().closeEvent(event)


def _centred(text: str, name: str) -> Any:
    label = QtWidgets.QLabel(text)
    label.setObjectName(name)
    label.setTextFormat(QtCore.Qt.TextFormat.PlainText)
    label.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
    return label


def _is_finished(out: Path) -> bool:
    """Tell whether there is a whole analysis; one that was stopped is to go on."""
    try:
        Analysis.open(out)
    except AccweightError:
        return False
    return True


def _dropped(data: Any) -> list[Path]:
    """Return the files and folders of this computer among what was dropped."""
    paths = [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]
    return [path for path in paths if path.exists()]
