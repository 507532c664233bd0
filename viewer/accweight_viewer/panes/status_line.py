"""The line at the lower edge of the window: the texel under the mouse, or what failed."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.text import plain
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import PlateSource
from accweight_viewer.model.session import Session
from accweight_viewer.panes.texel_reader import TexelReader, TexelRequest
from accweight_viewer.panes.texel_text import texel_line
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.pane import Pane


class StatusLine(QtWidgets.QLabel, Pane):  # type: ignore[misc]
    """A line of text. What is under the mouse comes first."""

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self._failure = ""
        self._under_mouse: tuple[PlateSource, Pick] | None = None
        self._reader = TexelReader(self._describe)
        self.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        ignored = QtWidgets.QSizePolicy.Policy.Ignored
        self.setSizePolicy(ignored, QtWidgets.QSizePolicy.Policy.Preferred)

    @property
    def settled(self) -> bool:
        """Whether the value under the mouse is shown."""
        return self._reader.idle

    def show_failure(self, text: str) -> None:
        """Show what failed, or nothing."""
        self._failure = plain(text)
        self._describe()

    def show_hovered(self, source: PlateSource, pick: Pick | None) -> None:
        """Describe a texel, whose value may still have to be read; None for what failed."""
        self._under_mouse = None if pick is None else (source, pick)
        self._describe()

    def _describe(self) -> None:
        if self._under_mouse is None:
            self.setText(self._failure)
            return
        source, pick = self._under_mouse
        at, scope = self._session.source_position(source), self._session.settings.scope
        request = TexelRequest(source, pick.plate, at, pick.row, pick.col, scope)
        value = self._reader.value(request)
        if value is not None:
            self.setText(texel_line(source, pick, at, value))
        elif problem := self._reader.problem(request):
            self.setText(problem)  # damaged, or being replaced by a longer one

    def set_theme(self, theme: Theme) -> None:
        """Do nothing: the style sheet of the window colours it."""

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Stop reading."""
        self._reader.close()
        super().closeEvent(event)
