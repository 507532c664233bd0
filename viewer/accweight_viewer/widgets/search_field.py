"""A field to type what is searched for, which keys leave or clear."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

ENTER = (QtCore.Qt.Key.Key_Return, QtCore.Qt.Key.Key_Enter)
"""Keys that confirm."""


class SearchField(QtWidgets.QLineEdit):  # type: ignore[misc]
    """A search field: Escape clears it, Down leaves it, Enter is told."""

    left = QtCore.Signal()
    entered = QtCore.Signal()

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Clear, leave, or type."""
        if event.key() == QtCore.Qt.Key.Key_Escape:
            self.clear()
            self.left.emit()
        elif event.key() in ENTER:
            self.entered.emit()
        elif event.key() == QtCore.Qt.Key.Key_Down:
            self.left.emit()
        else:
            super().keyPressEvent(event)
