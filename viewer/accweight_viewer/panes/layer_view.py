"""The rows of the table of layers: where the mouse is, where Enter is pressed, what is redrawn."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.widgets.search_field import ENTER


class LayerView(QtWidgets.QTableView):  # type: ignore[misc]
    """A table that redraws only changed columns, and has a signal for Enter."""

    entered_row = QtCore.Signal(int)
    pointed_at = QtCore.Signal(int)
    """Emitted with the row under the mouse, -1 for none."""

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802
        """Tell which row the mouse is on."""
        super().mouseMoveEvent(event)
        self.pointed_at.emit(self.indexAt(event.pos()).row())

    def leaveEvent(self, event: Any) -> None:  # noqa: N802
        """Tell that the mouse has left."""
        super().leaveEvent(event)
        self.pointed_at.emit(-1)

    def dataChanged(self, first: Any, last: Any, roles: Any = ()) -> None:  # noqa: N802
        """Redraw changed columns; Qt would redraw all."""
        left = self.columnViewportPosition(first.column())
        right = self.columnViewportPosition(last.column()) + self.columnWidth(last.column())
        self.viewport().update(left, 0, right - left, self.viewport().height())

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Emit a signal for Enter, leave other keys to Qt."""
        if event.key() in ENTER and self.currentIndex().isValid():
            self.entered_row.emit(self.currentIndex().row())
        else:
            super().keyPressEvent(event)
