"""The guide over the window: keys, mouse, and what bright means; and a hint at the first start."""

from __future__ import annotations

from typing import Any

from pyqtgraph.Qt import QtCore, QtGui, QtWidgets

from accweight_viewer.model.flight import Flight
from accweight_viewer.model.session import Session
from accweight_viewer.theme import Theme, theme_called
from accweight_viewer.widgets.pane import Pane

GROUPS = {
    "Fly": [
        ("W A S D", "forward, left, back, right"),
        ("Q  E", "down, up"),
        ("Shift", "four times as fast"),
        ("drag", "orbit around the selected layer"),
        ("drag right", "look around"),
        ("drag middle", "move sideways"),
        ("wheel", "towards what is under the mouse"),
        ("Home", "show all layers"),
    ],
    "Look": [
        ("click", "select a weight: its values over time"),
        ("double click", "a layer from the front"),
        ("F  .", "the selected layer from the front"),
        ("Esc", "back; clears a filter"),
        ("/", "filter layers by name"),
        ("G", "the graph of the network"),
        ("L", "logarithmic colours"),
        ("T", "dark or light"),
    ],
    "Time": [
        ("Space", "play, pause"),
        ("Left  Right", "one checkpoint back, forward"),
        ("[  ]", "first, last checkpoint"),
        ("wheel", "over the curves: step by step"),
    ],
    "Take out": [
        ("Ctrl+C", "copy the picture"),
        ("Ctrl+S", "save the picture"),
        ("Ctrl+E", "export the table"),
    ],
}
"""Keys and what they do, by what one wants."""

MEANING = (
    "Every plate is a layer, every texel a weight, or several where they would be too small. It is "
    "the brighter the further the weight has travelled: the sum of its changes from checkpoint to "
    "checkpoint, not where it ended. 1 on the scale is the largest change of {scope}. "
    "How much a layer moved tells whether its training mattered, not whether it is needed."
)
SCOPES = {"layer": "each layer", "global": "the whole network"}

HINT = "   \N{MIDDLE DOT}   ".join(
    ("W A S D fly", "drag to orbit", "double click a layer", "? shows all keys")
)
FADE_MS = 900


class Guide(QtWidgets.QWidget, Pane):  # type: ignore[misc]
    """A sheet over the window, which a click or Esc closes; keys can be tried meanwhile."""

    def __init__(self, session: Session, parent: Any) -> None:
        super().__init__(parent)
        self._session = session
        self._theme = theme_called(session.settings.theme)
        self.setAccessibleName("Keys and mouse")
        parent.installEventFilter(self)
        self.hide()

    def toggle(self) -> None:
        """Show it over everything, or hide it."""
        if self.leave():
            return
        self.setGeometry(self.parentWidget().rect())
        self.raise_()
        self.show()

    def leave(self) -> bool:
        """Hide it; return whether it was shown."""
        was_shown = bool(self.isVisible())
        self.hide()
        return was_shown

    def set_theme(self, theme: Theme) -> None:
        """Apply the colours of a theme."""
        self._theme = theme
        self.update()

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """Cover the window at any size."""
        if event.type() == QtCore.QEvent.Type.Resize and self.isVisible():
            self.setGeometry(self.parentWidget().rect())
        return False

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802
        """Close it."""
        self.leave()

    @property
    def text(self) -> str:
        """What bright means at present."""
        return MEANING.format(scope=SCOPES[self._session.settings.scope])

    def paintEvent(self, event: Any) -> None:  # noqa: N802
        """Draw the keys in columns, and the meaning of colours below."""
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        shade = QtGui.QColor(self._theme.page)
        shade.setAlphaF(0.93)
        painter.fillRect(self.rect(), shade)
        line = self.fontMetrics().height() + 6
        width = min(self.width() - 40, 920)
        columns = max(1, min(2, width // 400))
        left, top = (self.width() - width) / 2, max(24.0, self.height() / 2 - 11 * line)
        self._title(painter, left, top, "Keys and mouse")
        bottom = self._groups(painter, left, top + 2 * line, width / columns, columns, line)
        self._title(painter, left, bottom + line / 2, "What you see")
        box = QtCore.QRectF(left, bottom + 1.9 * line, width, 8 * line)
        painter.setPen(QtGui.QColor(self._theme.ink))
        wrap = QtCore.Qt.TextFlag.TextWordWrap
        painter.drawText(box, int(wrap), self.text)
        painter.end()

    def _title(self, painter: Any, left: float, top: float, text: str) -> None:
        font = QtGui.QFont(self.font())
        font.setPixelSize(16)
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QtGui.QColor(self._theme.ink))
        painter.drawText(QtCore.QPointF(left, top + 16), text)
        painter.setFont(self.font())

    def _groups(
        self, painter: Any, left: float, top: float, width: float, columns: int, line: float
    ) -> float:
        """Draw all groups of keys, each in the shortest column; return where the longest ends."""
        ends = [top] * columns
        for name, keys in GROUPS.items():
            column = ends.index(min(ends))
            x, y = left + column * width, ends[column]
            painter.setPen(QtGui.QColor(self._theme.accent))
            painter.drawText(QtCore.QPointF(x, y + line), name)
            for at, (key, words) in enumerate(keys, start=2):
                painter.setPen(QtGui.QColor(self._theme.ink))
                painter.drawText(QtCore.QPointF(x, y + at * line), key)
                painter.setPen(QtGui.QColor(self._theme.dim))
                painter.drawText(QtCore.QPointF(x + 104, y + at * line), words)
            ends[column] = y + (len(keys) + 2) * line
        return max(ends)


class Hint(QtWidgets.QLabel):  # type: ignore[misc]
    """A line in the scene until one has flown for the first time."""

    gone = QtCore.Signal()

    def __init__(self, flight: Flight, scene: Any) -> None:
        super().__init__(HINT, scene)
        self._flight, self._scene = flight, scene
        self.setTextFormat(QtCore.Qt.TextFormat.PlainText)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setStyleSheet("padding: 5px 12px; border-radius: 10px;")
        self._effect = QtWidgets.QGraphicsOpacityEffect(self)
        self.setGraphicsEffect(self._effect)
        self._fading = QtCore.QPropertyAnimation(self._effect, b"opacity", self)
        self._fading.setDuration(FADE_MS)
        self._fading.setStartValue(1.0)
        self._fading.setEndValue(0.0)
        self._fading.finished.connect(self._end)
        self._place()
        scene.installEventFilter(self)
        self.show()

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802
        """Stay at the lower edge; leave when the camera has been moved by hand."""
        if event.type() == QtCore.QEvent.Type.Resize:
            self._place()
        elif not self._flight.at_home and self._fading.state() == self._fading.State.Stopped:
            self._fading.start()
        return False

    def _place(self) -> None:
        self.adjustSize()
        scene = self._scene
        self.move((scene.width() - self.width()) // 2, scene.height() - self.height() - 8)

    def _end(self) -> None:
        self.hide()
        self._scene.removeEventFilter(self)
        self.gone.emit()
