"""The combo box for plates: a list, and search by any part of a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_viewer.model.plate_choice import PlateChoice
from accweight_viewer.widgets.combo_box import ComboBox
from accweight_viewer.widgets.elided_edit import ElidedEdit

ROWS_SHOWN = 24


class PlateBox(ComboBox):
    """A combo box of plates.

    Attributes:
        chosen: Emitted with the `PlateChoice` of the user.
    """

    chosen = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._choices: list[PlateChoice] = []
        self.setEditable(True)
        self.setLineEdit(ElidedEdit(self))
        self.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self.setMaxVisibleItems(ROWS_SHOWN)
        adjust = QtWidgets.QComboBox.SizeAdjustPolicy
        self.setSizeAdjustPolicy(adjust.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)
        self.setToolTip("Choose the layer whose weights are shown; type any part of a name")
        self._make_completer()
        self.activated.connect(self._choose)
        self.lineEdit().returnPressed.connect(self._choose_typed)
        self.lineEdit().editingFinished.connect(self._restore)

    def _make_completer(self) -> None:
        completer = QtWidgets.QCompleter(self.model(), self)
        completer.setFilterMode(QtCore.Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(QtCore.Qt.CaseSensitivity.CaseInsensitive)
        completer.setCompletionMode(QtWidgets.QCompleter.CompletionMode.PopupCompletion)
        completer.setMaxVisibleItems(ROWS_SHOWN)
        self.setCompleter(completer)

    def offer(self, texts: Mapping[PlateChoice, str]) -> None:
        """Set the list; text being typed is kept if the list is unchanged."""
        shown = [self.itemText(at) for at in range(self.count())]
        if (self._choices, shown) == (list(texts), list(texts.values())):
            return
        now = self._choices[self.currentIndex()] if self._choices else None
        self._choices = list(texts)
        self.clear()
        self.addItems(list(texts.values()))
        self.show_choice(now)

    def show_choice(self, choice: PlateChoice | None) -> None:
        """Show a choice."""
        at = self._choices.index(choice) if choice in self._choices else -1
        self.setCurrentIndex(at)
        self.lineEdit().setCursorPosition(0)
        if at < 0 and choice is not None:
            self.setEditText(choice.parameter)

    def _choose(self, at: int) -> None:
        if 0 <= at < len(self._choices):
            self.chosen.emit(self._choices[at])
        self.lineEdit().setCursorPosition(0)
        self.clearFocus()

    def _choose_typed(self) -> None:
        """Choose the typed name, short or whole, or else the first one that contains it."""
        typed = self.currentText().strip().lower()
        shown = [self.itemText(at).lower() for at in range(self.count())]
        whole = [choice.parameter.lower() for choice in self._choices]
        exact = [at for at in range(self.count()) if typed in (shown[at], whole[at])]
        within = [at for at in range(self.count()) if typed in shown[at] or typed in whole[at]]
        if typed and (found := exact or within):
            self.setCurrentIndex(found[0])
            self._choose(found[0])

    def _restore(self) -> None:
        """Replace typed text that matches nothing by the present choice."""
        if self.currentIndex() >= 0:
            self.setEditText(self.itemText(self.currentIndex()))
            self.lineEdit().setCursorPosition(0)

    def focusInEvent(self, event: QtGui.QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Select the whole name, so that typing searches instead of adding to it.

        After the click that gave the focus, which would place the cursor.
        """
        super().focusInEvent(event)
        QtCore.QTimer.singleShot(0, self.lineEdit().selectAll)

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Ignore the wheel, which would change the choice by accident."""
        event.ignore()
