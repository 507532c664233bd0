"""Lines at the lower edge of the window that say what is special about the runs."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_core.text import plain
from accweight_viewer.model.notices import Notice, follow, notices
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.pane import Pane


class NoticeBar(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """The notices of a session, side by side; a click leads to where they are about.

    Attributes:
        buttons: One per notice.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self.buttons: list[Any] = []
        self._row = QtWidgets.QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 8, 0)
        self._row.setSpacing(4)
        listen(self, session.data_changed, self._renew)
        self.set_theme(theme_called(session.settings.theme))
        self._renew()

    def _renew(self) -> None:
        for button in self.buttons:
            self._row.removeWidget(button)
            button.deleteLater()
        self.buttons = [self._button(notice) for notice in notices(self._session)]
        for button in self.buttons:
            self._row.addWidget(button)
        self.setVisible(bool(self.buttons))

    def _button(self, notice: Notice) -> Any:
        button = QtWidgets.QToolButton()
        button.setText(plain(notice.text))
        button.setToolTip(tip_text(notice.tip))
        button.setAccessibleName(notice.text)
        button.setObjectName(notice.tone)
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        if notice.layer is not None or notice.step is not None or notice.opens:
            button.setCursor(QtCore.Qt.CursorShape.PointingHandCursor)
            button.clicked.connect(lambda *_: follow(notice, self._session))
        return button

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.setStyleSheet(f"""
            QToolButton {{ background: transparent; border: 1px solid transparent;
                border-radius: 4px; padding: 1px 8px; color: {theme.dim}; }}
            QToolButton#broken {{ color: {theme.broken}; border-color: {theme.broken}; }}
            QToolButton#warning {{ color: {theme.accent}; }}
            QToolButton#broken:hover {{ background: {theme.raised}; }}
            QToolButton:focus {{ border-color: {theme.dim}; }}
            """)
