"""Where the panes are: at the sides of the scene, hidden where there is no room, or in its place.

All panes give way in proportion when the window shrinks. What would become too small to use is
hidden rather than squeezed.
"""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtWidgets

from accweight_viewer.panes.found_row import FoundRow
from accweight_viewer.panes.layer_table import LayerTable
from accweight_viewer.panes.picture_window import PictureWindow
from accweight_viewer.panes.readout import Readout
from accweight_viewer.panes.timeline_bar import TimelineBar
from accweight_viewer.preferences import Preferences
from accweight_viewer.widgets.boxes import column, splitter

HORIZONTAL, VERTICAL = QtCore.Qt.Orientation.Horizontal, QtCore.Qt.Orientation.Vertical

LEAST_PICTURE = 180
"""Least height of a flat picture in pixels; where there is less room, fewer are shown."""

LEAST_SCENE = 320
"""Least width of the scenes beside the other panes."""

SHARES = {"across": (22, 55, 23), "whole": (80, 20)}
"""How splitters divide a window, and what is taken from each part when it shrinks."""

NAMES = {"table": "Layer table", "pictures": "Pictures and values", "timeline": "Timeline"}
"""What can be switched off."""


class PaneLayout:
    """The panes of a window in splitters.

    Attributes:
        whole: The widget with everything.
        splitters: By name, for what is kept between sessions.
        shown: Whether the user wants each part; see `NAMES`.
        enlarged: The picture window in the place of the scenes, or None.
    """

    def __init__(
        self,
        table: LayerTable,
        scenes: QtWidgets.QWidget,
        legend: QtWidgets.QWidget,
        found: FoundRow,
        windows: list[PictureWindow],
        readout: Readout,
        timeline: TimelineBar,
    ) -> None:
        self._table, self._scenes, self._legend = table, scenes, legend
        self._windows, self._readout, self._timeline = windows, readout, timeline
        self.shown = dict.fromkeys(NAMES, True)
        self.enlarged: PictureWindow | None = None
        for window in windows:
            window.view.setMinimumHeight(LEAST_PICTURE)
        readout.setMinimumHeight(0)  # its contents determine the height
        self._middle = column(scenes, legend)
        self._middle.layout().setStretch(0, 1)
        middle = found.below(self._middle)
        middle.setMinimumWidth(LEAST_SCENE)
        self.right = splitter(VERTICAL, *windows, readout)
        self.right.setSizes([340, 340, 200])
        across = splitter(HORIZONTAL, table, middle, self.right)
        self.whole = splitter(VERTICAL, across, timeline)
        for name, parts in (("across", across), ("whole", self.whole)):
            parts.setSizes([share * 16 for share in SHARES[name]])
            for at, share in enumerate(SHARES[name]):
                parts.setStretchFactor(at, share)
        self.splitters = {"across": across, "right": self.right, "whole": self.whole}

    def add_caption(self, caption: QtWidgets.QWidget) -> None:
        """Put a line above the scenes."""
        self._middle.layout().insertWidget(0, caption)

    def restore(self, preferences: Preferences) -> None:
        """Divide the window as it was last time."""
        for name, parts in self.splitters.items():
            if (state := preferences.geometry(name)) is not None:
                parts.restoreState(state)

    def keep(self, preferences: Preferences) -> None:
        """Keep how the window is divided."""
        for name, parts in self.splitters.items():
            preferences.keep_geometry(name, parts.saveState())

    def fit(self, size: Any) -> None:
        """Show what fits into a window without its bars.

        Args:
            size: Its QSize.
        """
        high = size.height()
        least = LEAST_PICTURE + self._timeline.minimumSizeHint().height()
        self._timeline.setVisible(self.shown["timeline"] and high >= least)
        high -= 0 if self._timeline.isHidden() else self._timeline.minimumSizeHint().height()
        wide = size.width() - LEAST_SCENE
        wide -= self._table.minimumWidth() if self.shown["table"] else 0
        self._table.setVisible(self.shown["table"] and wide >= 0)
        pictures = self.shown["pictures"] and wide >= self._windows[0].minimumSizeHint().width()
        self._fit_right(high if pictures else 0)

    def _fit_right(self, high: int) -> None:
        """Show a picture, the values of a picked weight, and another picture, if they fit."""
        picked = self._readout.pick is not None
        first, second = self._windows
        order: list[Any] = [first, self._readout, second] if picked else [first, second]
        order += [] if picked else [self._readout]
        for pane in order:
            if pane is self.enlarged:
                continue
            high -= pane.minimumSizeHint().height()
            pane.setVisible(high >= 0)
        parts = [pane for pane in order if pane is not self.enlarged]
        self.right.setVisible(any(not pane.isHidden() for pane in parts))

    def enlarge(self, window: PictureWindow | None) -> None:
        """Put a picture window into the place of the scenes, or all back for None."""
        if window is self.enlarged:
            return
        before, self.enlarged = self.enlarged, window
        if before is not None:
            self.right.insertWidget(self._windows.index(before), before)
            before.header.enlarge.setChecked(False)
        for part in (self._scenes, self._legend):
            part.setVisible(window is None)
        if window is not None:
            self._middle.layout().insertWidget(0, window, 1)
            window.show()
