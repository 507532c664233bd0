"""Keyboard shortcuts of the window, inactive while text is typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyqtgraph.Qt import QtGui, QtWidgets

Action = Callable[[], object]

_Shortcut = QtGui.QShortcut if hasattr(QtGui, "QShortcut") else QtWidgets.QShortcut

_TEXT_FIELDS = (
    QtWidgets.QLineEdit,
    QtWidgets.QAbstractSpinBox,
    QtWidgets.QTextEdit,
    QtWidgets.QPlainTextEdit,
)

ALWAYS = ("Ctrl+", "Esc", "F1")
"""Beginnings of keys that type no letter."""


def is_typing(focused: Any) -> bool:
    """Tell whether letters are typed into a widget that has the focus."""
    editable = isinstance(focused, QtWidgets.QComboBox) and focused.isEditable()
    return editable or isinstance(focused, _TEXT_FIELDS)


def install(window: QtWidgets.QWidget, actions: Mapping[str, Action]) -> None:
    """Connect keys of a window to actions.

    Args:
        window: The window; it owns the shortcuts.
        actions: Actions by key, in Qt's notation ("Shift+Left").
    """
    for key, action in actions.items():
        shortcut = _Shortcut(QtGui.QKeySequence(key), window)
        shortcut.activated.connect(_unless_typing(action, key))


def _unless_typing(action: Action, key: str) -> Callable[[], None]:
    """Return an action that is not triggered by letters typed into a field."""

    def act() -> None:
        focused = QtWidgets.QApplication.focusWidget()
        if key == "Space" and isinstance(focused, QtWidgets.QAbstractButton):
            focused.click()  # Space presses a focused button, as everywhere
            return
        if key.startswith(ALWAYS) or not is_typing(focused):
            action()

    return act
