"""The line above what a probe has found: which result, the step it is of, and a switch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_core.text import plain
from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.combo_box import ComboBox
from accweight_viewer.widgets.elided_label import ElidedLabel
from accweight_viewer.widgets.switch import flat_buttons


class Choice(Protocol):
    """What can be shown: an array of a probe, or a number of layers."""

    @property
    def key(self) -> Any:
        """What identifies it."""

    @property
    def title(self) -> str:
        """What it is called."""


class FoundHead(QtWidgets.QWidget):  # type: ignore[misc]
    """Choice, note and switch.

    Attributes:
        box: The results that can be shown.
        switch: A way to show them, on or off.
    """

    def __init__(self, name: str, switch: str, tip: str, parent: Any = None) -> None:
        super().__init__(parent)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_StyledBackground)
        self.box = ComboBox()
        self.box.setAccessibleName(name)
        self.box.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        self.box.setMinimumContentsLength(14)
        self.box.setSizeAdjustPolicy(
            ComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.note = ElidedLabel(dim=True, sentence=True)
        self.switch = QtWidgets.QToolButton()
        self.switch.setText(switch)
        self.switch.setToolTip(tip)
        self.switch.setAccessibleName(tip)
        self.switch.setCheckable(True)
        self.switch.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(10, 5, 8, 5)
        row.setSpacing(8)
        row.addWidget(self.box, 3)
        row.addWidget(self.note, 4)
        row.addWidget(self.switch)
        self._listed: list[Any] = []

    def list_choices(self, choices: Sequence[Choice], chosen: Choice | None) -> None:
        """List what can be shown, and mark what is."""
        blocker = QtCore.QSignalBlocker(self.box)
        if [one.key for one in choices] != [one.key for one in self._listed]:
            self.box.clear()
            for one in choices:
                self.box.addItem(plain(one.title))
        self._listed = list(choices)
        keys = [one.key for one in choices]
        if chosen is not None:
            self.box.setCurrentIndex(keys.index(chosen.key))
        blocker.unblock()

    def when_chosen(self, act: Callable[[Any], object]) -> None:
        """Call a function with what the user chooses."""
        self.box.activated.connect(lambda at, *_: act(self._listed[at]))

    def show_note(self, text: str) -> None:
        """Write a note; as much of it is shown as there is room for."""
        self.note.setText(plain(text))
        self.note.setToolTip(tip_text(plain(text)))

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.setStyleSheet(
            flat_buttons(theme)
            + f"""
            FoundHead {{ border-bottom: 1px solid {theme.line}; }}
            QToolButton {{ color: {theme.dim}; padding: 2px 7px; }}
            QToolButton:hover {{ color: {theme.ink}; }}
            QToolButton:checked {{ color: {theme.accent}; }}
            QLabel {{ color: {theme.dim}; }}
            """
        )
        margins = self.layout().contentsMargins()
        for control in (self.box, self.switch):
            control.ensurePolished()
        tallest = max(control.sizeHint().height() for control in (self.box, self.switch))
        self.setFixedHeight(margins.top() + tallest + margins.bottom())  # heads stand in a row
