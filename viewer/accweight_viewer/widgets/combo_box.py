"""A combo box with an arrow in its text colour."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets


class ComboBox(QtWidgets.QComboBox):  # type: ignore[misc]
    """A combo box with an arrow in its text colour; style sheets support only images."""

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the box, and the arrow on top."""
        super().paintEvent(event)
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QPen(self.palette().color(QtGui.QPalette.ColorRole.Text), 1.4))
        x, y = self.width() - 14.0, self.height() / 2
        corners = ((x - 3.5, y - 1.5), (x, y + 2), (x + 3.5, y - 1.5))
        painter.drawPolyline(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in corners]))
        painter.end()
