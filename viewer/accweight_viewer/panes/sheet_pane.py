"""A pane with pictures that probes found: filters, maximised units, saliency over the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_core.analysis.probe_pictures import on_colour
from accweight_core.errors import AccweightError
from accweight_core.text import plain
from accweight_viewer.model.session import Session
from accweight_viewer.model.sheet import GAP, Pixels, Sheet, SheetGrid
from accweight_viewer.panes.formatting import tip_text
from accweight_viewer.panes.found_head import FoundHead
from accweight_viewer.panes.found_pane import FoundPane
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.events import listen, place_of

INSET = 10
FONT_PIXELS = 10
LEAST_NAMED = 54
"""Pixels of a picture from which on its name stands in it."""
LEAST_TOKEN = 7
"""Pixels of the width of a cell from which on its token stands in it."""
BRIGHT = 110
"""Mean of red, green and blue from which on a token is written in black."""


class SheetView(QtWidgets.QWidget):  # type: ignore[misc]
    """The pictures."""

    def __init__(self, sheet: Sheet, theme: Theme, parent: Any = None) -> None:
        super().__init__(parent)
        self.sheet = sheet
        self.theme = theme
        self.failure = ""
        self.pointed_at: int | None = None
        self.setMouseTracking(True)
        self.setMinimumSize(120, 60)
        self.setAccessibleName("Pictures that probes found")

    @property
    def grid(self) -> SheetGrid:
        """Where the pictures are, from `origin` on."""
        return self.sheet.grid(self.width() - 2 * INSET, self.height() - 2 * INSET)

    @property
    def origin(self) -> tuple[int, int]:
        """The left and upper edge of the first picture: they stand in the middle."""
        grid = self.grid
        wide = grid.indent + grid.columns * (grid.width + GAP) - GAP
        high = grid.rows * (grid.height + GAP) - GAP
        return max((self.width() - wide) // 2, INSET), max((self.height() - high) // 2, INSET)

    def number_at(self, place: Any) -> int | None:
        """Return the picture under a point."""
        left, top = self.origin
        return self.grid.number_at(place.x() - left, place.y() - top)

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the pictures of the step."""
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect(), QtGui.QColor(self.theme.page))
        try:
            self._paint(painter)
            self.failure = ""
        except (AccweightError, OSError) as error:  # damaged
            self.failure = plain(str(error))
            painter.setPen(QtGui.QColor(self.theme.dim))
            wrap = QtCore.Qt.TextFlag.TextWordWrap | QtCore.Qt.AlignmentFlag.AlignCenter
            painter.drawText(self.rect().adjusted(INSET, INSET, -INSET, -INSET), wrap, self.failure)
        painter.end()

    def _paint(self, painter: Any) -> None:
        pictures, grid, (left, top) = self.sheet.pictures(), self.grid, self.origin
        names, tokens = self.sheet.names, self.sheet.tokens
        font = painter.font()
        font.setPixelSize(FONT_PIXELS)
        painter.setFont(font)
        for number in range(grid.shown):
            x, y = grid.place(number)
            box = QtCore.QRect(left + x, top + y, grid.width, grid.height)
            painter.drawImage(box, image_of(pictures[number]))
            if number == self.pointed_at:
                painter.setPen(QtGui.QPen(QtGui.QColor(self.theme.accent), 2))
                painter.drawRect(box.adjusted(-1, -1, 0, 0))
            if grid.indent:
                room = box.translated(-grid.indent, 0)
                room.setWidth(grid.indent - GAP)
                self._name(painter, room, plain(names[number]), beside=True)
                if tokens:
                    self._write_tokens(painter, box, pictures[number], tokens[number])
            elif grid.width >= LEAST_NAMED:
                self._name(painter, box, plain(names[number]))
        hidden = len(pictures) - grid.shown
        if hidden:
            painter.setPen(QtGui.QColor(self.theme.dim))
            bottom = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignBottom
            room = self.rect().adjusted(0, 0, -INSET, -2)
            painter.drawText(room, bottom, f"and {hidden} more")

    def _name(self, painter: Any, box: Any, name: str, *, beside: bool = False) -> None:
        """Write the name of a picture on a plate in its corner, or in a room beside it."""
        metrics = painter.fontMetrics()
        text = metrics.elidedText(name, QtCore.Qt.TextElideMode.ElideLeft, box.width() - 6)
        if beside:
            painter.setPen(QtGui.QColor(self.theme.dim))
            side = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
            painter.drawText(box, side, text)
            return
        plate = QtCore.QRect(
            box.left(), box.top(), metrics.horizontalAdvance(text) + 6, metrics.height()
        )
        shade = QtGui.QColor(self.theme.page)
        shade.setAlphaF(0.72)
        painter.fillRect(plate, shade)
        painter.setPen(QtGui.QColor(self.theme.ink))
        painter.drawText(plate, QtCore.Qt.AlignmentFlag.AlignCenter, text)

    def _write_tokens(self, painter: Any, box: Any, picture: Pixels, tokens: Sequence[str]) -> None:
        """Write each token in its cell of a sequence, dark on bright cells, as far as it fits."""
        height, width = picture.shape[:2]
        metrics = painter.fontMetrics()
        across, down = box.width() / width, box.height() / height
        if across < LEAST_TOKEN or down < metrics.height():
            return
        seen = on_colour(picture, QtGui.QColor(self.theme.page).getRgb()[:3])
        for place, token in enumerate(tokens):
            row, column = divmod(place, width)
            cell = QtCore.QRectF(box.left() + column * across, box.top() + row * down, across, down)
            is_bright = seen[row, column].mean() > BRIGHT
            painter.setPen(QtGui.QColor("black" if is_bright else "white"))
            text = metrics.elidedText(plain(token), QtCore.Qt.TextElideMode.ElideRight, int(across))
            painter.drawText(cell, QtCore.Qt.AlignmentFlag.AlignCenter, text)

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802
        """Mark and name the picture under the mouse."""
        found = self.number_at(place_of(event))
        if found != self.pointed_at:
            self.pointed_at = found
            self.update()
        text = "" if found is None else tip_text(plain(self.sheet.names[found]))
        QtWidgets.QToolTip.showText(self.mapToGlobal(place_of(event).toPoint()), text, self)

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        """Select the layer that the picture is of, if there is one of its name."""
        found = self.number_at(place_of(event))
        chosen = self.sheet.chosen
        if found is None or chosen is None:
            return
        session = self.sheet.session
        named = self.sheet.names[found].rpartition("/")[0]
        of = next((n for n in (named, chosen.layer) if n in session.layer_names), None)
        if of is not None:
            session.select_layer(of)

    def leaveEvent(self, event: Any) -> None:  # noqa: N802
        """Mark no picture."""
        super().leaveEvent(event)
        self.pointed_at = None
        self.update()


