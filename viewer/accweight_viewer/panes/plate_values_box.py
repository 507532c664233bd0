"""The choice of what plates show: movement, or what the units of a layer do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyqtgraph.Qt import QtCore

from accweight_core.analysis.probe_kinds import ResultKind
from accweight_core.text import plain
from accweight_viewer.model.found import FoundArray
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import MOVEMENT
from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.widgets.combo_box import ComboBox
from accweight_viewer.widgets.events import listen


def _label(array: FoundArray, beside: Sequence[FoundArray]) -> str:
    """Return what values of units are called: by their array, if no other probe has one so."""
    if array.array == "values":
        return array.probe
    named = array.array.replace("_", " ")
    is_only = [one.array for one in beside].count(array.array) == 1
    return named if is_only else f"{array.probe} {named}"


class PlateValuesBox(ComboBox):
    """A box with what is stored of units; not to be seen if nothing is."""

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self.setAccessibleName("What plates show")
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        self.setSizeAdjustPolicy(ComboBox.SizeAdjustPolicy.AdjustToContents)
        self.activated.connect(lambda *_: session.change(plate_values=self.currentData()))
        listen(self, session.settings_changed, lambda names: self._show())
        listen(self, session.data_changed, self.renew)
        self.renew()

    @property
    def is_useful(self) -> bool:
        """Whether there is anything to choose."""
        return bool(self.count() > 1)

    def renew(self) -> None:
        """List what is stored."""
        blocker = QtCore.QSignalBlocker(self)
        self.clear()
        self.addItem(MOVEMENT, MOVEMENT)
        self.setItemData(0, "How far weights have travelled", QtCore.Qt.ItemDataRole.ToolTipRole)
        units = (
            self._session.probes.of_kind(ResultKind.UNITS) if len(self._session.runs) == 1 else []
        )
        for at, array in enumerate(units, start=1):
            words = array.result.fields[array.array].words
            self.addItem(plain(_label(array, units)), array.name)
            tip = tip_text(plain(words))
            self.setItemData(at, tip, QtCore.Qt.ItemDataRole.ToolTipRole)
        blocker.unblock()
        self.setVisible(self.is_useful)
        self._show()

    def _show(self) -> None:
        at = self.findData(self._session.settings.plate_values)
        self.setCurrentIndex(max(at, 0))
        tip = self.itemData(max(at, 0), QtCore.Qt.ItemDataRole.ToolTipRole)
        self.setToolTip(str(tip or "") or "What the colours of plates are")
