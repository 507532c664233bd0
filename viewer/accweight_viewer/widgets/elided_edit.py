"""A line of text to edit, which ends in dots where it does not fit while nobody edits it."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

INSET = 2
"""Space that Qt leaves beside the text."""


class ElidedEdit(QtWidgets.QLineEdit):  # type: ignore[misc]
    """A line edit that shortens its text for display only."""

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the text as Qt does while it is edited or fits, else shortened."""
        room = self.contentsRect().adjusted(INSET, 0, -INSET, 0)
        measure = self.fontMetrics().horizontalAdvance
        if self.hasFocus() or measure(self.text()) <= room.width():
            super().paintEvent(event)
            return
        right = QtCore.Qt.TextElideMode.ElideRight
        shown = self.fontMetrics().elidedText(self.text(), right, room.width())
        option = QtWidgets.QStyleOptionFrame()
        self.initStyleOption(option)
        painter = QtGui.QPainter(self)
        panel = QtWidgets.QStyle.PrimitiveElement.PE_PanelLineEdit
        self.style().drawPrimitive(panel, option, painter, self)
        painter.setPen(self.palette().color(QtGui.QPalette.ColorRole.Text))
        painter.drawText(room, int(self.alignment() | QtCore.Qt.AlignmentFlag.AlignVCenter), shown)
        painter.end()
