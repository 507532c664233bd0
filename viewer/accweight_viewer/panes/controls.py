"""The bar of controls: colours and legend, pooling, comparison, and a menu for the rest.

The bar has no state: controls change the settings, and show the settings whenever they change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.colours.scale import colour_table
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import ALLOWED, RANGES, Settings
from accweight_viewer.panes.plate_values_box import PlateValuesBox
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.combo_box import ComboBox
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.icons import icon
from accweight_viewer.widgets.overflow_row import Group, OverflowRow
from accweight_viewer.widgets.pane import Pane
from accweight_viewer.widgets.switch import Switch, flat_buttons

PUBLISHED = "grey"
"""The map in which cumulative change was published."""

STEPS_PER_DECADE = 10
LEAST_SHARE = 1e-4
"""First step above 0 of a share."""

SWITCHES = {
    "scope": {
        "layer": (
            "each layer",
            "Brightest is the largest change of each layer: every layer uses all colours",
        ),
        "global": (
            "whole network",
            "Brightest is the largest change of all: colours compare across layers",
        ),
    },
    "plane": {
        "auto": (
            "auto",
            "Pixels of several weights show their mean, or the largest change where few moved",
        ),
        "mean": ("mean", "A pixel that covers several weights shows their mean"),
        "max": ("max", "A pixel that covers several weights shows their largest change"),
    },
}

SCALES = {
    "common": ("common scale", "Both runs on one scale: who moved ten times as far is seen to"),
    "own": ("own scales", "Each run by its own largest change: where it moved, not how far"),
}

COMPARISONS = {
    "beside": ("beside", "Show both runs side by side"),
    "difference": ("difference", "Show where the first run has moved more, and where the second"),
}

ARRANGEMENTS = {
    "auto": "Arrange automatically",
    "line": "Arrange in one line",
    "rows": "Arrange repeated blocks in rows",
}

OPTIONS = {
    "true_scale": ("Same size for every weight", "A texel is equally large on every plate"),
    "labels": ("Names beside the plates", "Show names and shapes in the scene"),
    "smooth": ("Blend between checkpoints", "Playing blends from one checkpoint into the next"),
    "linked": ("Link the two windows", "Zoom and pan both pictures together"),
}


class ShareBox(QtWidgets.QDoubleSpinBox):  # type: ignore[misc]
    """A field for a share between 0 and 1, with ten steps per power of ten."""

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        self.setLocale(QtCore.QLocale(QtCore.QLocale.Language.C))
        self.setDecimals(6)
        self.setRange(*RANGES[name])
        self.setKeyboardTracking(False)
        self.setButtonSymbols(QtWidgets.QAbstractSpinBox.ButtonSymbols.NoButtons)
        self.setAlignment(QtCore.Qt.AlignmentFlag.AlignRight)
        self.setFixedWidth(62)
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        self.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.lineEdit().returnPressed.connect(self.clearFocus)

    def event(self, event: Any) -> bool:
        """Keep Escape from the window: what was typed would be taken on the way."""
        escape = QtCore.Qt.Key.Key_Escape
        if event.type() == QtCore.QEvent.Type.ShortcutOverride and event.key() == escape:
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802
        """Give up what was typed on Escape."""
        if event.key() == QtCore.Qt.Key.Key_Escape:
            self.lineEdit().setText(self.textFromValue(self.value()))
            self.clearFocus()
        else:
            super().keyPressEvent(event)

    def textFromValue(self, value: float) -> str:  # noqa: N802 - Qt's name
        """Return the shortest exact text."""
        return f"{value:.6f}".rstrip("0").rstrip(".") or "0"

    def stepBy(self, steps: int) -> None:  # noqa: N802 - Qt's name
        """Go to the next of ten values per power of ten."""
        value = self.value()
        if value < LEAST_SHARE * 0.99:
            self.setValue(LEAST_SHARE if steps > 0 else self.minimum())
            return
        at = round(math.log10(value) * STEPS_PER_DECADE) + steps
        new = float(f"{10 ** (at / STEPS_PER_DECADE):.2g}")
        self.setValue(new if new >= LEAST_SHARE * 0.99 else self.minimum())


class Controls(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """One row of controls.

    Attributes:
        maps: Choice of the colour map.
        published: Switch to the colours of the publication.
        logarithmic: Switch between linear and logarithmic colours.
        low: Share at the dark end.
        high: Share at the bright end.
        fitted: Whether the bright end is automatic.
        switches: Switches, by the name of their setting.
        comparison: Side by side, or difference; visible with two runs.
        difference_scale: Scale of a difference; visible while one is shown.
        options: Menu items, by the name of their setting.
        arrangements: Menu items, by arrangement.
        parts: Menu items that show parts of the window.
        row: The groups of controls.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_StyledBackground)
        self.maps = self._map_box()
        self._map_before = Settings().colour_map
        self.published = self._button("grey", "Grey, as published; again for the map before")
        self.logarithmic = self._button("log", "Colours follow the logarithm (L)", checkable=True)
        self.low = ShareBox("low", "Share of the scale that gets the darkest colour")
        self.high = ShareBox("high", "Share of the scale that gets the brightest colour")
        self.fitted = self._button(
            "auto", "The brightest colour is chosen so that most weights differ", checkable=True
        )
        self.reset = self._button("set by hand", "Back to the automatic range")
        self.reset.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.reset.setObjectName("warning")
        self.switches = {name: Switch(values) for name, values in SWITCHES.items()}
        self.plate_values = PlateValuesBox(session)
        self.comparison = Switch(COMPARISONS)
        self.difference_scale = Switch(SCALES)
        self.theme_button = self._button("", "Dark or light (T)")
        self.view_button = self._button(
            "View \N{BLACK DOWN-POINTING SMALL TRIANGLE}", "Arrangement, size, names and more"
        )
        self.help_button = self._button("?", "Help: keys, mouse, and what is shown")
        self.help_button.setMenu(QtWidgets.QMenu(self))
        self.help_button.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self.options: dict[str, Any] = {}
        self.arrangements: dict[str, Any] = {}
        self.parts: list[Any] = []
        self.view_button.setMenu(self._menu())
        self.view_button.setPopupMode(QtWidgets.QToolButton.ToolButtonPopupMode.InstantPopup)
        self._build()
        self._connect()
        self.set_theme(theme_called(session.settings.theme))
        self._show_settings()
        self._show_comparison()

    # --- building --------------------------------------------------------------------------

    def _button(self, text: str, tip: str, *, checkable: bool = False) -> Any:
        button = QtWidgets.QToolButton()
        button.setText(text)
        button.setToolTip(tip)
        button.setAccessibleName(tip)
        button.setCheckable(checkable)
        button.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        return button

    def _map_box(self) -> Any:
        box = ComboBox()
        box.setIconSize(QtCore.QSize(40, 10))
        for name in ALLOWED["colour_map"]:
            box.addItem(_map_icon(name), name, name)
            if name == PUBLISHED:
                tip = "As in the publication of cumulative change"
                box.setItemData(box.count() - 1, tip, QtCore.Qt.ItemDataRole.ToolTipRole)
        box.setToolTip("Colours of cumulative change, from none to most")
        box.setAccessibleName("Colour map")
        box.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        return box

    def _menu(self) -> Any:
        menu = QtWidgets.QMenu(self)
        group = (QtGui if hasattr(QtGui, "QActionGroup") else QtWidgets).QActionGroup(menu)
        for value, text in ARRANGEMENTS.items():
            action = menu.addAction(text)
            action.setCheckable(True)
            group.addAction(action)
            action.triggered.connect(lambda *_, v=value: self._session.change(arrangement=v))
            self.arrangements[value] = action
        menu.addSeparator()
        for name, (text, tip) in OPTIONS.items():
            action = menu.addAction(text)
            action.setCheckable(True)
            action.setToolTip(tip)
            action.triggered.connect(lambda on, n=name: self._session.change(**{n: bool(on)}))
            self.options[name] = action
        menu.setToolTipsVisible(True)
        return menu

    def _build(self) -> None:
        dash = QtWidgets.QLabel("\N{EN DASH}")
        ends = [self.low, dash, self.high, self.fitted]
        self._ranged = Group("Range", ends, 1)
        self._clipped = Group("", [self.reset], 9)  # what clips is always said
        self._valued = Group("Show", [self.plate_values], 4)
        self._valued.wanted = self.plate_values.is_useful
        self._compared = Group("Runs", [self.comparison, self.difference_scale], 3)
        self.row = OverflowRow(
            [
                Group("Colours", [self.maps, self.published, self.logarithmic], 5),
                self._ranged,
                self._clipped,
                Group("Brightness relative to", [self.switches["scope"]], 2),
                Group("Coarse pixels show", [self.switches["plane"]], 0),
                self._valued,
                self._compared,
            ]
        )
        whole = QtWidgets.QHBoxLayout(self)
        whole.setContentsMargins(10, 6, 8, 6)
        whole.setSpacing(6)
        whole.addWidget(self.row, 1)
        whole.addWidget(self.view_button)
        whole.addWidget(self.help_button)
        whole.addWidget(self.theme_button)

    def add_part(self, text: str, show: Callable[[bool], object]) -> None:
        """Offer to show and hide a part of the window in the menu.

        Args:
            text: Its name.
            show: Called with whether it is to be shown.
        """
        if not self.parts:
            self.view_button.menu().addSeparator()
        action = self.view_button.menu().addAction(text)
        action.setCheckable(True)
        action.setChecked(True)
        action.triggered.connect(lambda on: show(bool(on)))
        self.parts.append(action)

    def _connect(self) -> None:
        session = self._session
        self.maps.activated.connect(lambda *_: session.change(colour_map=self.maps.currentData()))
        self.published.setCheckable(True)
        self.published.clicked.connect(lambda on: self._publish(bool(on)))
        self.logarithmic.clicked.connect(lambda on: session.change(logarithmic=bool(on)))
        self.low.valueChanged.connect(lambda value: session.change(low=float(value)))
        self.high.valueChanged.connect(
            lambda value: session.change(high=float(value), fitted=False)
        )
        self.fitted.clicked.connect(self._fit)
        self.reset.clicked.connect(lambda *_: self._reset_range())
        for name, switch in self.switches.items():
            switch.chosen.connect(lambda value, name=name: session.change(**{name: value}))
        self.comparison.chosen.connect(session.compare_as)
        self.difference_scale.chosen.connect(lambda value: session.change(difference_scale=value))
        self.theme_button.clicked.connect(lambda *_: self._toggle_theme())
        listen(self, session.settings_changed, self._settings_changed)
        listen(self, session.data_changed, self._data_changed)

    # --- what can be done ------------------------------------------------------------------

    def _publish(self, on: bool) -> None:
        """Switch to the published colours, or back to the map before."""
        now = self._session.settings.colour_map
        self._map_before = now if on and now != PUBLISHED else self._map_before
        self._session.change(colour_map=PUBLISHED if on else self._map_before)

    def _fit(self, on: bool) -> None:
        """Make the bright end automatic, or keep its present value."""
        if on:
            self._session.change(fitted=True)
        else:
            self._session.change(fitted=False, high=max(self.high.value(), RANGES["high"][0]))

    def _reset_range(self) -> None:
        plain = Settings()
        self._session.change(low=plain.low, high=plain.high, fitted=plain.fitted)

    def _toggle_theme(self) -> None:
        dark = self._session.settings.theme == "dark"
        self._session.change(theme="light" if dark else "dark")

    # --- what is shown ---------------------------------------------------------------------

    def _settings_changed(self, names: frozenset[str]) -> None:
        self._show_settings()

    def _data_changed(self) -> None:
        self._show_settings()
        self._show_comparison()

    def _show_settings(self) -> None:
        settings = self._session.settings
        high = self._session.fitted_high if settings.fitted else settings.high
        self.maps.setCurrentIndex(self.maps.findData(settings.colour_map))
        self.published.setChecked(settings.colour_map == PUBLISHED)
        self.logarithmic.setChecked(settings.logarithmic)
        self.fitted.setChecked(settings.fitted)
        for box, value in ((self.low, self._session.low), (self.high, high)):
            blocker = QtCore.QSignalBlocker(box)
            box.setValue(value)
            blocker.unblock()
        of_movement = self._session.probes.unit_values is None
        clips = settings.range_by_hand and of_movement
        if (self._clipped.wanted, self._ranged.wanted) != (clips, of_movement):
            self._clipped.wanted, self._ranged.wanted = clips, of_movement
            self.reset.setVisible(clips)
            self.row.fit()
        self.switches["scope"].show_value(settings.scope)
        self.switches["plane"].show_value(settings.plane)
        self.difference_scale.show_value(settings.difference_scale)
        self.arrangements[settings.arrangement].setChecked(True)
        for name, action in self.options.items():
            action.setChecked(bool(getattr(settings, name)))

    def _show_comparison(self) -> None:
        self.comparison.show_value(self._session.comparison)
        self.difference_scale.setVisible(self._session.comparison == "difference")
        self._compared.wanted = len(self._session.runs) == 2
        self._valued.wanted = self.plate_values.is_useful
        self.row.fit()

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self.setStyleSheet(
            flat_buttons(theme)
            + f"""
            Controls {{ border-bottom: 1px solid {theme.line}; }}
            QFrame#panel {{ background: {theme.panel}; border: 1px solid {theme.line}; }}
            QToolButton {{ color: {theme.dim}; padding: 3px 7px; }}
            QToolButton:hover {{ color: {theme.ink}; }}
            QToolButton:checked {{ color: {theme.accent}; }}
            QToolButton#warning {{ color: {theme.accent}; }}
            """
        )
        for switch in (*self.switches.values(), self.comparison, self.difference_scale):
            switch.set_theme(theme)
        self.reset.setIcon(icon("reset", theme.accent))
        self.theme_button.setIcon(icon("theme", theme.ink))


def _map_icon(name: str) -> Any:
    """Return a strip with the colours of a map."""
    colours = np.ascontiguousarray(colour_table(name))
    strip = QtGui.QImage(
        colours.tobytes(),
        len(colours),
        1,
        3 * len(colours),
        QtGui.QImage.Format.Format_RGB888,
    )
    return QtGui.QIcon(QtGui.QPixmap.fromImage(strip.scaled(80, 20)))
