"""Exact values of picked weights, read asynchronously by another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pyqtgraph.Qt import QtCore

from accweight_core.analysis.exact_client import Answer, Answers
from accweight_viewer.model.picking import Pick


class ExactValues(QtCore.QObject):  # type: ignore[misc]
    """Requests one weight at every step, and passes the answer to the thread of the window."""

    _answered = QtCore.Signal(object)

    def __init__(self, paths: Sequence[Path], told: Callable[[Pick, Answer], object]) -> None:
        """Create it; no process is started yet.

        Args:
            paths: Paths of the analyses, in the order of `Pick.run`.
            told: Called with each answer and its pick.
        """
        super().__init__()
        self._answers = [Answers(path) for path in paths]
        self._told = told
        self._answered.connect(self._tell, QtCore.Qt.ConnectionType.QueuedConnection)

    def ask(self, pick: Pick) -> None:
        """Request the picked weight; gaps are ignored."""
        if pick.index is not None:
            self._answers[pick.run].ask(
                pick.plate.name, pick.index, lambda answer: self._answered.emit((pick, answer))
            )

    def _tell(self, answered: tuple[Pick, Answer]) -> None:
        self._told(*answered)

    def close(self) -> None:
        """Stop all processes."""
        for answers in self._answers:
            answers.close()
