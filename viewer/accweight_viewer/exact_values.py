"""Exact values of picked weights, read asynchronously by another process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pyqtgraph.Qt import QtCore

from accweight_core.analysis.exact_client import Answer, ExactClient
from accweight_viewer.model.nonfinite import MaskRequest
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.runs import ShownRun

MOST_KNOWN = 512
"""Weights whose exact values are kept."""


class ExactValues(QtCore.QObject):  # type: ignore[misc]
    """Requests one weight at every step, and passes the answer to the thread of the window."""

    _answered = QtCore.Signal(object)
    _masked = QtCore.Signal(object)

    def __init__(self, paths: Sequence[Path], told: Callable[[Pick, Answer], object]) -> None:
        """Create it; no process is started yet.

        Args:
            paths: Paths of the analyses, in the order of `Pick.run`.
            told: Called with each answer and its pick.
        """
        super().__init__()
        self._answers = [ExactClient(path) for path in paths]
        self._told = told
        self._runs: list[ShownRun] = []
        self._known: dict[Hashable, Answer] = {}
        self._arrived: Callable[[], object] | None = None
        queued = QtCore.Qt.ConnectionType.QueuedConnection
        self._answered.connect(self._tell, queued)
        self._masked.connect(self._tell_masks, queued)

    def start(self, run: int) -> None:
        """Start the process of a run, so that its first answer comes soon."""
        self._answers[run].start()

    def ask(self, pick: Pick) -> None:
        """Request the picked weight, or tell at once what is known of it; gaps are ignored."""
        if pick.index is None:
            return
        if (known := self._known.get(_key(pick))) is not None:
            self._told(pick, known)
            return
        self._answers[pick.run].ask(
            pick.plate.name, pick.index, lambda answer: self._answered.emit((pick, answer))
        )

    def mark_nonfinite(self, runs: Sequence[ShownRun], arrived: Callable[[], object]) -> None:
        """Let runs ask where their weights are not finite.

        Args:
            runs: In the order of the paths.
            arrived: Called on the thread of the window when pictures have changed.
        """
        self._arrived = arrived
        if list(runs) != self._runs:  # an analysis has grown, or is another one
            self._known.clear()
        self._runs = list(runs)
        for client, run in zip(self._answers, runs, strict=True):
            run.masks.ask = partial(self._ask_masks, client, run)

    def _ask_masks(self, client: ExactClient, run: ShownRun, request: MaskRequest) -> None:
        """Request masks; called on a loading thread, maybe after the window was closed."""
        with suppress(ValueError):
            client.ask_nonfinite(
                request.parameter,
                request.positions,
                lambda answer: self._masked.emit((run, request, answer)),
            )

    def _tell_masks(self, answered: tuple[ShownRun, MaskRequest, Answer]) -> None:
        run, request, answer = answered
        if run.masks.take(request, answer) and self._arrived is not None:
            self._arrived()

    def _tell(self, answered: tuple[Pick, Answer]) -> None:
        pick, answer = answered
        if "error" not in answer:
            self._known[_key(pick)] = answer
            while len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
        self._told(*answered)

    def close(self) -> None:
        """Stop all processes."""
        for answers in self._answers:
            answers.close()


def _key(pick: Pick) -> Hashable:
    """Return what tells weights apart."""
    return pick.run, pick.plate.name, pick.index
