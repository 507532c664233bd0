"""The choice of what plates show: movement, or what the units of a layer do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accweight_core.analysis.probe_kinds import ResultKind
from accweight_viewer.model.found import FoundArray
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import MOVEMENT
from accweight_viewer.widgets.described_box import Described, DescribedBox
from accweight_viewer.widgets.events import listen

MOVED = Described(MOVEMENT, MOVEMENT, "how far weights have travelled")


class PlateValuesBox(DescribedBox):
    """A box with what is stored of units; not to be seen if nothing is."""

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__("What plates and pictures show", parent)
        self._session = session
        self.setSizeAdjustPolicy(self.SizeAdjustPolicy.AdjustToContents)
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
        session = self._session
        units = session.probes.of_kind(ResultKind.UNITS) if len(session.runs) == 1 else []
        self.offer([MOVED, *(_described(array, units) for array in units)])
        self.setVisible(self.is_useful)
        self._show()

    def _show(self) -> None:
        self.show_value(self._session.settings.plate_values)


def _described(array: FoundArray, beside: Sequence[FoundArray]) -> Described:
    """Return an entry, which is called after its array alone if no other probe has one so."""
    named = array.array.replace("_", " ")
    is_only = [one.array for one in beside].count(array.array) == 1
    label = named if is_only and array.array != "values" else array.of_units
    return Described(label, array.name, array.words)
