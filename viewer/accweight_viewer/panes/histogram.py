"""How many weights have moved how far, with the ends of the colours to drag."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_viewer.model.distribution import (
    BINS,
    Distribution,
    change_at,
    distribution,
    place_of_change,
)
from accweight_viewer.model.runs import ShownRun
from accweight_viewer.model.session import Session
from accweight_viewer.model.settings import RANGES, Scope, Settings
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.background import Background
from accweight_viewer.widgets.events import listen, place_of
from accweight_viewer.widgets.pane import Pane

INSET, HEIGHT = 8, 34
REACH = 9.0
"""Distance in pixels within which an end is taken hold of."""

GRIP = 4.0
LEAST_TOLD = 5e-4
"""Share of weights outside the range from which it is told."""

TIP = (
    "How many weights moved how far at the last step; heights are square roots of their shares.\n"
    "Drag the ends of the colours; double click fits them again."
)

Request = tuple[tuple[ShownRun, ...], Scope]


class Histogram(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """The histogram of normalised change; differences have none."""

    def __init__(self, session: Session, parent: Any = None) -> None:
        super().__init__(parent)
        self._session = session
        self._theme = theme_called(session.settings.theme)
        self._known: dict[Request, Distribution] = {}
        self._held: str | None = None
        self._hidden = False
        self._background: Background[Request, Distribution] = Background(
            lambda request: distribution(*request), self._collect
        )
        self.setFixedHeight(HEIGHT)
        self.setMouseTracking(True)
        self.setToolTip(TIP)
        self.setAccessibleName("Histogram of change")
        listen(self, session.settings_changed, lambda _: self._renew())
        listen(self, session.data_changed, self._renew)
        self.destroyed.connect(lambda *_, ended=self._background: ended.close())
        self._renew()

    # --- what is shown ---------------------------------------------------------------------

    @property
    def shown(self) -> Distribution | None:
        """The distribution shown; None until it has been read."""
        return self._known.get(self._request)

    @property
    def _request(self) -> Request:
        return tuple(self._session.runs[:2]), self._session.settings.scope

    @property
    def settled(self) -> bool:
        """Whether nothing is being read."""
        return self._background.idle

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the colours."""
        scale = self._session.colour_scale()
        return scale.floor, scale.high

    def _renew(self) -> None:
        session = self._session
        of_units = session.probes.unit_values is not None
        policy = self.sizePolicy()
        policy.setRetainSizeWhenHidden(of_units)  # the scene keeps its size when colours change
        self.setSizePolicy(policy)
        self.setVisible(not self._hidden and session.comparison == "beside" and not of_units)
        if self._request not in self._known:
            self._background.loader.request([self._request])
        self.update()

    def _collect(self) -> None:
        self._known |= dict(self._background.values())
        runs = self._request[0]
        self._known = {key: found for key, found in self._known.items() if key[0] == runs}
        self.update()

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.update()

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Stop reading."""
        self._background.close()
        super().closeEvent(event)

    def leave_out(self) -> None:
        """Never show it, as in a window without panes."""
        self._hidden = True
        self.hide()

    # --- places ----------------------------------------------------------------------------

    def x_of(self, change: float) -> float:
        """Return the pixel of a normalised change."""
        place = place_of_change(change, logarithmic=self._session.settings.logarithmic)
        return INSET + place * float(self.width() - 2 * INSET)

    def _change_at(self, x: float) -> float:
        place = (x - INSET) / max(self.width() - 2 * INSET, 1)
        return change_at(place, logarithmic=self._session.settings.logarithmic)

    # --- painting --------------------------------------------------------------------------

    def paintEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the bars, the ends of the colours, and how much is outside."""
        painter, theme = QtGui.QPainter(self), self._theme
        painter.fillRect(self.rect(), QtGui.QColor(theme.panel))
        foot = self.height() - 6.0
        if self.shown is not None:
            self._paint_bars(painter, self.shown, foot)
        painter.setPen(QtGui.QPen(QtGui.QColor(theme.line), 1))
        painter.drawLine(QtCore.QPointF(INSET, foot), QtCore.QPointF(self.width() - INSET, foot))
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        for change in self.ends:
            self._paint_end(painter, self.x_of(change), foot)
        self._paint_outside(painter)
        painter.end()

    def _paint_bars(self, painter: Any, shown: Distribution, foot: float) -> None:
        logarithmic = self._session.settings.logarithmic
        heights = np.sqrt(shown.logarithmic if logarithmic else shown.linear)
        heights = heights / max(heights.max(), 1e-30) * (foot - 3)
        wide = (self.width() - 2 * INSET) / BINS
        low, high = (self.x_of(change) for change in self.ends)
        inside, outside = QtGui.QColor(self._theme.dim), QtGui.QColor(self._theme.line)
        for at, height in enumerate(heights):
            if height <= 0:
                continue
            left = INSET + at * wide
            within = low - wide <= left <= high
            bar = QtCore.QRectF(left, foot - max(height, 1.0), max(wide - 1, 1.0), max(height, 1.0))
            painter.fillRect(bar, inside if within else outside)

    def _paint_end(self, painter: Any, x: float, foot: float) -> None:
        accent = QtGui.QColor(self._theme.accent)
        painter.setPen(QtGui.QPen(accent, 1.2))
        painter.drawLine(QtCore.QPointF(x, 2), QtCore.QPointF(x, foot))
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(accent)
        corners = ((x, foot - 1), (x + GRIP, foot + 5), (x - GRIP, foot + 5))
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in corners]))

    @property
    def outside_text(self) -> str:
        """How many weights a range that was set by hand leaves out; empty if none."""
        if self.shown is None or not self._session.settings.range_by_hand:
            return ""
        below, above = self.shown.outside(*self.ends)
        told = [(below, "darker"), (above, "brighter")]
        return ", ".join(f"{share:.2g} % {word}" for share, word in _percent(told))

    def _paint_outside(self, painter: Any) -> None:
        painter.setPen(QtGui.QColor(self._theme.accent))
        box = QtCore.QRectF(INSET, 0, self.width() - 2 * INSET, self.fontMetrics().height())
        painter.drawText(box, QtCore.Qt.AlignmentFlag.AlignRight, self.outside_text)

    # --- the mouse -------------------------------------------------------------------------

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Take hold of the nearer end."""
        self._held = self._near(place_of(event).x())

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Drag an end, or show that one can be dragged."""
        x = place_of(event).x()
        shapes = QtCore.Qt.CursorShape
        self.setCursor(shapes.SizeHorCursor if self._near(x) or self._held else shapes.ArrowCursor)
        if self._held is not None and event.buttons() & QtCore.Qt.MouseButton.LeftButton:
            self._drag(self._held, self._change_at(x))

    def mouseReleaseEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Let go."""
        self._held = None

    def mouseDoubleClickEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Fit both ends again."""
        plain = Settings()
        self._session.change(low=plain.low, high=plain.high, fitted=plain.fitted)

    def _near(self, x: float) -> str | None:
        apart = {
            name: abs(self.x_of(end) - x)
            for name, end in zip(("low", "high"), self.ends, strict=True)
        }
        name = min(apart, key=lambda end: apart[end])
        return name if apart[name] <= REACH else None

    def _drag(self, end: str, change: float) -> None:
        low, high = self.ends
        least = RANGES["high"][0]
        if end == "high":
            self._session.change(high=max(change, low + least, least), fitted=False)
        else:
            low = min(change, high - least)
            self._session.change(low=max(low, 0.0), high=high, fitted=False)


def _percent(told: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Return shares that are worth telling, in percent."""
    return [(100 * share, word) for share, word in told if share >= LEAST_TOLD]
