"""Two lines below a picture: the texel under the mouse, and its value."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.panes.texel_text import Description
from accweight_viewer.widgets.elided_label import ElidedLabel

WORDS = "moved: cumulative change, the length of the way since the first checkpoint"


class PictureFooter(QtWidgets.QWidget):  # type: ignore[misc]
    """Name and index on the left, values on the right; always two lines high."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.name = ElidedLabel()
        self.value = QtWidgets.QLabel()
        self.detail = ElidedLabel(dim=True, sentence=True)
        self.share = QtWidgets.QLabel()
        self.share.setObjectName("dim")
        grid = QtWidgets.QGridLayout(self)
        grid.setContentsMargins(8, 4, 8, 8)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(2)
        for row, (left, right) in enumerate(((self.name, self.value), (self.detail, self.share))):
            grid.addWidget(left, row, 0)
            right.setAlignment(QtCore.Qt.AlignmentFlag.AlignRight)
            right.setTextFormat(QtCore.Qt.TextFormat.PlainText)
            grid.addWidget(right, row, 1)
        grid.setColumnStretch(0, 1)

    def show_description(self, description: Description) -> None:
        """Show a description."""
        self.name.setText(description.name)
        self.value.setText(description.value)
        self.detail.setText(description.detail)
        self.detail.brief = description.brief
        self.share.setText(description.share)
        self.setToolTip(tip_text("\n".join([*filter(None, description[:4]), WORDS])))
