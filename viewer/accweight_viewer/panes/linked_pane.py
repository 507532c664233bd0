"""A pane with a network as columns of unit pictures, linked by lines as wide as weights are large.

It is drawn anew at every step, as TensorFlow Playground does (Smilkov et al., arXiv 1708.03788).
"""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtWidgets

from accweight_core.errors import AccweightError
from accweight_viewer.model.linked_units import LinkedUnits
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import number_text
from accweight_viewer.panes.found_head import FoundHead
from accweight_viewer.panes.linked_view import LinkedView
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.pane import Pane


class LinkedPane(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """The network, and the line above it.

    Attributes:
        units: What is shown.
        view: The drawing.
        head: The line above.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self.units = LinkedUnits(session)
        theme = theme_called(session.settings.theme)
        self.head = FoundHead("Network to show", "", "")
        self.head.switch.hide()
        self.view = LinkedView(self.units, theme)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.head)
        layout.addWidget(self.view, 1)
        self.head.when_chosen(self._choose)
        listen(self, session.time_changed, self.renew)
        listen(self, session.data_changed, self.renew)
        self.set_theme(theme)

    @property
    def is_useful(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.units.choices)

    def _choose(self, array: Any) -> None:
        self.units.choose(array)
        self.renew()

    def renew(self) -> None:
        """Show the network at the step."""
        self.head.list_choices(self.units.choices, self.units.chosen)
        self.head.show_note(self._note())
        self.view.update()

    def _note(self) -> str:
        try:
            network = self.units.network
        except (AccweightError, OSError):  # damaged; the view says so
            return ""
        at = self.units.step
        late = "" if at == self.units.session.step else f"step {at} \N{MIDDLE DOT} "
        widest = f"the widest link is {number_text(network.high)}"
        return f"{late}orange above 0, blue below \N{MIDDLE DOT} {widest}"

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.head.set_theme(theme)
        self.view.theme = theme
        self.renew()
