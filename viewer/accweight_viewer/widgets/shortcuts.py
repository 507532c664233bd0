"""Keys that work everywhere in the window, but not while a text is typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyqtgraph.Qt import QtGui, QtWidgets

Action = Callable[[], object]

_Shortcut = QtGui.QShortcut if hasattr(QtGui, "QShortcut") else QtWidgets.QShortcut


def install(window: QtWidgets.QWidget, actions: Mapping[str, Action]) -> None:
    """Let keys of a window set off actions.

    Args:
        window: Where they work; it owns them.
        actions: By key, as Qt spells it ("Shift+Left").
    """
    for key, action in actions.items():
        shortcut = _Shortcut(QtGui.QKeySequence(key), window)
        shortcut.activated.connect(_unless_typing(action, key))


def _unless_typing(action: Action, key: str) -> Callable[[], None]:
    """Return an action that a letter typed into a field does not set off."""

    def act() -> None:
        focused = QtWidgets.QApplication.focusWidget()
        if key == "Space" and isinstance(focused, QtWidgets.QAbstractButton):
            focused.click()  # reached by Tab, it is pressed by Space as everywhere
            return
        typing = isinstance(focused, QtWidgets.QLineEdit | QtWidgets.QAbstractSpinBox)
        if not (typing and not key.startswith("Ctrl")):
            action()

    return act
