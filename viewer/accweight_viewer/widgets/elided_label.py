"""A one-line label that never enlarges its layout."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


class ElidedLabel(QtWidgets.QLabel):  # type: ignore[misc]
    """A label that shortens its text for display only.

    Names are shortened in the middle: both ends are more informative. Sentences lose their end.

    Attributes:
        brief: What is shown where the text has no room; empty if there is nothing shorter.
    """

    def __init__(
        self,
        parent: Any = None,
        *,
        dim: bool = False,
        right: bool = False,
        sentence: bool = False,
    ) -> None:
        super().__init__(parent)
        self.brief = ""
        mode = QtCore.Qt.TextElideMode
        self._shortened = mode.ElideRight if sentence else mode.ElideMiddle
        self.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        ignored = QtWidgets.QSizePolicy.Policy.Ignored
        self.setSizePolicy(ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        side = QtCore.Qt.AlignmentFlag.AlignRight if right else QtCore.Qt.AlignmentFlag.AlignLeft
        self.setAlignment(side | QtCore.Qt.AlignmentFlag.AlignVCenter)
        if dim:
            self.setObjectName("dim")

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw as much of the text as fits."""
        painter = QtGui.QPainter(self)
        room = self.contentsRect()
        metrics, text = self.fontMetrics(), self.text()
        if self.brief and metrics.horizontalAdvance(text) > room.width():
            text = self.brief
        shown = metrics.elidedText(text, self._shortened, room.width())
        if shown == ELLIPSIS:  # no letter fits
            shown = ""
        painter.setPen(self.palette().color(QtGui.QPalette.ColorRole.WindowText))
        painter.drawText(room, int(self.alignment()), shown)
        painter.end()
