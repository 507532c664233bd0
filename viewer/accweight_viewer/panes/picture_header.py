"""The row above a picture: choice of the plate, and buttons."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.panes.plate_box import PlateBox
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.icons import icon
from accweight_viewer.widgets.switch import flat_buttons

TIPS = {
    "follow": "Show the selected layer",
    "link": "Zoom and pan both windows together",
    "fit": "Show the whole picture (double click)",
    "enlarge": "Show it in the place of the scene (Esc leads back)",
}


class PictureHeader(QtWidgets.QWidget):  # type: ignore[misc]
    """A combo box and four buttons.

    Attributes:
        box: Choice of the plate.
        follow: Whether to follow the selection.
        link: Whether both windows zoom and pan together.
        fit: Shows the whole picture.
        enlarge: Whether it has the place of the scene.
    """

    def __init__(self, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self.box = PlateBox()
        self.buttons = {name: self._button(name) for name in TIPS}
        self.follow, self.link, self.fit, self.enlarge = self.buttons.values()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(8, 6, 6, 6)
        row.setSpacing(2)
        row.addWidget(self.box, 1)
        for button in self.buttons.values():
            button.toggled.connect(self._paint_icons)
            row.addWidget(button)
        self.set_theme(theme)

    def _button(self, name: str) -> Any:
        button = QtWidgets.QToolButton()
        button.setObjectName(name)
        button.setToolTip(TIPS[name])
        button.setAccessibleName(TIPS[name])
        button.setCheckable(name != "fit")
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        return button

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.setStyleSheet(flat_buttons(theme))
        self._paint_icons()

    def _paint_icons(self, *_: object) -> None:
        for button in self.buttons.values():
            colour = self._theme.accent if button.isChecked() else self._theme.ink
            button.setIcon(icon(button.objectName(), colour))
