"""A pane with a network as columns of unit pictures, linked by lines as wide as weights are large.

It is drawn anew at every step, as TensorFlow Playground does (Smilkov et al., arXiv 1708.03788).
"""

from __future__ import annotations

from typing import Any

from accweight_core.errors import AccweightError
from accweight_viewer.model.linked_units import LinkedUnits
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import number_text
from accweight_viewer.panes.found_head import FoundHead
from accweight_viewer.panes.found_pane import FoundPane
from accweight_viewer.panes.linked_view import LinkedView
from accweight_viewer.theme import theme_called


class LinkedPane(FoundPane):
    """The network, and the line above it.

    Attributes:
        units: What is shown.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        self.units = LinkedUnits(session)
        theme = theme_called(session.settings.theme)
        head = FoundHead("Network to show", "", "")
        head.switch.hide()
        super().__init__(self.units, head, LinkedView(self.units, theme), parent)
        self.set_theme(theme)

    @property
    def note(self) -> str:
        """What the colours are, and how large the widest link is."""
        try:
            network = self.units.network
        except (AccweightError, OSError):
            return ""
        widest = f"the widest link is {number_text(network.high)}"
        return f"orange above 0, blue below \N{MIDDLE DOT} {widest}"
