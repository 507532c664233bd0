"""The bottom pane: playback buttons, and the timeline with its curves."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.metrics.table import METRICS
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import evidence_text, step_text, tip_text
from accweight_viewer.panes.timeline_plot import TimelinePlot
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.combo_box import ComboBox
from accweight_viewer.widgets.described_box import Described, DescribedBox
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.icons import icon
from accweight_viewer.widgets.pane import Pane

SPEEDS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
"""Playback speeds offered, in checkpoints per second."""

SMOOTHINGS = (0.0, 0.3, 0.6, 0.9)
"""Smoothings offered."""

BUTTONS = {
    "first": ("First checkpoint", "[ or Shift+Left"),
    "back": ("One checkpoint back", "Left"),
    "play": ("Play", "Space"),
    "forward": ("One checkpoint forward", "Right"),
    "last": ("Last checkpoint", "] or Shift+Right"),
    "loop": ("Restart at the end", ""),
}
"""Tool tip and key of each button."""


class TimelineBar(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """Playback controls, and curves of the layers over time."""

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self._theme = theme_called(session.settings.theme)
        self.step_label = QtWidgets.QLabel()
        self.step_label.setObjectName("step")
        self.checkpoint_label = QtWidgets.QLabel()
        self.checkpoint_label.setObjectName("dim")
        self.buttons = {name: self._button(name) for name in BUTTONS}
        self.speed = self._choice("Speed in checkpoints per second")
        self.metric = DescribedBox("Metric of the curves")
        self.curves = self._curves_button()
        self.plot = TimelinePlot(session, self._theme)
        self._fill_choices()
        self._build()
        self._connect()
        self.set_theme(self._theme)
        self._show_settings()
        self._show_time()

    # --- building -------------------------------------------------------------------------

    def _button(self, name: str) -> Any:
        words, keys = BUTTONS[name]
        button = QtWidgets.QToolButton()
        button.setObjectName(name)
        button.setToolTip(f"{words} ({keys})" if keys else words)
        button.setAccessibleName(words)
        button.setIconSize(QtCore.QSize(16, 16))
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        button.setCheckable(name == "loop")
        return button

    def _curves_button(self) -> Any:
        """Return the button whose menu says how curves are drawn."""
        button = QtWidgets.QToolButton()
        button.setObjectName("curves")
        button.setText("\N{HORIZONTAL ELLIPSIS}")
        button.setToolTip("Scale and smoothing of the curves")
        button.setAccessibleName("Scale and smoothing of the curves")
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        button.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QtWidgets.QMenu(button)
        self.logarithmic = menu.addAction("Logarithmic scale")
        self.logarithmic.setCheckable(True)
        self.logarithmic.triggered.connect(
            lambda on: self._session.change(curve_scale="logarithmic" if on else "linear")
        )
        menu.addSeparator()
        group = (QtGui if hasattr(QtGui, "QActionGroup") else QtWidgets).QActionGroup(menu)
        self.smoothings: dict[float, Any] = {}
        for share in SMOOTHINGS:
            action = menu.addAction(f"Smooth by {share:g}" if share else "Do not smooth")
            action.setCheckable(True)
            group.addAction(action)
            action.triggered.connect(lambda *_, s=share: self._session.change(smoothing=s))
            self.smoothings[share] = action
        button.setMenu(menu)
        return button

    def _choice(self, words: str) -> Any:
        box = ComboBox()
        box.setToolTip(words)
        box.setAccessibleName(words)
        box.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        return box

    def _fill_choices(self) -> None:
        for speed in SPEEDS:
            self.speed.addItem(_speed_text(speed), speed)
        self._fill_metrics()

    def _fill_metrics(self) -> None:
        """List the metrics, those that probes have found as well."""
        self.metric.offer(
            [
                Described(
                    name, name, line, tip_text(evidence_text(name) if name in METRICS else "")
                )
                for name, line in self._session.probes.metric_words.items()
            ]
        )

    def _build(self) -> None:
        keys = QtWidgets.QHBoxLayout()
        keys.setSpacing(4)
        for name, button in self.buttons.items():
            if name == "loop":
                keys.addSpacing(8)
            keys.addWidget(button)
        keys.addStretch(1)
        choices = QtWidgets.QHBoxLayout()
        choices.setSpacing(8)
        choices.addWidget(self.metric, 1)
        choices.addWidget(self.curves)
        choices.addWidget(self.speed)
        left = QtWidgets.QVBoxLayout()
        left.setSpacing(0)
        left.addWidget(self.step_label)
        left.addWidget(self.checkpoint_label)
        left.addSpacing(10)
        left.addLayout(keys)
        left.addSpacing(8)
        left.addLayout(choices)
        left.addStretch(1)
        whole = QtWidgets.QHBoxLayout(self)
        whole.setContentsMargins(14, 10, 6, 8)
        whole.setSpacing(16)
        whole.addLayout(left)
        whole.addWidget(self.plot, 1)

    def _connect(self) -> None:
        actions = {
            "first": self.first,
            "back": self.back,
            "play": self.toggle_play,
            "forward": self.forward,
            "last": self.last,
            "loop": self.toggle_loop,
        }
        for name, action in actions.items():
            self.buttons[name].clicked.connect(lambda *_, action=action: action())
        self.speed.activated.connect(
            lambda *_: self._session.change(speed=self.speed.currentData())
        )
        self.metric.activated.connect(
            lambda *_: self._session.change(curve_metric=self.metric.currentData())
        )
        listen(self, self._session.time_changed, self._show_time)
        listen(self, self._session.playing_changed, self._show_playing)
        listen(self, self._session.selection_changed, self.plot.show_selection)
        listen(self, self._session.settings_changed, self._settings_changed)
        listen(self, self._session.data_changed, self._data_changed)

    # --- what can be done -----------------------------------------------------------------

    def first(self) -> None:
        """Go to the first checkpoint."""
        self._session.move_to(0)

    def back(self) -> None:
        """Go one checkpoint back, and stop playback."""
        self._step(-1)

    def forward(self) -> None:
        """Go one checkpoint forward, and stop playback."""
        self._step(1)

    def last(self) -> None:
        """Go to the last checkpoint."""
        self._session.move_to(self._session.cursor.last)

    def toggle_play(self) -> None:
        """Start or stop playback."""
        if self._session.cursor.playing:
            self._session.pause()
        else:
            self._session.play()

    def toggle_loop(self) -> None:
        """Turn looping on or off."""
        self._session.change(loop=not self._session.settings.loop)

    def tick(self, now: float) -> bool:
        """Draw the cursor between two checkpoints during playback."""
        self.plot.refresh_cursor()
        return False

    def _step(self, by: int) -> None:
        if self._session.cursor.playing:
            self._session.pause()
        self._session.move_to(self._session.cursor.position + by)

    # --- what the session tells -----------------------------------------------------------

    def _show_time(self) -> None:
        session = self._session
        self.step_label.setText(f"step {step_text(session.step)}")
        self.checkpoint_label.setText(
            f"checkpoint {session.cursor.position + 1} of {session.cursor.count}"
        )
        self.buttons["first"].setEnabled(session.cursor.position > 0)
        self.buttons["back"].setEnabled(session.cursor.position > 0)
        self.buttons["forward"].setEnabled(session.cursor.position < session.cursor.last)
        self.buttons["last"].setEnabled(session.cursor.position < session.cursor.last)
        self.plot.refresh_cursor()

    def _show_playing(self) -> None:
        playing = self._session.cursor.playing
        words = "Pause" if playing else "Play"
        button = self.buttons["play"]
        button.setIcon(icon("pause" if playing else "play", self._theme.panel))
        button.setToolTip(f"{words} ({BUTTONS['play'][1]})")
        button.setAccessibleName(words)
        self.plot.refresh_cursor()

    def _show_settings(self) -> None:
        settings = self._session.settings
        self.buttons["loop"].setChecked(settings.loop)
        if self.speed.findData(settings.speed) < 0:
            self.speed.addItem(_speed_text(settings.speed), settings.speed)
        self.speed.setCurrentIndex(self.speed.findData(settings.speed))
        self.metric.show_value(settings.curve_metric)
        self.logarithmic.setChecked(settings.curve_scale == "logarithmic")
        for share, action in self.smoothings.items():
            action.setChecked(share == settings.smoothing)

    def _settings_changed(self, names: frozenset[str]) -> None:
        if names & {"curve_metric", "curve_scale", "smoothing"}:
            self.plot.reload()
        self._show_settings()
        self._colour_loop()

    def _data_changed(self) -> None:
        self._fill_metrics()
        self._show_settings()
        self.plot.reload()
        self._show_time()

    # --- looks ----------------------------------------------------------------------------

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.setStyleSheet(_style(theme))
        for name in ("first", "back", "forward", "last"):
            self.buttons[name].setIcon(icon(name, theme.ink))
        self._colour_loop()
        self._show_playing()
        self.plot.set_theme(theme)

    def _colour_loop(self) -> None:
        loop = self._session.settings.loop
        self.buttons["loop"].setIcon(icon("loop", self._theme.accent if loop else self._theme.dim))

    def sizeHint(self) -> Any:  # noqa: N802
        """Return a height at which curves can be distinguished."""
        return QtCore.QSize(960, 160)


def _speed_text(speed: float) -> str:
    return f"{speed:g} / s"


def _style(theme: Theme) -> str:
    """Return the style sheet of the controls."""
    return f"""
        QLabel#step {{ font-size: 22px; font-weight: 600; color: {theme.ink}; }}
        QLabel#dim {{ color: {theme.dim}; }}
        QToolButton {{ background: transparent; border: 1px solid transparent;
            border-radius: 6px; padding: 4px; min-height: 18px; min-width: 18px; }}
        QToolButton:hover {{ background: {theme.raised}; border-color: {theme.line}; }}
        QToolButton:checked {{ border-color: transparent; background: {theme.raised}; }}
        QToolButton#curves::menu-indicator {{ image: none; }}
        QToolButton#play {{ background: {theme.accent}; border-color: {theme.accent};
            padding: 4px 10px; }}
        QToolButton:focus, QComboBox:focus {{ border-color: {theme.dim}; }}
        """
