"""The legend of the colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.colours.scale import ColourScale
from accweight_core.text import plain
from accweight_viewer.model.session import Session
from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.events import listen
from accweight_viewer.widgets.pane import Pane

BAND = 8
"""Height of the colour band."""

INSET = 8
TICK = 3
LEAST_GAP = 8
"""Least space between two numbers in pixels; closer ones are left out."""

MINUS = "\N{MINUS SIGN}"

LOOKS = {
    "colour_map",
    "logarithmic",
    "low",
    "high",
    "fitted",
    "scope",
    "difference_scale",
    "plate_values",
}
"""Settings that change the legend."""


class ColourBar(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """A colour band with numbers below and a caption above."""

    def __init__(
        self,
        session: Session,
        *,
        signed: bool | None = None,
        compact: bool = False,
        parent: Any = None,
    ) -> None:
        """Create the legend.

        Args:
            session: The session to follow.
            signed: Whether it is the legend of differences; None to follow the scene.
            compact: Whether the caption is only a tool tip.
            parent: The parent widget.
        """
        super().__init__(parent)
        self._session = session
        self._theme = theme_called(session.settings.theme)
        self._compact = compact
        self._signed = signed
        self._marker: float | None = None
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)
        listen(self, session.settings_changed, self._settings_changed)
        listen(self, session.data_changed, self._renew)
        self._renew()

    @property
    def signed(self) -> bool:
        """Whether it is the legend of differences."""
        if self._signed is not None:
            return self._signed
        return len(self._session.runs) == 2 and self._session.comparison == "difference"

    @property
    def scale(self) -> ColourScale:
        """The colour scale."""
        return self._scale

    @property
    def caption(self) -> str:
        """The text above the band."""
        settings = self._session.settings
        each = "each layer" if settings.scope == "layer" else "the network"
        if self.signed:
            first, second = (run.name for run in self._session.runs)
            common = settings.difference_scale == "common"
            scale = f"share of {each}'s largest in " + ("both" if common else "its own run")
            return f"{first} {MINUS} {second}: difference of change, {scale}"
        units = self._session.probes.unit_values
        if units is not None:
            return plain(f"{units.array.of_units}: {units.array.words}, share of {each}'s largest")
        return f"cumulative change, share of {each}'s largest"

    def show_signed(self, signed: bool | None) -> None:
        """Switch to the legend of differences or of changes; None follows the scene."""
        self._signed = signed
        self._renew()

    def mark(self, value: float | None) -> None:
        """Mark a normalised change, or remove the mark."""
        if value != self._marker:
            self._marker = value
            self.update()

    def sizeHint(self) -> QtCore.QSize:  # noqa: N802 - Qt's name
        """Return the size of the text lines and the band."""
        line = self.fontMetrics().height()
        return QtCore.QSize(240, round(self._band().bottom()) + TICK + line + 4)

    def minimumSizeHint(self) -> QtCore.QSize:  # noqa: N802 - Qt's name
        """Return the fixed height."""
        return QtCore.QSize(120, self.sizeHint().height())

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme; each has its own map for differences."""
        self._theme = theme
        self._renew()

    def _settings_changed(self, names: frozenset[str]) -> None:
        if names & LOOKS:
            self._renew()

    def _renew(self) -> None:
        self._scale = self._session.scale_of(signed=self.signed)
        self.setToolTip(tip_text(self.caption))
        self.update()

    # --- painting --------------------------------------------------------------------------

    def _band(self) -> Any:
        """Return the rectangle of the band."""
        top = 8 if self._compact else self.fontMetrics().height() + 5
        return QtCore.QRectF(INSET, top, self.width() - 2 * INSET, BAND)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw caption, band and numbers."""
        painter, theme = QtGui.QPainter(self), self._theme
        scale = self.scale
        band = self._band()
        painter.fillRect(self.rect(), QtGui.QColor(theme.panel))
        if not self._compact:
            wide = round(band.width())
            middle = QtCore.Qt.TextElideMode.ElideMiddle
            caption = self.fontMetrics().elidedText(self.caption, middle, wide)
            painter.setPen(QtGui.QColor(theme.dim))
            painter.drawText(QtCore.QRectF(INSET, 2, wide, band.top() - 2), caption)
        self._paint_band(painter, band, scale)
        self._paint_ticks(painter, band, scale, theme)
        if self._marker is not None:
            self._paint_marker(painter, band, scale, theme)
        painter.end()

    def _paint_band(self, painter: Any, band: Any, scale: ColourScale) -> None:
        """Draw the colours of the map side by side."""
        colours = np.ascontiguousarray(scale.colours)
        image = QtGui.QImage(
            colours.tobytes(),
            len(colours),
            1,
            3 * len(colours),
            QtGui.QImage.Format.Format_RGB888,
        )
        painter.save()
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        path = QtGui.QPainterPath()
        path.addRoundedRect(band, 2, 2)
        painter.setClipPath(path)
        painter.drawImage(band, image)
        painter.restore()

    def _paint_ticks(self, painter: Any, band: Any, scale: ColourScale, theme: Theme) -> None:
        """Draw ticks and numbers; the outermost numbers stay within the band."""
        metrics = self.fontMetrics()
        top, free = band.bottom() + 1, band.left() - LEAST_GAP
        ticks = [(at, text.replace("-", MINUS)) for at, text in scale.ticks()]
        last = metrics.horizontalAdvance(ticks[-1][1]) if ticks else 0
        for number, (position, text) in enumerate(ticks):
            x = band.left() + position * band.width()
            painter.setPen(QtGui.QPen(QtGui.QColor(theme.frame), 1))
            painter.drawLine(QtCore.QPointF(x, top), QtCore.QPointF(x, top + TICK))
            width = metrics.horizontalAdvance(text)
            left = min(max(x - width / 2, band.left()), band.right() - width)
            most = band.right() - width if number == len(ticks) - 1 else band.right() - last - width
            if left < free + LEAST_GAP or left > most:
                continue
            painter.setPen(QtGui.QColor(theme.dim))
            place = QtCore.QRectF(left, top + TICK, width + 1, metrics.height())
            painter.drawText(place, QtCore.Qt.AlignmentFlag.AlignLeft, text)
            free = left + width

    def _paint_marker(self, painter: Any, band: Any, scale: ColourScale, theme: Theme) -> None:
        """Draw a mark over the band at a value."""
        position = float(scale.positions(np.float32(self._marker or 0)))
        if not np.isfinite(position):
            return
        x, y = band.left() + position * band.width(), band.top()
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(QtGui.QPen(QtGui.QColor(theme.panel), 1))
        painter.setBrush(QtGui.QColor(theme.accent))
        corners = ((x, y + 4), (x - 5, y - 4), (x + 5, y - 4))
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(*corner) for corner in corners]))
