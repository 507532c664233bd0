"""One value of the selected weight: title, number, remark, and a curve over the steps."""

from __future__ import annotations

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.elided_label import ElidedLabel
from accweight_viewer.widgets.sparkline import Sparkline


class Card(QtWidgets.QWidget):  # type: ignore[misc]
    """One value: title, number, remark, and curve."""

    def __init__(self, caption: str, theme: Theme, colour: int) -> None:
        super().__init__()
        self.caption = ElidedLabel(dim=True)
        self.caption.setText(caption)
        self.value = QtWidgets.QLabel()
        self.value.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.value.setTextInteractionFlags(QtCore.Qt.TextInteractionFlag.TextSelectableByMouse)
        self.value.setObjectName("value")
        self.note = ElidedLabel(dim=True)
        self.curve = Sparkline(theme, colour)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for label in (self.caption, self.value, self.note):
            column.addWidget(label)
        column.addSpacing(2)
        column.addWidget(self.curve, 1)

    def say(self, value: str, note: str) -> None:
        """Show a value and a remark."""
        self.value.setText(value)
        self.note.setText(note)
        self.note.setToolTip(tip_text(note))
