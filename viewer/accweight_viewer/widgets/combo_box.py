"""A combo box with an arrow in its text colour, whose text ends in dots where it does not fit."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets


class ComboBox(QtWidgets.QComboBox):  # type: ignore[misc]
    """A combo box that draws text and arrow itself; style sheets cut text and need images."""

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the box with as much of the text as fits, and the arrow on top."""
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        style = QtWidgets.QStyle
        field = self.style().subControlRect(
            style.ComplexControl.CC_ComboBox, option, style.SubControl.SC_ComboBoxEditField, self
        )
        icon = option.iconSize.width() + 4 if not option.currentIcon.isNull() else 0
        room = field.width() - icon
        right = QtCore.Qt.TextElideMode.ElideRight
        option.currentText = self.fontMetrics().elidedText(option.currentText, right, room)
        painter.drawComplexControl(style.ComplexControl.CC_ComboBox, option)
        painter.drawControl(style.ControlElement.CE_ComboBoxLabel, option)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QPen(self.palette().color(QtGui.QPalette.ColorRole.Text), 1.4))
        x, y = self.width() - 14.0, self.height() / 2
        corners = ((x - 3.5, y - 1.5), (x, y + 2), (x + 3.5, y - 1.5))
        painter.drawPolyline(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in corners]))
        painter.end()

    def showPopup(self) -> None:  # noqa: N802
        """Open the list without the frame of the style, which is white in a dark theme."""
        frame = self.view().parentWidget()
        if isinstance(frame, QtWidgets.QFrame):
            frame.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        super().showPopup()
