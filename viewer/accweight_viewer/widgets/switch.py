"""A switch between a few visible values, and the style of flat buttons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.theme import Theme


class Switch(QtWidgets.QWidget):  # type: ignore[misc]
    """Buttons side by side, one of which is pressed.

    Attributes:
        chosen: Emitted with the value chosen by the user.
        buttons: The buttons, by value.
    """

    chosen = QtCore.Signal(object)

    def __init__(self, tips: Mapping[str, tuple[str, str]], parent: Any = None) -> None:
        """Create the buttons.

        Args:
            tips: Label and tool tip of each button, by value.
            parent: The parent widget.
        """
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        self.buttons: dict[str, Any] = {}
        for at, (value, (text, tip)) in enumerate(tips.items()):
            button = QtWidgets.QToolButton()
            button.setText(text)
            button.setToolTip(tip)
            button.setAccessibleName(tip)
            button.setCheckable(True)
            button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
            ends = ("first", *[""] * (len(tips) - 2), "last")
            button.setProperty("end", ends[at])
            button.clicked.connect(lambda *_, value=value: self._choose(value))
            self.buttons[value] = button
            row.addWidget(button)

    @property
    def value(self) -> str | None:
        """The value of the pressed button."""
        return next((value for value, b in self.buttons.items() if b.isChecked()), None)

    def show_value(self, value: str) -> None:
        """Press the button of a value without emitting a signal."""
        for name, button in self.buttons.items():
            button.setChecked(name == value)

    def _choose(self, value: str) -> None:
        self.show_value(value)
        self.chosen.emit(value)

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.setStyleSheet(f"""
            QToolButton {{ background: transparent; color: {theme.dim}; padding: 3px 9px;
                border: 1px solid {theme.line}; border-left-width: 0; border-radius: 0; }}
            QToolButton[end="first"] {{ border-left-width: 1px;
                border-top-left-radius: 4px; border-bottom-left-radius: 4px; }}
            QToolButton[end="last"] {{
                border-top-right-radius: 4px; border-bottom-right-radius: 4px; }}
            QToolButton:hover {{ color: {theme.ink}; border-color: {theme.line}; }}
            QToolButton:checked {{ background: {theme.raised}; color: {theme.ink};
                border-color: {theme.line}; }}
            """)


def flat_buttons(theme: Theme) -> str:
    """Return the style sheet of buttons with an icon and no frame."""
    return f"""
        QToolButton {{ background: transparent; border: 1px solid transparent;
            border-radius: 4px; padding: 3px; min-height: 18px; min-width: 18px; }}
        QToolButton:hover {{ background: {theme.raised}; border-color: {theme.line}; }}
        QToolButton:checked {{ background: {theme.raised}; border-color: transparent; }}
        QToolButton:focus {{ border-color: {theme.dim}; }}
        QToolButton::menu-indicator {{ image: none; width: 0; }}
        """
