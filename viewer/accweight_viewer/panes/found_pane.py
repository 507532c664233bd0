"""A pane with what a probe has found, below the line that says which array, of which step."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtWidgets

from accweight_viewer.model.chosen_array import ChosenArray
from accweight_viewer.panes.found_head import FoundHead
from accweight_viewer.theme import Theme
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.pane import Pane

DOT = "\N{MIDDLE DOT}"


class FoundPane(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """The line, and a view below it; derive from it, and say what the note in the line is.

    Attributes:
        head: The line above.
        view: What is below: a widget with a `theme`.
    """

    def __init__(self, found: ChosenArray, head: FoundHead, view: Any, parent: Any = None) -> None:
        """Put the line above the view, and follow the session.

        Args:
            found: The array that is shown.
            head: The line.
            view: The view.
            parent: The parent.
        """
        super().__init__(parent)
        self._found, self.head, self.view = found, head, view
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(head)
        layout.addWidget(view, 1)
        head.when_chosen(self._choose)
        listen(self, found.session.time_changed, self.renew)
        listen(self, found.session.data_changed, self.renew)

    @property
    def is_useful(self) -> bool:
        """Whether there is anything to show."""
        return bool(self._found.choices)

    @property
    def note(self) -> str:
        """What is said of the array; nothing if it is damaged, as the view says so."""
        raise NotImplementedError

    def _choose(self, array: Any) -> None:
        self._found.choose(array)
        self.renew()

    def renew(self) -> None:
        """Show the array at the step; a note says which that is where the session's has none."""
        at, note = self._found.step, self.note
        late = f"step {at} {DOT} " if note and at != self._found.session.step else ""
        self.head.list_choices(self._found.choices, self._found.chosen)
        chosen = self._found.chosen
        data = chosen.result.data if note and chosen is not None else ""
        notes = () if chosen is None else chosen.result.notes
        told = f"{late}{note}{f' {DOT} {data}' if data else ''}"
        self.head.show_note("; ".join((told, *notes)))
        self.view.update()

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.head.set_theme(theme)
        self.view.theme = theme
        self.renew()
