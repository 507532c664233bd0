"""Exact values of picked weights, from a process that reads the checkpoints; answers come later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pyqtgraph.Qt import QtCore

from accweight_core.analysis.exact_client import Answer, Answers
from accweight_viewer.model.picking import Pick


class ExactValues(QtCore.QObject):  # type: ignore[misc]
    """Asks for one weight at every step, and tells the answer on the thread of the window."""

    _answered = QtCore.Signal(object)

    def __init__(self, paths: Sequence[Path], told: Callable[[Pick, Answer], object]) -> None:
        """Start nothing yet.

        Args:
            paths: The analyses, as picks number them.
            told: Called with each answer and what was asked for.
        """
        super().__init__()
        self._answers = [Answers(path) for path in paths]
        self._told = told
        self._answered.connect(self._tell, QtCore.Qt.ConnectionType.QueuedConnection)

    def ask(self, pick: Pick) -> None:
        """Ask for the weight that was picked; gaps between weights have none."""
        if pick.index is not None:
            self._answers[pick.run].ask(
                pick.plate.name, pick.index, lambda answer: self._answered.emit((pick, answer))
            )

    def _tell(self, answered: tuple[Pick, Answer]) -> None:
        self._told(*answered)

    def close(self) -> None:
        """End what was started."""
        for answers in self._answers:
            answers.close()
