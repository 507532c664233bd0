"""The menu that says which columns of numbers the layer table has.

Each metric has a check mark and a line of words. The menu stays open while marks are set.
"""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_core.analysis.probe_metrics import is_probe_metric
from accweight_core.text import plain
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import Settings

_STYLE = """
    QMenu { padding: 5px; }
    QMenu::item { padding: 5px 16px 5px 28px; border-radius: 4px; }
    QMenu::indicator { left: 9px; }
    """

_ENTER = (QtCore.Qt.Key.Key_Return, QtCore.Qt.Key.Key_Enter, QtCore.Qt.Key.Key_Space)


class ColumnMenu(QtWidgets.QMenu):  # type: ignore[misc]
    """Metrics with check marks, those of the table before numbers of probes.

    Attributes:
        choices: The actions, by metric.
    """

    def __init__(self, session: Session, metric: str | None, parent: Any = None) -> None:
        """Create the menu.

        Args:
            session: The session.
            metric: The metric of the column that it was opened on, which can be put first.
            parent: The header.
        """
        super().__init__(parent)
        self._session = session
        self.setStyleSheet(_STYLE)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_DeleteOnClose)
        self.choices: dict[str, Any] = {}
        words = session.probes.metric_words
        for name in words:
            if is_probe_metric(name) and not any(map(is_probe_metric, self.choices)):
                self.addSeparator()
            self.choices[name] = action = self.addAction(f"{name}\t{plain(words[name])}")
            action.setData(name)
            action.setCheckable(True)
            action.triggered.connect(lambda on, name=name: self._choose(name, bool(on)))
        self.addSeparator()
        if metric is not None and metric != session.columns[0]:
            self.addAction(f"Put {metric} first").triggered.connect(
                lambda *_: self._put_first(metric)
            )
        self.addAction("Columns as at first").triggered.connect(
            lambda *_: session.change(columns=Settings().columns)
        )
        self._show_chosen()

    def _choose(self, name: str, on: bool) -> None:
        """Add a column at the right, or remove one."""
        others = [column for column in self._chosen if column != name]
        self._session.change(columns=(*others, name) if on else tuple(others))
        self._show_chosen()

    def _put_first(self, name: str) -> None:
        others = [column for column in self._chosen if column != name]
        self._session.change(columns=(name, *others))

    @property
    def _chosen(self) -> list[str]:
        """The columns shown, and those of probes that these runs have not."""
        kept = [name for name in self._session.settings.columns if name not in self.choices]
        return [*self._session.columns, *kept]

    def _show_chosen(self) -> None:
        shown = self._session.columns
        for name, action in self.choices.items():
            action.setChecked(name in shown)
            action.setEnabled(shown != [name])  # a table without numbers has nothing to sort by

    def mouseReleaseEvent(self, event: Any) -> None:  # noqa: N802
        """Set a mark and stay open, or do what is asked for and close."""
        if not self._marked(self.actionAt(event.pos())):
            super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Likewise for the keys that choose."""
        if event.key() not in _ENTER or not self._marked(self.activeAction()):
            super().keyPressEvent(event)

    def _marked(self, action: Any) -> bool:
        """Set or remove the mark of an action; return whether it has any."""
        if action not in self.choices.values():
            return False
        if action.isEnabled():
            action.trigger()
        return True
