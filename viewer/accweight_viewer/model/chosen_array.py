"""Which of the arrays that probes found a pane shows, and of which step."""

from __future__ import annotations

from typing import ClassVar

from accweight_core.analysis.probe_kinds import ResultKind
from accweight_viewer.model.found import FoundArray, measured_place
from accweight_viewer.model.session import Session


class ChosenArray:
    """An array of some kinds, of a session's probes.

    Attributes:
        session: The session.
        kinds: What a pane shows.
    """

    kinds: ClassVar[tuple[ResultKind, ...]]

    def __init__(self, session: Session) -> None:
        self.session = session
        self._chosen: tuple[int, str, str, int | None] | None = None

    @property
    def choices(self) -> list[FoundArray]:
        """The arrays that can be shown."""
        return self.session.probes.of_kind(*self.kinds)

    @property
    def chosen(self) -> FoundArray | None:
        """The array that is shown; the first one unless another was chosen."""
        choices = self.choices
        same = next((one for one in choices if one.key == self._chosen), None)
        return same or (choices[0] if choices else None)

    def choose(self, array: FoundArray) -> None:
        """Show another array."""
        self._chosen = array.key

    @property
    def place(self) -> int:
        """Index of the step that is shown: the last one that was probed."""
        chosen = self.chosen
        return 0 if chosen is None else measured_place(chosen.result.steps, self.session.step)

    @property
    def step(self) -> int:
        """That step."""
        chosen = self.chosen
        return 0 if chosen is None else int(chosen.result.steps[self.place])
