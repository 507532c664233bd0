"""The panel of the selected weight: cumulative change and value, now and over time.

Stored values are shown at once. The weight itself and its exact path are read from the checkpoints
by the window, and arrive later through `set_exact`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.analysis.exact_client import Answer
from accweight_core.text import plain
from accweight_viewer.model.exact_series import ExactSeries, Number, SeriesRequest, as_json
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.plates import Texels
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import MISSING, step_text, tip_text
from accweight_viewer.panes.texel_text import DOT, element_text, exact_text, share_text, square_text
from accweight_viewer.panes.value_card import Card
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.background import Background
from accweight_viewer.widgets.elided_label import ElidedLabel
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.icons import icon
from accweight_viewer.widgets.pane import Pane
from accweight_viewer.widgets.switch import flat_buttons

PATIENCE_MS, PROGRESS_MS = 300, 500
"""Time after which reading is told, and between two reports of it."""

NAMES = {"nan": "NaN", "inf": "+\N{INFINITY}", "-inf": "\N{MINUS SIGN}\N{INFINITY}"}
"""What is shown for weights that are not finite."""

NOTHING = "Click a weight in a picture to see how it moved"


class Readout(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """The selected weight.

    Attributes:
        path: Card of its cumulative change.
        weight: Card of the weight itself.
        unit: Card of what its unit does; shown while plates show that.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        theme = theme_called(session.settings.theme)
        self._pick: Pick | None = None
        self._stored: Texels | None = None
        self._exact: ExactSeries | None = None
        self._problem = ""
        self._asked_at = 0.0
        self._progress = QtCore.QTimer(self)
        self._progress.timeout.connect(self._tell_progress)
        self.name = ElidedLabel()
        self.name.setObjectName("name")
        self.place = ElidedLabel(dim=True)
        self.path = Card("", theme, 0)
        self.weight = Card("weight", theme, 1)
        self.unit = Card("", theme, 2)
        self.copy_button = QtWidgets.QToolButton()
        self.empty = QtWidgets.QLabel(NOTHING)
        self._background: Background[SeriesRequest, Texels] = Background(
            SeriesRequest.read, self._collect
        )
        self._build()
        self._connect()
        self.set_theme(theme)
        self._selection_changed()

    # --- building --------------------------------------------------------------------------

    @property
    def _cards(self) -> tuple[Card, ...]:
        return self.path, self.weight, self.unit

    def _build(self) -> None:
        head = QtWidgets.QGridLayout()
        head.setHorizontalSpacing(4)
        head.setVerticalSpacing(2)
        head.addWidget(self.name, 0, 0)
        head.addWidget(self.place, 1, 0)
        head.addWidget(self.copy_button, 0, 1, 2, 1, QtCore.Qt.AlignmentFlag.AlignTop)
        head.setColumnStretch(0, 1)
        cards = QtWidgets.QHBoxLayout()
        cards.setSpacing(16)
        cards.addWidget(self.path, 1)
        cards.addWidget(self.weight, 1)
        self._full = QtWidgets.QWidget()
        column = QtWidgets.QVBoxLayout(self._full)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(8)
        column.addLayout(head)
        column.addLayout(cards, 1)
        column.addWidget(self.unit, 1)
        self.empty.setObjectName("dim")
        self.empty.setWordWrap(True)
        self.empty.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self._pages = QtWidgets.QStackedLayout(self)
        self._pages.addWidget(self.empty)
        self._pages.addWidget(self._full)
        tip = "Copy parameter, index, step and values as a line of JSON"
        self.copy_button.setToolTip(tip)
        self.copy_button.setAccessibleName(tip)
        self.copy_button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        self.setMinimumHeight(120)

    def _connect(self) -> None:
        session, background = self._session, self._background
        self.copy_button.clicked.connect(lambda *_: self.copy())
        for card in self._cards:
            card.curve.step_chosen.connect(session.move_to_step)
        self.destroyed.connect(lambda *_: background.close())
        listen(self, session.selection_changed, self._selection_changed)
        listen(self, session.data_changed, self._data_changed)
        listen(self, session.time_changed, self._show)
        listen(self, session.settings_changed, self._settings_changed)

    # --- what comes ------------------------------------------------------------------------

    def take_answer(self, pick: Pick, answer: Answer) -> None:
        """Show the answer to a question for exact values, unless another weight is selected now."""
        if pick != self._session.pick:
            return
        if "error" in answer:
            self.set_exact_error(str(answer["error"]))
            return
        steps = self._session.runs[pick.run].steps
        known = min(len(steps), len(answer["weights"]))  # the run may have grown since
        weights, cumulative = (answer[name][:known] for name in ("weights", "cumulative"))
        self.set_exact(steps[:known], weights, cumulative, answer.get("named"))

    def set_exact(
        self,
        steps: npt.ArrayLike,
        weights: Sequence[Any],
        cumulative: Sequence[Any],
        named: Mapping[str, str] | None = None,
    ) -> None:
        """Show exact values of the selected weight from the checkpoints.

        Args:
            steps: Steps of its run.
            weights: W_t; None where it is not finite, a pair for a complex number.
            cumulative: A_t.
            named: What a weight is instead of a number, by position.
        """
        self._exact, self._problem = ExactSeries.of(steps, weights, cumulative, named), ""
        self._show()

    def set_exact_error(self, text: str) -> None:
        """Show why the checkpoints could not be read."""
        self._problem = text
        self._show()

    def _selection_changed(self) -> None:
        if self._session.pick != self._pick or self._pick is None:
            self._exact, self._problem = None, ""
            self._asked_at = time.monotonic()
            self._progress.start(PATIENCE_MS)
            self._take()

    def _tell_progress(self) -> None:
        """Tell how long reading has taken, until it ends."""
        self._progress.setInterval(PROGRESS_MS)
        if self._exact is not None or self._problem or self._pick is None:
            self._progress.stop()
        else:
            self._show()

    @property
    def _reading(self) -> str:
        """What is told while exact values are read: nothing at first."""
        seconds = time.monotonic() - self._asked_at
        if self.run is None or seconds * 1000 < PATIENCE_MS:
            return ""
        count = len(self.run.steps)
        return f"reading {count} checkpoints \N{HORIZONTAL ELLIPSIS} {seconds:.0f} s"

    def _data_changed(self) -> None:
        """Read stored values again; exact values stay valid."""
        self._take()

    def _take(self) -> None:
        self._pick, self._stored = self._session.pick, None
        self._pages.setCurrentIndex(0 if self._pick is None else 1)
        if (pick := self._pick) is None:
            self._background.loader.request(())
            return
        self._background.loader.request([self._request(pick)])
        self._show()

    def _request(self, pick: Pick) -> SeriesRequest:
        run = self._session.runs[pick.run]
        return SeriesRequest(run, pick.plate, pick.row, pick.col)

    def _collect(self) -> None:
        for request, series in self._background.values():
            if self._pick is not None and request == self._request(self._pick):
                self._stored = series
        self._show()

    @property
    def settled(self) -> bool:
        """Whether all stored values of the weight are shown."""
        return self._background.idle

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Stop reading."""
        self._background.close()
        super().closeEvent(event)

    # --- what is shown ---------------------------------------------------------------------

    @property
    def pick(self) -> Pick | None:
        """The weight shown."""
        return self._pick

    @property
    def run(self) -> ShownRun | None:
        """Its run."""
        return self._session.runs[self._pick.run] if self._pick is not None else None

    @property
    def step(self) -> int:
        """The step shown."""
        if self._pick is None or self.run is None or not len(self.run.steps):
            return 0
        return int(self.run.steps[self._session.run_position(self._pick.run)])

    @property
    def cumulative(self) -> float | None:
        """A_t at this step: exact if available, else as stored."""
        if self._exact is not None and (at := self._exact.position(self.step)) is not None:
            return self._exact.cumulative[at]
        if self._stored is None or self._pick is None:
            return None
        return float(self._stored[self._session.run_position(self._pick.run)])

    @property
    def current_weight(self) -> Number:
        """W_t at this step, None if it is not available."""
        if self._exact is None or (at := self._exact.position(self.step)) is None:
            return None
        return self._exact.weights[at]

    def as_json(self) -> str:
        """Return everything shown as a line of JSON; '' if nothing is."""
        pick = self._pick
        return as_json(pick, self.step, self.cumulative, self.current_weight) if pick else ""

    def copy(self) -> None:
        """Copy that line to the clipboard."""
        QtWidgets.QApplication.clipboard().setText(self.as_json())

    def contextMenuEvent(self, event: QtGui.QContextMenuEvent) -> None:  # noqa: N802 - Qt's name
        """Show a menu to copy the values."""
        if self._pick is not None:
            menu = QtWidgets.QMenu(self)
            menu.addAction("Copy as JSON").triggered.connect(lambda *_: self.copy())
            menu.exec(event.globalPos())

    def _show(self) -> None:
        if (pick := self._pick) is None or (run := self.run) is None:
            return
        name = element_text(pick)
        self.name.setText(name)
        self.name.setToolTip(tip_text(name))
        runs = len(self._session.runs) > 1
        self.place.setText(f"{run.name}{DOT}{pick.described()}" if runs else pick.described())
        self._show_path(pick, run)
        self._show_weight(run)
        self._show_unit(pick)

    def _show_path(self, pick: Pick, run: ShownRun) -> None:
        card, value = self.path, self.cumulative
        exact = self._exact is not None and self._exact.position(self.step) is not None
        side = 1 << pick.plate.finest if pick.plate.pictured else 0
        whose = "" if exact or side == 1 else f", mean of {square_text(side)}"
        card.caption.setText(f"moved{whose}")
        scope = self._session.settings.scope
        scale = run.scale(pick.plate, scope)
        known = value is not None and scale > 0
        share = share_text(value / scale, scope) if value is not None and known else MISSING
        note = f"{share}{DOT}step {step_text(self.step)}"
        card.say(MISSING if value is None else exact_text(value), note)
        at = self._session.run_position(pick.run)
        if self._exact is not None:
            card.curve.show_series(self._exact.steps, self._exact.path, at)
        elif self._stored is not None:
            card.curve.show_series(run.steps, self._stored.astype(np.float64), at)
        else:
            card.curve.show_series(run.steps[:0], np.empty(0), 0)

    def _show_weight(self, run: ShownRun) -> None:
        card, exact = self.weight, self._exact
        if exact is None:
            unknown = self._pick is not None and self._pick.index is None
            note = self._problem or ("no single weight" if unknown else self._reading)
            card.say(MISSING, note)
            card.curve.show_series(run.steps[:0], np.empty(0), 0)
            return
        at = exact.position(self.step)
        first = exact.weights[0] if exact.weights else None
        note = f"initially {_weight_text(first)}" if at is not None else "not read at this step"
        named = exact.named.get(at) if at is not None else None
        card.say(NAMES.get(named, named) if named else _weight_text(self.current_weight), note)
        card.curve.show_series(exact.steps, exact.sizes, -1 if at is None else at)

    def _show_unit(self, pick: Pick) -> None:
        """Show what the unit of the weight does, if plates show that and the probe knows it."""
        units = self._session.probes.unit_values
        unit = units.unit_at(pick.plate, pick.row, pick.col) if units is not None else None
        self.unit.setVisible(unit is not None)
        if units is None or unit is None:
            return
        series, scope = units.series(pick.plate, unit), self._session.settings.scope
        at = self._session.run_position(pick.run)
        value = float(series[at])
        self.unit.caption.setText(
            f"{plain(units.array.of_units)} of unit {plain(units.name_of(unit))}"
        )
        self.unit.caption.setToolTip(tip_text(plain(units.array.words)))
        share = share_text(units.normalised(pick.plate, value, scope), scope)
        self.unit.say(exact_text(value), f"{share}{DOT}step {step_text(self.step)}")
        self.unit.curve.show_series(units.steps, series, at)

    # --- looks -----------------------------------------------------------------------------

    def _settings_changed(self, names: frozenset[str]) -> None:
        if names & {"scope", "plate_values"}:
            self._show()

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.setStyleSheet(
            "QLabel#value { font-size: 17px; font-weight: 600; } QLabel#name { font-weight: 600; }"
            + flat_buttons(theme)
        )
        self.copy_button.setIcon(icon("copy", theme.ink))
        for card in self._cards:
            card.curve.set_theme(theme)


def _weight_text(weight: Number) -> str:
    """Return a weight with its sign; both parts of complex ones."""
    if weight is None:
        return MISSING
    if isinstance(weight, complex):
        sign = "-" if weight.imag < 0 else "+"
        return f"{exact_text(weight.real)} {sign} {exact_text(abs(weight.imag))}i"
    return exact_text(weight).replace("-", "\N{MINUS SIGN}", 1)
