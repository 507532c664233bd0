"""Icons drawn with a pen, so that they take the colours of the theme and any resolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyqtgraph.Qt import QtCore, QtGui

SIDE = 16
"""Icons are drawn on a square of so many units."""


def _chevron(path: Any, x: float, way: int) -> None:
    path.moveTo(x - 2 * way, 4)
    path.lineTo(x + 2 * way, 8)
    path.lineTo(x - 2 * way, 12)


def _bar(path: Any, x: float) -> None:
    path.moveTo(x, 4)
    path.lineTo(x, 12)


def _first(path: Any) -> None:
    _bar(path, 4.5)
    _chevron(path, 9.5, -1)


def _back(path: Any) -> None:
    _chevron(path, 7.5, -1)


def _forward(path: Any) -> None:
    _chevron(path, 8.5, 1)


def _last(path: Any) -> None:
    _chevron(path, 6.5, 1)
    _bar(path, 11.5)


def _play(path: Any) -> None:
    path.addPolygon(QtGui.QPolygonF([QtCore.QPointF(*p) for p in ((5, 3.5), (12.5, 8), (5, 12.5))]))
    path.closeSubpath()


def _pause(path: Any) -> None:
    path.addRect(4.75, 4, 1.75, 8)
    path.addRect(9.5, 4, 1.75, 8)


def _loop(path: Any) -> None:
    path.moveTo(2.5, 8)
    path.lineTo(2.5, 7)
    path.quadTo(2.5, 4.5, 5, 4.5)
    path.lineTo(12.5, 4.5)
    path.moveTo(10.5, 2)
    path.lineTo(13, 4.5)
    path.lineTo(10.5, 7)
    path.moveTo(13.5, 8)
    path.lineTo(13.5, 9)
    path.quadTo(13.5, 11.5, 11, 11.5)
    path.lineTo(3.5, 11.5)
    path.moveTo(5.5, 9)
    path.lineTo(3, 11.5)
    path.lineTo(5.5, 14)


def _search(path: Any) -> None:
    path.addEllipse(QtCore.QPointF(7, 7), 4, 4)
    path.moveTo(10, 10)
    path.lineTo(13, 13)


def _clear(path: Any) -> None:
    path.moveTo(5, 5)
    path.lineTo(11, 11)
    path.moveTo(11, 5)
    path.lineTo(5, 11)


def _fit(path: Any) -> None:
    for x, way_x in ((2.5, 1), (13.5, -1)):
        for y, way_y in ((2.5, 1), (13.5, -1)):
            path.moveTo(x, y + 3.5 * way_y)
            path.lineTo(x, y)
            path.lineTo(x + 3.5 * way_x, y)


def _follow(path: Any) -> None:
    path.addEllipse(QtCore.QPointF(8, 8), 4.5, 4.5)
    path.addEllipse(QtCore.QPointF(8, 8), 0.75, 0.75)
    for x, y in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        path.moveTo(8 + 4.5 * x, 8 + 4.5 * y)
        path.lineTo(8 + 6.5 * x, 8 + 6.5 * y)


def _link(path: Any) -> None:
    path.moveTo(6.5, 5)
    path.lineTo(4.5, 5)
    path.arcTo(1.5, 5, 6, 6, 90, 180)
    path.lineTo(6.5, 11)
    path.moveTo(9.5, 11)
    path.lineTo(11.5, 11)
    path.arcTo(8.5, 5, 6, 6, -90, 180)
    path.lineTo(9.5, 5)
    path.moveTo(5.5, 8)
    path.lineTo(10.5, 8)


def _copy(path: Any) -> None:
    path.addRoundedRect(6, 6, 7.5, 7.5, 1.5, 1.5)
    path.moveTo(3.5, 10)
    path.lineTo(3, 10)
    path.lineTo(2.5, 9.5)
    path.lineTo(2.5, 4)
    path.quadTo(2.5, 2.5, 4, 2.5)
    path.lineTo(9.5, 2.5)
    path.lineTo(10, 3)
    path.lineTo(10, 3.5)


def _reset(path: Any) -> None:
    path.arcMoveTo(3, 3, 10, 10, 150)
    path.arcTo(3, 3, 10, 10, 150, -300)
    path.moveTo(3, 2.5)
    path.lineTo(3.2, 5.8)
    path.lineTo(6.5, 5.5)


def _theme(path: Any) -> None:
    path.addEllipse(QtCore.QPointF(8, 8), 5, 5)
    path.moveTo(8, 3)
    path.lineTo(8, 13)
    for y, x in ((5, 11.5), (7, 12.8), (9, 12.8), (11, 11.5)):
        path.moveTo(8, y)
        path.lineTo(x, y)


_DRAWN: dict[str, Callable[[Any], None]] = {
    "first": _first,
    "back": _back,
    "play": _play,
    "pause": _pause,
    "forward": _forward,
    "last": _last,
    "loop": _loop,
    "search": _search,
    "clear": _clear,
    "fit": _fit,
    "follow": _follow,
    "link": _link,
    "copy": _copy,
    "reset": _reset,
    "theme": _theme,
}
_FILLED = {"play", "pause"}


def icon(name: str, colour: str) -> Any:
    """Return the QIcon of a name, in one colour, for screens of one and two pixels per unit."""
    path = QtGui.QPainterPath()
    _DRAWN[name](path)
    made = QtGui.QIcon()
    for ratio in (1, 2):
        pixmap = QtGui.QPixmap(SIDE * ratio, SIDE * ratio)
        pixmap.setDevicePixelRatio(ratio)
        pixmap.fill(QtCore.Qt.GlobalColor.transparent)
        painter = QtGui.QPainter(pixmap)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.setPen(_pen(colour, 1.0 if name in _FILLED else 1.5))
        if name in _FILLED:
            painter.setBrush(QtGui.QColor(colour))
        painter.drawPath(path)
        painter.end()
        made.addPixmap(pixmap)
    return made


def _pen(colour: str, width: float) -> Any:
    return QtGui.QPen(
        QtGui.QColor(colour),
        width,
        QtCore.Qt.PenStyle.SolidLine,
        QtCore.Qt.PenCapStyle.RoundCap,
        QtCore.Qt.PenJoinStyle.RoundJoin,
    )