class SheetPane(FoundPane):
    """The pictures, and the line above them.

    Attributes:
        sheet: What is shown.
    """

    def __init__(self, session: Session, parent: Any = None) -> None:
        self.sheet = Sheet(session)
        theme = theme_called(session.settings.theme)
        head = FoundHead(
            "Pictures to show", "over input", "Ratings over the inputs that they are of"
        )
        super().__init__(self.sheet, head, SheetView(self.sheet, theme), parent)
        head.switch.clicked.connect(self._switch)
        listen(self, session.selection_changed, self._selected)
        self.set_theme(theme)

    @property
    def note(self) -> str:
        """How the pictures are to be read."""
        return self.sheet.note

    def _switch(self, on: bool) -> None:
        self.sheet.over = bool(on)
        self.renew()

    def _selected(self) -> None:
        if self.sheet.follow_selection():
            self.renew()

    def renew(self) -> None:
        """Show the pictures of the step."""
        self.head.switch.setVisible(self.sheet.can_be_over)
        self.head.switch.setChecked(self.sheet.over)
        super().renew()


def image_of(picture: Pixels) -> Any:
    """Return a picture of (height, width, 1, 3, or 4 with alpha) as a QImage."""
    held = np.ascontiguousarray(picture.repeat(3, axis=-1) if picture.shape[-1] == 1 else picture)
    high, wide, channels = held.shape
    forms = QtGui.QImage.Format
    form = forms.Format_RGBA8888 if channels == 4 else forms.Format_RGB888
    return QtGui.QImage(held.tobytes(), wide, high, channels * wide, form).copy()
