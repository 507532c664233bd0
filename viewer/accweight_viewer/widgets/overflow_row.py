"""A row of groups of controls; those that do not fit are in a panel that a button opens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

SPACING = 14
"""Space between two groups."""


class Group(QtWidgets.QWidget):  # type: ignore[misc]
    """Controls that belong together, with a caption.

    Attributes:
        rank: How long it stays in the row: the highest rank leaves last.
        wanted: Whether it is shown at all.
    """

    def __init__(self, caption: str, widgets: Sequence[Any], rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.wanted = True
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        if caption:
            label = QtWidgets.QLabel(caption)
            label.setObjectName("dim")
            row.addWidget(label)
        for widget in widgets:
            row.addWidget(widget)
        row.addStretch(1)


class OverflowRow(QtWidgets.QWidget):  # type: ignore[misc]
    """The row.

    Attributes:
        groups: All groups, in order.
        more: The button that opens the panel; hidden if all fit.
        panel: The panel with the groups that do not fit.
    """

    def __init__(self, groups: Sequence[Group], parent: Any = None) -> None:
        super().__init__(parent)
        self.groups = list(groups)
        self.more = QtWidgets.QToolButton()
        self.more.setText("\N{HORIZONTAL ELLIPSIS}")
        self.more.setToolTip("More controls")
        self.more.setAccessibleName("More controls")
        self.more.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        self.more.clicked.connect(lambda *_: self.open_panel())
        self.panel = QtWidgets.QFrame(self, QtCore.Qt.WindowType.Popup)
        self.panel.setObjectName("panel")
        self._column = QtWidgets.QVBoxLayout(self.panel)
        self._row = QtWidgets.QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.setSpacing(SPACING)
        self._inside: list[Group] | None = None
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Ignored, policy.Preferred)
        self.fit()

    @property
    def inside(self) -> list[Group]:
        """The groups in the row."""
        return list(self._inside or ())

    def open_panel(self) -> None:
        """Open the panel below the button."""
        self.panel.adjustSize()
        corner = self.more.mapToGlobal(self.more.rect().bottomRight())
        self.panel.move(corner - QtCore.QPoint(self.panel.width(), -4))
        self.panel.show()

    def fit(self) -> None:
        """Move groups between row and panel, so that nothing in the row is cut."""
        wanted = [group for group in self.groups if group.wanted]
        for group in self.groups:
            if not group.wanted:
                group.hide()
        room, inside = self.width() - self._width(wanted), wanted
        if room < 0:
            inside, room = [], self.width() - self.more.sizeHint().width()
            for group in sorted(wanted, key=lambda group: -group.rank):
                room -= group.sizeHint().width() + SPACING
                if room < 0:
                    break
                inside.append(group)
        inside = [group for group in wanted if group in inside]
        if inside != self._inside or any(group.parent() is None for group in wanted):
            self._place(inside, [group for group in wanted if group not in inside])

    def _width(self, groups: Sequence[Group]) -> int:
        widths: list[int] = [group.sizeHint().width() for group in groups]
        return sum(widths) + SPACING * max(len(widths) - 1, 0)

    def _place(self, inside: list[Group], outside: list[Group]) -> None:
        self._inside = inside
        while self._row.count():
            self._row.takeAt(0)
        for group in outside:
            self._column.addWidget(group)
            group.show()
        for group in inside:
            self._row.addWidget(group)
            group.show()
        self._row.addStretch(1)
        self._row.addWidget(self.more)
        self.more.setVisible(bool(outside))

    def resizeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Fit the groups to the new width."""
        super().resizeEvent(event)
        self.fit()

    def changeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Fit the groups to another font."""
        super().changeEvent(event)
        if event.type() in (QtCore.QEvent.Type.FontChange, QtCore.QEvent.Type.StyleChange):
            self.fit()

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802 - Qt's name
        """Return the size of the button alone."""
        return self.more.sizeHint()
