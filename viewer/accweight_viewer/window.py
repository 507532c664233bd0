"""The main window: layer table, scenes, two picture windows, timeline.

A tick of its clock advances time and camera and lets the panes update.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.text import plain
from accweight_viewer.clock import WindowClock
from accweight_viewer.exact_values import ExactValues
from accweight_viewer.exports import Exports
from accweight_viewer.growth import Growth
from accweight_viewer.help import WindowHelp
from accweight_viewer.keys import WindowKeys
from accweight_viewer.layout import NAMES, PaneLayout
from accweight_viewer.model.picking import Pick
from accweight_viewer.model.session import Session
from accweight_viewer.panes.caption import Caption
from accweight_viewer.panes.colour_bar import ColourBar
from accweight_viewer.panes.controls import Controls
from accweight_viewer.panes.found_row import FoundRow
from accweight_viewer.panes.histogram import Histogram
from accweight_viewer.panes.layer_table import LayerTable
from accweight_viewer.panes.notice_bar import NoticeBar
from accweight_viewer.panes.picture_link import link
from accweight_viewer.panes.picture_window import PictureWindow
from accweight_viewer.panes.readout import Readout
from accweight_viewer.panes.status_line import StatusLine
from accweight_viewer.panes.timeline_bar import TimelineBar
from accweight_viewer.preferences import Preferences
from accweight_viewer.scene.cameras import Cameras
from accweight_viewer.scene.scene_row import SceneRow
from accweight_viewer.scene.view import SceneView
from accweight_viewer.theme import Theme, style_sheet, theme_called
from accweight_viewer.widgets.boxes import column
from accweight_viewer.widgets.pane import Pane

LEAST_SIZE = 320, 240
"""Smallest window; panes that do not fit are hidden."""

AnyPane = TypeVar("AnyPane", bound=Pane)


class MainWindow(QtWidgets.QMainWindow):  # type: ignore[misc]
    """The main window of the viewer.

    Attributes:
        session: The session.
        panes: All panes; see `Pane`.
        cameras: The cameras of the scenes.
        flight: The one of the first scene.
        scene_row: The scenes side by side.
        scenes: One per run, or one.
        table: The layer table.
        legend: The colour bar below the scenes.
        found: What probes have found.
        windows: The two picture windows.
        timeline: The timeline.
        histogram: What is below the legend.
        layout_of_panes: Where they are.
        help: Its Help menu, and what that shows.
        keys: Its keys.
        exports: What can be taken out of it.
        clock: What makes it tick.
        growth: What follows analyses that are still written.
        failure: Why something cannot be shown; empty if nothing failed.
    """

    def __init__(
        self,
        session: Session,
        *,
        size: tuple[int, int],
        budget_bytes: int,
        preferences: Preferences | None = None,
        bare: bool = False,
        capturing: bool = False,
    ) -> None:
        """Create the window.

        Args:
            session: The session.
            size: Width and height, unless a saved layout exists.
            budget_bytes: Graphics memory for textures.
            preferences: Storage of settings; None saves nothing.
            bare: Whether to show the scenes only.
            capturing: Whether time and camera move only when told to.
        """
        super().__init__()
        self.resize(*size)
        self.session = session
        self.cameras = Cameras(at_once=capturing)
        self.cameras.follow(lambda: self.scene_row.shown)
        self.flight = self.cameras.first
        self.failure = ""
        self._budget = budget_bytes
        self._preferences = preferences
        self._bare = bare
        self.clock = WindowClock(self, self._advance, standing=capturing)
        self.growth = Growth(session, self)
        self._exact = ExactValues(
            [run.path for run in session.runs], lambda *told: self.readout.take_answer(*told)
        )
        self._build()
        self._listen()
        menu = self.controls.help_button.menu()
        self.help = WindowHelp(self, menu, None if capturing else preferences)
        self.keys = WindowKeys(self)
        self.exports = Exports(self, self.controls.view_button.menu())
        self.setStyleSheet(style_sheet(theme_called(session.settings.theme)))
        self._exact.mark_nonfinite(session.runs, session.redraw)
        self._retitle()
        if not capturing:
            self.growth.start()
        self.cameras.home(at_once=True)
        self.scenes[0].setFocus()  # so that the first keys fly
        self._wake()

    # --- building -------------------------------------------------------------------------

    def _build(self) -> None:
        self.panes: list[Pane] = []
        self.scene_row = SceneRow(self.session, self.cameras, self._budget, self._add_scene)
        self.scenes = self.scene_row.scenes
        self.legend = self.add_pane(ColourBar(self.session))
        self.found = FoundRow(self.session)
        self.panes.extend(self.found.panes)
        self.histogram = self.add_pane(Histogram(self.session))
        self.table = self.add_pane(LayerTable(self.session))
        self.windows = [self.add_pane(PictureWindow(self.session, at)) for at in (0, 1)]
        link(self.windows[0], self.windows[1], self.session)
        self.readout = self.add_pane(Readout(self.session))
        self.timeline = self.add_pane(TimelineBar(self.session))
        self.controls = self.add_pane(Controls(self.session))
        beneath = column(self.legend, self.histogram)
        beneath.setSizePolicy(self.legend.sizePolicy())  # the scenes take all other room
        self.layout_of_panes = PaneLayout(
            self.table,
            self.scene_row,
            beneath,
            self.found,
            self.windows,
            self.readout,
            self.timeline,
        )
        for window in self.windows:
            window.header.enlarge.toggled.connect(partial(self._enlarge, window))
        for name, text in NAMES.items():
            self.controls.add_part(text, partial(self._show_part, name))
        self.setCentralWidget(self.layout_of_panes.whole)
        self.setMenuWidget(self.controls)
        self.status = self.add_pane(StatusLine(self.session))
        self.statusBar().addWidget(self.status, 1)
        self.notices = self.add_pane(NoticeBar(self.session))
        self.statusBar().addPermanentWidget(self.notices)
        if self._bare:
            self._strip()
        self.setMinimumSize(*LEAST_SIZE)
        self._restore()
        self.scene_row.renew()

    def _strip(self) -> None:
        """Leave the scenes alone, with title, step and legend."""
        for widget in (*self.panes, self.found, self.layout_of_panes.right, self.statusBar()):
            widget.hide()
        self.histogram.leave_out()
        self.legend.show()
        self.caption = self.add_pane(Caption(self.session))
        self.layout_of_panes.add_caption(self.caption)

    def add_pane(self, pane: AnyPane) -> AnyPane:
        """Add a pane to be ticked, themed, waited for and closed; return it."""
        self.panes.append(pane)
        return pane

    def _add_scene(self, scene: SceneView) -> None:
        self.add_pane(scene).woken.connect(self._wake)
        scene.hovered.connect(partial(self._hovered, scene))

    def _listen(self) -> None:
        session = self.session
        session.data_changed.connect(self._data_changed)
        session.settings_changed.connect(self._settings_changed)
        session.selection_changed.connect(self._selected)
        session.time_changed.connect(self._wake)
        session.playing_changed.connect(self._wake)
        session.jump_asked.connect(self._jump)

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme to all panes."""
        self.setStyleSheet(style_sheet(theme))
        for pane in self.panes:
            pane.set_theme(theme)

    def _retitle(self) -> None:
        runs = self.session.runs
        names = " and ".join(run.name + " (restarted)" * bool(run.header.restart) for run in runs)
        growing = " (still growing)" if self.session.growing else ""
        self.setWindowTitle(f"{plain(names)}{growing} \N{EN DASH} accweight")

    # --- the clock ------------------------------------------------------------------------

    def _wake(self) -> None:
        self.clock.wake()

    def _advance(self, now: float, seconds: float) -> bool:
        """Advance in time; return whether there is more to do."""
        self.session.advance(seconds)
        self.cameras.advance(seconds)
        busy = self._draw(now) or self.session.cursor.playing
        return busy or self.cameras.moving

    def _draw(self, now: float) -> bool:
        busy = [pane.tick(now) for pane in self._shown_panes]
        self._note_failure()
        return any(busy)

    def _note_failure(self) -> None:
        failure = next((s.content.failure for s in self.scenes if s.content.failure), "")
        if failure != self.failure:
            self.failure = failure
            self.status.show_failure(failure)

    # --- capturing ------------------------------------------------------------------------

    def hold(self) -> AbstractContextManager[None]:
        """Let time and camera stand still, so that a picture or a movie can be taken."""
        self.session.pause()
        return self.clock.hold()

    def process(self) -> None:
        """Process all pending events, without advancing time."""
        QtWidgets.QApplication.processEvents()
        self._draw(time.perf_counter())
        QtWidgets.QApplication.processEvents()

    @property
    def settled(self) -> bool:
        """Whether everything visible has its final resolution."""
        masked = not any(run.masks.pending for run in self.session.runs)
        return masked and all(pane.settled for pane in self._shown_panes)

    @property
    def _shown_panes(self) -> list[Pane]:
        """Panes that fit and are switched on."""
        return [pane for pane in self.panes if pane.isVisibleTo(self)]

    @property
    def closed(self) -> bool:
        """Whether it has been closed, perhaps before it was ever seen."""
        return self.clock.ended

    def grab_image(self) -> QtGui.QImage:
        """Return an image of the window."""
        return self.grab().toImage()

    # --- what happens ---------------------------------------------------------------------

    def toggle_playing(self) -> None:
        """Start or stop playback."""
        if self.session.cursor.playing:
            self.session.pause()
        else:
            self.session.play()

    def show_all(self) -> None:
        """Move the camera to show everything."""
        self.cameras.home()
        self._wake()

    def show_selected(self) -> None:
        """Move the camera to the selected layer."""
        if self.session.layer is not None:
            self._jump(self.session.layer)

    def leave_layer(self) -> None:
        """Move the camera back to where it was before it went to a layer."""
        if self.cameras.leave():
            self._wake()

    def _jump(self, name: str) -> None:
        self.cameras.visit(self.scene_row.first_with(name), name)
        self._wake()

    def _selected(self) -> None:
        self.scene_row.circle_selected()
        self._fit()  # values of a weight take room only while one is picked
        self._ask_exact()

    def _ask_exact(self) -> None:
        pick = self.session.pick
        if pick is not None and not self.clock.standing:
            self._exact.ask(pick)

    def _hovered(self, scene: SceneView, pick: Pick | None) -> None:
        self.status.show_hovered(scene.source, pick)
        if pick is not None and not self.clock.standing:
            self._exact.start(pick.run)  # a click may follow

    def _data_changed(self) -> None:
        self._exact.mark_nonfinite(self.session.runs, self.session.redraw)
        self.scene_row.renew()
        self._retitle()
        self.cameras.settle()
        self._ask_exact()
        self._wake()

    def _settings_changed(self, names: frozenset[str]) -> None:
        if "theme" in names:
            self.set_theme(theme_called(self.session.settings.theme))
        if self._preferences is not None:
            self._preferences.keep(self.session.settings)
        self._wake()

    # --- geometry and the end -------------------------------------------------------------

    def _restore(self) -> None:
        if self._preferences is None:
            return
        self.layout_of_panes.restore(self._preferences)
        if (state := self._preferences.geometry("window")) is not None:
            self.restoreGeometry(state)

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Hide panes that do not fit, rather than make them too small to use."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if not self._bare:
            bars = self.controls.sizeHint().height() + self.statusBar().sizeHint().height()
            self.found.fit(self.height())
            self.layout_of_panes.fit(self.size() - QtCore.QSize(0, bars))

    def _show_part(self, name: str, shown: bool) -> None:
        self.layout_of_panes.shown[name] = shown
        self._fit()

    def _enlarge(self, window: PictureWindow, on: bool) -> None:
        """Put a picture window into the place of the scenes, or all back."""
        self.layout_of_panes.enlarge(window if on else None)
        self._fit()
        self.scenes[0].setFocus()
        self._wake()

    def restore_scene(self) -> bool:
        """Put the scenes back in their place; return whether they were not."""
        enlarged = self.layout_of_panes.enlarged
        if enlarged is not None:
            enlarged.header.enlarge.setChecked(False)
        return enlarged is not None

    def closeEvent(self, event: QtGui.QCloseEvent) -> None:  # noqa: N802 - Qt's name
        """Save settings and layout, and stop all background work."""
        self.clock.end()
        self.keys.close()
        if self._preferences is not None and not self._bare:
            self.layout_of_panes.keep(self._preferences)
            self._preferences.keep_geometry("window", self.saveGeometry())
        for pane in self.panes:
            pane.close()
        self._exact.close()
        self.growth.close()
        super().closeEvent(event)
