"""A combo box whose list has a line of words beside each name."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.text import plain
from accweight_viewer.widgets.combo_box import ComboBox

BETWEEN, BESIDE = 18, 9
"""Space between names and words, and at the sides of a line."""

LINE_PADDING = 9
"""Height of a line beyond its text."""

MOST_LINES = 24
"""Lines that are seen without scrolling."""

DIM = 0.62
"""Opacity of words."""

WIDEST = 640
"""Most pixels of a list; longer words end in dots."""

_WORDS = int(QtCore.Qt.ItemDataRole.UserRole) + 1
_TIP = QtCore.Qt.ItemDataRole.ToolTipRole
_LEFT = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft


class Described(NamedTuple):
    """One choice: what it is called, what it stands for, a line of words, and more in a tip."""

    text: str
    value: str
    words: str
    tip: str = ""


class _Lines(QtWidgets.QStyledItemDelegate):  # type: ignore[misc]
    """Draws a name, and words in a column of their own."""

    def __init__(self, box: QtWidgets.QComboBox) -> None:
        super().__init__(box)
        self._box = box

    def _start(self, measure: Any) -> int:
        """Return where words begin."""
        names = [measure(self._box.itemText(at)) for at in range(self._box.count())]
        return BESIDE + max(names, default=0) + BETWEEN

    def sizeHint(self, option: Any, index: Any) -> Any:  # noqa: N802
        """Return the size of a line with all words, as far as a list is wide."""
        measure = option.fontMetrics.horizontalAdvance
        wide = self._start(measure) + measure(str(index.data(_WORDS) or "")) + BESIDE
        return QtCore.QSize(min(wide, WIDEST), option.fontMetrics.height() + LINE_PADDING)

    def paint(self, painter: Any, option: Any, index: Any) -> None:
        """Draw a line."""
        chosen = bool(option.state & QtWidgets.QStyle.StateFlag.State_Selected)
        palette, metrics = option.palette, option.fontMetrics
        role = QtGui.QPalette.ColorRole
        painter.save()
        if chosen:
            painter.fillRect(option.rect, palette.color(role.Highlight))
        colour = palette.color(role.HighlightedText if chosen else role.Text)
        painter.setPen(colour)
        line = option.rect.adjusted(BESIDE, 0, -BESIDE, 0)
        painter.drawText(line, _LEFT, str(index.data()))
        colour.setAlphaF(DIM)
        painter.setPen(colour)
        line.setLeft(option.rect.left() + self._start(metrics.horizontalAdvance))
        right = QtCore.Qt.TextElideMode.ElideRight
        words = metrics.elidedText(str(index.data(_WORDS) or ""), right, line.width())
        painter.drawText(line, _LEFT, words)
        painter.restore()


class DescribedBox(ComboBox):
    """A choice of names with words; closed, it shows the name, and the words in its tip."""

    def __init__(self, name: str, parent: Any = None) -> None:
        """Create an empty box.

        Args:
            name: What is chosen, for those who cannot see it.
            parent: Its parent.
        """
        super().__init__(parent)
        self._name = name
        self._offered: tuple[Described, ...] = ()
        self._lines = _Lines(self)
        self.setItemDelegate(self._lines)
        self.setAccessibleName(name)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        self.setToolTip(name)
        self.setMaxVisibleItems(MOST_LINES)
        self.currentIndexChanged.connect(lambda *_: self._tell())

    def offer(self, choices: Sequence[Described]) -> bool:
        """List what can be chosen, and keep what is; return whether the list is another one."""
        if tuple(choices) == self._offered:
            return False
        blocker = QtCore.QSignalBlocker(self)
        value, self._offered = self.currentData(), tuple(choices)
        self.clear()
        for at, choice in enumerate(choices):
            self.addItem(plain(choice.text), choice.value)
            self.setItemData(at, plain(choice.words), _WORDS)
            self.setItemData(at, choice.tip or None, _TIP)
        self.show_value(value)
        blocker.unblock()
        return True

    def show_value(self, value: Any) -> None:
        """Show what is chosen; the first if it is not offered."""
        self.setCurrentIndex(max(self.findData(value), 0))
        self._tell()

    def words_of(self, value: str) -> str:
        """Return the words beside a choice in the list."""
        return str(self.itemData(self.findData(value), _WORDS) or "")

    def _tell(self) -> None:
        words = self.words_of(str(self.currentData()))
        told = escape(f"{self._name}\n{words}" if words else self._name)
        self.setToolTip(f'<p style="white-space: pre">{told}</p>')

    def showPopup(self) -> None:  # noqa: N802
        """Open the list as wide as its lines."""
        option = QtWidgets.QStyleOptionViewItem()
        option.fontMetrics = self.view().fontMetrics()
        wide = [
            self._lines.sizeHint(option, self.model().index(at, 0)).width()
            for at in range(self.count())
        ]
        bar = self.view().verticalScrollBar().sizeHint().width()
        self.view().setMinimumWidth(max(wide, default=0) + bar)
        super().showPopup()
